-- requires: timescaledb-tsl
-- Owner: ingest. Telemetry as hypertables: chunks of a day, columnstore after 7 days, retention 90 days.
-- Tables that are there already, with rows, are converted: plain ones in place, day partitions by copying.

do $$
declare
  v_table text;
begin
  foreach v_table in array array['telemetry', 'telemetry_other', 'system_metrics'] loop
    if (select relkind from pg_class where oid = to_regclass(v_table)) = 'p' then
      execute format('alter table %I rename to %I', v_table, v_table || '_partitioned');
      execute format('alter index if exists %I rename to %I', v_table || '_key', v_table || '_partitioned_key');
    end if;
  end loop;
  if to_regclass('system_metrics_partitioned') is not null then
    alter index system_metrics_by_name rename to system_metrics_partitioned_by_name;
  end if;
end $$;

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
);
create table if not exists telemetry_other (
  series_id int not null,
  ts timestamptz not null,
  value double precision not null,
  quality smallint not null default 0
);
create table if not exists system_metrics (
  ts timestamptz not null,
  name text not null,
  labels jsonb not null default '{}',
  value double precision not null
);

do $$
declare
  v_table text;
begin
  foreach v_table in array array['telemetry', 'telemetry_other', 'system_metrics'] loop
    perform create_hypertable(v_table::regclass, by_range('ts', interval '1 day'),
                              create_default_indexes => false, if_not_exists => true, migrate_data => true);
    if to_regclass(v_table || '_partitioned') is not null then
      execute format('insert into %I select * from %I', v_table, v_table || '_partitioned');
      -- Goes with the views on it, which 013 and 014 make again.
      execute format('drop table %I cascade', v_table || '_partitioned');
    end if;
    raise info 'TimescaleDB hypertable for % is ready', v_table;
  end loop;
end $$;

create unique index if not exists telemetry_key on telemetry (device_key, ts);
create unique index if not exists telemetry_other_key on telemetry_other (series_id, ts);
create index if not exists system_metrics_by_name on system_metrics (name, ts);

grant select, insert, update, delete on telemetry, telemetry_other to ingest;
grant insert on system_metrics to ingest, controller, escalation, provisioning, api;
grant select on telemetry, telemetry_other to telemetry_reader;

alter table telemetry set (timescaledb.enable_columnstore, timescaledb.segmentby = 'device_key',
                           timescaledb.orderby = 'ts');
alter table telemetry_other set (timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id',
                                 timescaledb.orderby = 'ts');
alter table system_metrics set (timescaledb.enable_columnstore, timescaledb.segmentby = 'name',
                                timescaledb.orderby = 'ts');
call add_columnstore_policy('telemetry', after => interval '7 days', if_not_exists => true);
call add_columnstore_policy('telemetry_other', after => interval '7 days', if_not_exists => true);
call add_columnstore_policy('system_metrics', after => interval '7 days', if_not_exists => true);
select add_retention_policy('telemetry', drop_after => interval '90 days', if_not_exists => true);
select add_retention_policy('telemetry_other', drop_after => interval '90 days', if_not_exists => true);
select add_retention_policy('system_metrics', drop_after => interval '90 days', if_not_exists => true);

-- The writer calls these on either form; here chunks come and go by themselves.
create or replace function ensure_telemetry_partition(p_day date) returns void
language sql immutable as $$ select $$;
create or replace function drop_telemetry_partitions(p_before date) returns int
language sql immutable as $$ select 0 $$;
