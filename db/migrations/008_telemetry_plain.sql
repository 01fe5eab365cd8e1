-- requires: plain
-- Owner: ingest. Telemetry where TimescaleDB's community features are missing: a partition for each day (UTC).
-- A partition is made before the first row of its day is written: ensure_telemetry_partition(day).

create table if not exists telemetry (
  device_key int not null,
  ts timestamptz not null,
  -- columns: telemetry_table
  active_power_w double precision,
  reactive_power_var double precision,
  apparent_power_va double precision,
  power_factor double precision,
  voltage_v double precision,
  current_a double precision,
  frequency_hz double precision,
  soc_pct double precision,
  soh_pct double precision,
  temp_c double precision,
  dc_power_w double precision,
  dc_voltage_v double precision,
  dc_current_a double precision,
  power_setpoint_w double precision,
  max_charge_w double precision,
  max_discharge_w double precision,
  energy_available_wh double precision,
  irradiance_w_per_m2 double precision,
  energy_import_wh double precision,
  energy_export_wh double precision,
  charge_cycles double precision,
  operating_state double precision,
  fault_code double precision,
  control_mode double precision,
  -- end
  quality smallint not null default 0
) partition by range (ts);
create unique index if not exists telemetry_key on telemetry (device_key, ts);

create table if not exists telemetry_other (
  series_id int not null,
  ts timestamptz not null,
  value double precision not null,
  quality smallint not null default 0
) partition by range (ts);
create unique index if not exists telemetry_other_key on telemetry_other (series_id, ts);

create table if not exists system_metrics (
  ts timestamptz not null,
  name text not null,
  labels jsonb not null default '{}',
  value double precision not null
) partition by range (ts);
create index if not exists system_metrics_by_name on system_metrics (name, ts);

grant select, insert, update, delete on telemetry, telemetry_other to ingest;
grant insert on system_metrics to ingest, controller, escalation, provisioning, api;
grant select on telemetry, telemetry_other to telemetry_reader;

-- From when on raw data are complete. What lies below was dropped: rollups of that time are never made again.
create table if not exists telemetry_floor (
  only_row boolean primary key default true check (only_row),
  floor timestamptz not null
);
insert into telemetry_floor (floor) values ('-infinity') on conflict do nothing;
grant select on telemetry_floor to ingest;

-- Makes the day's partitions if they are missing. Attaching an empty table does not stop readers and writers, as
-- creating it in place would.
create or replace function ensure_telemetry_partition(p_day date) returns void
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v_from timestamptz := p_day::timestamp at time zone 'UTC';
  v_floor timestamptz := (select floor from telemetry_floor);
  v_parent text;
  v_name text;
begin
  if v_from < v_floor then
    raise exception 'telemetry before % was dropped by retention, % is not kept any more', v_floor, p_day
      using errcode = 'check_violation';
  end if;
  if to_regclass(format('system_metrics_p%s', to_char(p_day, 'YYYYMMDD'))) is not null then
    return;
  end if;
  perform pg_advisory_xact_lock(hashtext('overwatt.telemetry_partition'));
  foreach v_parent in array array['telemetry', 'telemetry_other', 'system_metrics'] loop
    v_name := format('%s_p%s', v_parent, to_char(p_day, 'YYYYMMDD'));
    if to_regclass(v_name) is null then
      execute format('create table %I (like %I including defaults)', v_name, v_parent);
      execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                     v_parent, v_name, v_from, v_from + interval '1 day');
    end if;
  end loop;
end $$;

-- Retention: drops whole days before p_before and remembers it. Answers how many days went.
create or replace function drop_telemetry_partitions(p_before date) returns int
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v_before timestamptz := p_before::timestamp at time zone 'UTC';
  v_name text;
  v_days int := 0;
begin
  perform pg_advisory_xact_lock(hashtext('overwatt.telemetry_partition'));
  update telemetry_floor set floor = greatest(floor, v_before);
  for v_name in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = any (array['telemetry', 'telemetry_other', 'system_metrics']::regclass[])
      and right(c.relname, 8) < to_char(p_before, 'YYYYMMDD')
    order by c.relname
  loop
    execute format('drop table %I', v_name);
    v_days := v_days + (v_name like 'telemetry\_p%')::int;
  end loop;
  return v_days;
end $$;

revoke execute on function ensure_telemetry_partition(date), drop_telemetry_partitions(date) from public;
grant execute on function ensure_telemetry_partition(date)
  to ingest, controller, escalation, provisioning, api;
grant execute on function drop_telemetry_partitions(date) to ingest;
