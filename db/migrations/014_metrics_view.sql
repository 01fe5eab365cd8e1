-- `metrics`: telemetry in narrow form, for people and for the deletion of whole boxes.

create table if not exists wide_metric (
  number int primary key,
  metric text not null unique
);
insert into wide_metric (number, metric) values
  -- columns: wide_metric
  (1, 'active_power_w'),
  (2, 'reactive_power_var'),
  (3, 'apparent_power_va'),
  (4, 'power_factor'),
  (5, 'voltage_v'),
  (6, 'current_a'),
  (7, 'frequency_hz'),
  (8, 'soc_pct'),
  (9, 'soh_pct'),
  (10, 'temp_c'),
  (11, 'dc_power_w'),
  (12, 'dc_voltage_v'),
  (13, 'dc_current_a'),
  (14, 'power_setpoint_w'),
  (15, 'max_charge_w'),
  (16, 'max_discharge_w'),
  (17, 'energy_available_wh'),
  (18, 'irradiance_w_per_m2'),
  (19, 'energy_import_wh'),
  (20, 'energy_export_wh'),
  (21, 'charge_cycles'),
  (22, 'operating_state'),
  (23, 'fault_code'),
  (24, 'control_mode')
  -- end
on conflict do nothing;
grant select on wide_metric to telemetry_reader;

create or replace view metrics as
select d.box_id, d.device_id, t.ts, m.metric, v.value, t.quality
from device d
join telemetry t on t.device_key = d.device_key
cross join wide_metric m
cross join lateral (
  select case m.number
  -- columns: metric_case
    when 1 then t.active_power_w
    when 2 then t.reactive_power_var
    when 3 then t.apparent_power_va
    when 4 then t.power_factor
    when 5 then t.voltage_v
    when 6 then t.current_a
    when 7 then t.frequency_hz
    when 8 then t.soc_pct
    when 9 then t.soh_pct
    when 10 then t.temp_c
    when 11 then t.dc_power_w
    when 12 then t.dc_voltage_v
    when 13 then t.dc_current_a
    when 14 then t.power_setpoint_w
    when 15 then t.max_charge_w
    when 16 then t.max_discharge_w
    when 17 then t.energy_available_wh
    when 18 then t.irradiance_w_per_m2
    when 19 then t.energy_import_wh
    when 20 then t.energy_export_wh
    when 21 then t.charge_cycles
    when 22 then t.operating_state
    when 23 then t.fault_code
    when 24 then t.control_mode
  -- end
  end as value
) v
where v.value is not null
union all
select d.box_id, d.device_id, t.ts, s.metric, t.value, t.quality
from device d
join telemetry_series s on s.device_key = d.device_key
join telemetry_other t on t.series_id = s.series_id;
alter view metrics owner to telemetry_reader;

-- DELETE works for whole boxes only: rows are counted per box, and when the statement is over the boxes that were named
-- in full are deleted, rollups included; anything else raises. A row of many metrics cannot lose one of them, and a
-- trigger that acted on the first row would delete more than was asked.
create or replace function metrics_delete_begin() returns trigger language plpgsql as $$
begin
  perform set_config('overwatt.metrics_delete', '{}', true);
  return null;
end $$;

create or replace function metrics_delete_row() returns trigger language plpgsql as $$
declare
  v_counts jsonb := current_setting('overwatt.metrics_delete')::jsonb;
begin
  if old.box_id is null then
    raise exception 'device % belongs to no box: metrics can be deleted for whole boxes only', old.device_id;
  end if;
  perform set_config('overwatt.metrics_delete',
    (v_counts || jsonb_build_object(old.box_id, coalesce((v_counts ->> old.box_id)::bigint, 0) + 1))::text, true);
  return old;
end $$;

create or replace function metrics_delete_end() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  v_counts jsonb := current_setting('overwatt.metrics_delete')::jsonb;
  v_box text;
  v_named bigint;
  v_stored bigint;
  v_keys int[];
  v_series int[];
begin
  for v_box, v_named in select key, value::bigint from jsonb_each_text(v_counts) order by key loop
    select array_agg(device_key) into v_keys from device where box_id = v_box;
    select array_agg(series_id) into v_series from telemetry_series where device_key = any (v_keys);
    select count(*) into v_stored from metrics where box_id = v_box;
    if v_stored <> v_named then
      raise exception 'DELETE named % of % rows of box %: metrics can be deleted for whole boxes only, '
                      'with no condition but box_id', v_named, v_stored, v_box;
    end if;
    -- Raw first: a refresh between the two would bring rollups back from it.
    delete from telemetry where device_key = any (v_keys);
    delete from telemetry_other where series_id = any (v_series);
    delete from rollup_dirty where device_key = any (v_keys);
    delete from telemetry_1m where device_key = any (v_keys);
    delete from telemetry_15m where device_key = any (v_keys);
    delete from telemetry_1h where device_key = any (v_keys);
    delete from telemetry_1d where device_key = any (v_keys);
    delete from counter_reset where device_key = any (v_keys);
  end loop;
  return null;
end $$;

drop trigger if exists metrics_delete_begin on metrics;
create trigger metrics_delete_begin before delete on metrics
  for each statement execute function metrics_delete_begin();
drop trigger if exists metrics_delete_row on metrics;
create trigger metrics_delete_row instead of delete on metrics
  for each row execute function metrics_delete_row();
drop trigger if exists metrics_delete_end on metrics;
create trigger metrics_delete_end after delete on metrics
  for each statement execute function metrics_delete_end();
revoke execute on function metrics_delete_end() from public;
