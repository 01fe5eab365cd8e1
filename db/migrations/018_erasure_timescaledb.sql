-- requires: timescaledb-tsl
-- Owner: provisioning. Erasure of telemetry from hypertables and from what continuous aggregates have materialised.

-- By literal keys: only then whole segments of the columnstore are dropped instead of unpacked, and no limit on what is
-- unpacked stops it where a segment is not whole.
create or replace function erase_telemetry(p_keys int[]) returns bigint
language plpgsql volatile set search_path = public, pg_temp
as $$
declare
  v_key int;
  v_rows bigint;
  v_total bigint := 0;
begin
  perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
  foreach v_key in array p_keys loop
    execute format('delete from telemetry where device_key = %s', v_key);
    get diagnostics v_rows = row_count;
    v_total := v_total + v_rows;
  end loop;
  for v_key in select series_id from telemetry_series where device_key = any (p_keys) loop
    execute format('delete from telemetry_other where series_id = %s', v_key);
    get diagnostics v_rows = row_count;
    v_total := v_total + v_rows;
  end loop;
  return v_total;
end $$;

-- From the materialisation itself, under a lock that waits for a refresh under way: one that starts later finds no raw
-- data of these devices.
create or replace function erase_rollup(p_level text, p_keys int[]) returns bigint
language plpgsql volatile set search_path = public, pg_temp
as $$
declare
  v_table regclass := (
    select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
    from timescaledb_information.continuous_aggregates
    where view_schema = 'public' and view_name = 'telemetry_' || p_level);
  v_key int;
  v_rows bigint;
  v_total bigint := 0;
begin
  perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
  execute format('lock table %s in exclusive mode', v_table);
  foreach v_key in array p_keys loop
    execute format('delete from %s where device_key = %s', v_table, v_key);
    get diagnostics v_rows = row_count;
    v_total := v_total + v_rows;
  end loop;
  return v_total;
end $$;
revoke execute on function erase_telemetry(int[]), erase_rollup(text, int[]) from public;
