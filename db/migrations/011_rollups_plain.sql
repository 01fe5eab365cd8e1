-- requires: plain
-- Owner: ingest. Rollups as tables, kept by refresh_rollups() from the hours that the writer recorded in rollup_dirty.
-- Gauges hold sum, count, min, max, last; counters first and last; states last. BAD samples (quality 2) are left out.

create table if not exists telemetry_1m (
  device_key int not null,
  bucket timestamptz not null,
  n bigint not null,
  -- columns: rollup_table
  active_power_w_sum double precision,
  active_power_w_n bigint,
  active_power_w_min double precision,
  active_power_w_max double precision,
  active_power_w_last double precision,
  reactive_power_var_sum double precision,
  reactive_power_var_n bigint,
  reactive_power_var_min double precision,
  reactive_power_var_max double precision,
  reactive_power_var_last double precision,
  apparent_power_va_sum double precision,
  apparent_power_va_n bigint,
  apparent_power_va_min double precision,
  apparent_power_va_max double precision,
  apparent_power_va_last double precision,
  power_factor_sum double precision,
  power_factor_n bigint,
  power_factor_min double precision,
  power_factor_max double precision,
  power_factor_last double precision,
  voltage_v_sum double precision,
  voltage_v_n bigint,
  voltage_v_min double precision,
  voltage_v_max double precision,
  voltage_v_last double precision,
  current_a_sum double precision,
  current_a_n bigint,
  current_a_min double precision,
  current_a_max double precision,
  current_a_last double precision,
  frequency_hz_sum double precision,
  frequency_hz_n bigint,
  frequency_hz_min double precision,
  frequency_hz_max double precision,
  frequency_hz_last double precision,
  soc_pct_sum double precision,
  soc_pct_n bigint,
  soc_pct_min double precision,
  soc_pct_max double precision,
  soc_pct_last double precision,
  soh_pct_sum double precision,
  soh_pct_n bigint,
  soh_pct_min double precision,
  soh_pct_max double precision,
  soh_pct_last double precision,
  temp_c_sum double precision,
  temp_c_n bigint,
  temp_c_min double precision,
  temp_c_max double precision,
  temp_c_last double precision,
  dc_power_w_sum double precision,
  dc_power_w_n bigint,
  dc_power_w_min double precision,
  dc_power_w_max double precision,
  dc_power_w_last double precision,
  dc_voltage_v_sum double precision,
  dc_voltage_v_n bigint,
  dc_voltage_v_min double precision,
  dc_voltage_v_max double precision,
  dc_voltage_v_last double precision,
  dc_current_a_sum double precision,
  dc_current_a_n bigint,
  dc_current_a_min double precision,
  dc_current_a_max double precision,
  dc_current_a_last double precision,
  power_setpoint_w_sum double precision,
  power_setpoint_w_n bigint,
  power_setpoint_w_min double precision,
  power_setpoint_w_max double precision,
  power_setpoint_w_last double precision,
  max_charge_w_sum double precision,
  max_charge_w_n bigint,
  max_charge_w_min double precision,
  max_charge_w_max double precision,
  max_charge_w_last double precision,
  max_discharge_w_sum double precision,
  max_discharge_w_n bigint,
  max_discharge_w_min double precision,
  max_discharge_w_max double precision,
  max_discharge_w_last double precision,
  energy_available_wh_sum double precision,
  energy_available_wh_n bigint,
  energy_available_wh_min double precision,
  energy_available_wh_max double precision,
  energy_available_wh_last double precision,
  irradiance_w_per_m2_sum double precision,
  irradiance_w_per_m2_n bigint,
  irradiance_w_per_m2_min double precision,
  irradiance_w_per_m2_max double precision,
  irradiance_w_per_m2_last double precision,
  energy_import_wh_first double precision,
  energy_import_wh_last double precision,
  energy_export_wh_first double precision,
  energy_export_wh_last double precision,
  charge_cycles_first double precision,
  charge_cycles_last double precision,
  operating_state_last double precision,
  fault_code_last double precision,
  control_mode_last double precision,
  -- end
  primary key (device_key, bucket)
);
create table if not exists telemetry_15m (like telemetry_1m including all);
create table if not exists telemetry_1h (like telemetry_1m including all);
create table if not exists telemetry_1d (like telemetry_1m including all);
grant select on telemetry_1m, telemetry_15m, telemetry_1h, telemetry_1d to telemetry_reader, ingest;

-- Makes the rollups of these devices anew for the hour that starts at p_hour: 1 min from raw, 15 min and 1 h each from
-- the level below. Exactly the touched buckets: they go and come back in one transaction.
create or replace procedure refresh_hour(p_keys int[], p_hour timestamptz)
language plpgsql set search_path = public, pg_temp
as $$
declare
  v_end timestamptz := p_hour + interval '1 hour';
begin
  delete from telemetry_1m where device_key = any (p_keys) and bucket >= p_hour and bucket < v_end;
  insert into telemetry_1m
  select t.device_key, t.bucket, count(*),
  -- columns: plain_from_raw
  sum(t.active_power_w) as active_power_w_sum, count(t.active_power_w) as active_power_w_n, min(t.active_power_w) as active_power_w_min, max(t.active_power_w) as active_power_w_max, (max(array[t.at, t.active_power_w]) filter (where t.active_power_w is not null))[2] as active_power_w_last,
  sum(t.reactive_power_var) as reactive_power_var_sum, count(t.reactive_power_var) as reactive_power_var_n, min(t.reactive_power_var) as reactive_power_var_min, max(t.reactive_power_var) as reactive_power_var_max, (max(array[t.at, t.reactive_power_var]) filter (where t.reactive_power_var is not null))[2] as reactive_power_var_last,
  sum(t.apparent_power_va) as apparent_power_va_sum, count(t.apparent_power_va) as apparent_power_va_n, min(t.apparent_power_va) as apparent_power_va_min, max(t.apparent_power_va) as apparent_power_va_max, (max(array[t.at, t.apparent_power_va]) filter (where t.apparent_power_va is not null))[2] as apparent_power_va_last,
  sum(t.power_factor) as power_factor_sum, count(t.power_factor) as power_factor_n, min(t.power_factor) as power_factor_min, max(t.power_factor) as power_factor_max, (max(array[t.at, t.power_factor]) filter (where t.power_factor is not null))[2] as power_factor_last,
  sum(t.voltage_v) as voltage_v_sum, count(t.voltage_v) as voltage_v_n, min(t.voltage_v) as voltage_v_min, max(t.voltage_v) as voltage_v_max, (max(array[t.at, t.voltage_v]) filter (where t.voltage_v is not null))[2] as voltage_v_last,
  sum(t.current_a) as current_a_sum, count(t.current_a) as current_a_n, min(t.current_a) as current_a_min, max(t.current_a) as current_a_max, (max(array[t.at, t.current_a]) filter (where t.current_a is not null))[2] as current_a_last,
  sum(t.frequency_hz) as frequency_hz_sum, count(t.frequency_hz) as frequency_hz_n, min(t.frequency_hz) as frequency_hz_min, max(t.frequency_hz) as frequency_hz_max, (max(array[t.at, t.frequency_hz]) filter (where t.frequency_hz is not null))[2] as frequency_hz_last,
  sum(t.soc_pct) as soc_pct_sum, count(t.soc_pct) as soc_pct_n, min(t.soc_pct) as soc_pct_min, max(t.soc_pct) as soc_pct_max, (max(array[t.at, t.soc_pct]) filter (where t.soc_pct is not null))[2] as soc_pct_last,
  sum(t.soh_pct) as soh_pct_sum, count(t.soh_pct) as soh_pct_n, min(t.soh_pct) as soh_pct_min, max(t.soh_pct) as soh_pct_max, (max(array[t.at, t.soh_pct]) filter (where t.soh_pct is not null))[2] as soh_pct_last,
  sum(t.temp_c) as temp_c_sum, count(t.temp_c) as temp_c_n, min(t.temp_c) as temp_c_min, max(t.temp_c) as temp_c_max, (max(array[t.at, t.temp_c]) filter (where t.temp_c is not null))[2] as temp_c_last,
  sum(t.dc_power_w) as dc_power_w_sum, count(t.dc_power_w) as dc_power_w_n, min(t.dc_power_w) as dc_power_w_min, max(t.dc_power_w) as dc_power_w_max, (max(array[t.at, t.dc_power_w]) filter (where t.dc_power_w is not null))[2] as dc_power_w_last,
  sum(t.dc_voltage_v) as dc_voltage_v_sum, count(t.dc_voltage_v) as dc_voltage_v_n, min(t.dc_voltage_v) as dc_voltage_v_min, max(t.dc_voltage_v) as dc_voltage_v_max, (max(array[t.at, t.dc_voltage_v]) filter (where t.dc_voltage_v is not null))[2] as dc_voltage_v_last,
  sum(t.dc_current_a) as dc_current_a_sum, count(t.dc_current_a) as dc_current_a_n, min(t.dc_current_a) as dc_current_a_min, max(t.dc_current_a) as dc_current_a_max, (max(array[t.at, t.dc_current_a]) filter (where t.dc_current_a is not null))[2] as dc_current_a_last,
  sum(t.power_setpoint_w) as power_setpoint_w_sum, count(t.power_setpoint_w) as power_setpoint_w_n, min(t.power_setpoint_w) as power_setpoint_w_min, max(t.power_setpoint_w) as power_setpoint_w_max, (max(array[t.at, t.power_setpoint_w]) filter (where t.power_setpoint_w is not null))[2] as power_setpoint_w_last,
  sum(t.max_charge_w) as max_charge_w_sum, count(t.max_charge_w) as max_charge_w_n, min(t.max_charge_w) as max_charge_w_min, max(t.max_charge_w) as max_charge_w_max, (max(array[t.at, t.max_charge_w]) filter (where t.max_charge_w is not null))[2] as max_charge_w_last,
  sum(t.max_discharge_w) as max_discharge_w_sum, count(t.max_discharge_w) as max_discharge_w_n, min(t.max_discharge_w) as max_discharge_w_min, max(t.max_discharge_w) as max_discharge_w_max, (max(array[t.at, t.max_discharge_w]) filter (where t.max_discharge_w is not null))[2] as max_discharge_w_last,
  sum(t.energy_available_wh) as energy_available_wh_sum, count(t.energy_available_wh) as energy_available_wh_n, min(t.energy_available_wh) as energy_available_wh_min, max(t.energy_available_wh) as energy_available_wh_max, (max(array[t.at, t.energy_available_wh]) filter (where t.energy_available_wh is not null))[2] as energy_available_wh_last,
  sum(t.irradiance_w_per_m2) as irradiance_w_per_m2_sum, count(t.irradiance_w_per_m2) as irradiance_w_per_m2_n, min(t.irradiance_w_per_m2) as irradiance_w_per_m2_min, max(t.irradiance_w_per_m2) as irradiance_w_per_m2_max, (max(array[t.at, t.irradiance_w_per_m2]) filter (where t.irradiance_w_per_m2 is not null))[2] as irradiance_w_per_m2_last,
  (min(array[t.at, t.energy_import_wh]) filter (where t.energy_import_wh is not null))[2] as energy_import_wh_first, (max(array[t.at, t.energy_import_wh]) filter (where t.energy_import_wh is not null))[2] as energy_import_wh_last,
  (min(array[t.at, t.energy_export_wh]) filter (where t.energy_export_wh is not null))[2] as energy_export_wh_first, (max(array[t.at, t.energy_export_wh]) filter (where t.energy_export_wh is not null))[2] as energy_export_wh_last,
  (min(array[t.at, t.charge_cycles]) filter (where t.charge_cycles is not null))[2] as charge_cycles_first, (max(array[t.at, t.charge_cycles]) filter (where t.charge_cycles is not null))[2] as charge_cycles_last,
  (max(array[t.at, t.operating_state]) filter (where t.operating_state is not null))[2] as operating_state_last,
  (max(array[t.at, t.fault_code]) filter (where t.fault_code is not null))[2] as fault_code_last,
  (max(array[t.at, t.control_mode]) filter (where t.control_mode is not null))[2] as control_mode_last
  -- end
  from (
    select *, date_bin('1 minute', ts, timestamptz '2000-01-01 00:00+00') as bucket,
      extract(epoch from ts)::double precision as at
    from telemetry
    where device_key = any (p_keys) and ts >= p_hour and ts < v_end and quality < 2
  ) t
  group by t.device_key, t.bucket;

  delete from telemetry_15m where device_key = any (p_keys) and bucket >= p_hour and bucket < v_end;
  insert into telemetry_15m
  select t.device_key, t.starts, sum(t.n)::bigint,
  -- columns: plain_from_rollup
  sum(t.active_power_w_sum) as active_power_w_sum, sum(t.active_power_w_n)::bigint as active_power_w_n, min(t.active_power_w_min) as active_power_w_min, max(t.active_power_w_max) as active_power_w_max, (max(array[t.at, t.active_power_w_last]) filter (where t.active_power_w_last is not null))[2] as active_power_w_last,
  sum(t.reactive_power_var_sum) as reactive_power_var_sum, sum(t.reactive_power_var_n)::bigint as reactive_power_var_n, min(t.reactive_power_var_min) as reactive_power_var_min, max(t.reactive_power_var_max) as reactive_power_var_max, (max(array[t.at, t.reactive_power_var_last]) filter (where t.reactive_power_var_last is not null))[2] as reactive_power_var_last,
  sum(t.apparent_power_va_sum) as apparent_power_va_sum, sum(t.apparent_power_va_n)::bigint as apparent_power_va_n, min(t.apparent_power_va_min) as apparent_power_va_min, max(t.apparent_power_va_max) as apparent_power_va_max, (max(array[t.at, t.apparent_power_va_last]) filter (where t.apparent_power_va_last is not null))[2] as apparent_power_va_last,
  sum(t.power_factor_sum) as power_factor_sum, sum(t.power_factor_n)::bigint as power_factor_n, min(t.power_factor_min) as power_factor_min, max(t.power_factor_max) as power_factor_max, (max(array[t.at, t.power_factor_last]) filter (where t.power_factor_last is not null))[2] as power_factor_last,
  sum(t.voltage_v_sum) as voltage_v_sum, sum(t.voltage_v_n)::bigint as voltage_v_n, min(t.voltage_v_min) as voltage_v_min, max(t.voltage_v_max) as voltage_v_max, (max(array[t.at, t.voltage_v_last]) filter (where t.voltage_v_last is not null))[2] as voltage_v_last,
  sum(t.current_a_sum) as current_a_sum, sum(t.current_a_n)::bigint as current_a_n, min(t.current_a_min) as current_a_min, max(t.current_a_max) as current_a_max, (max(array[t.at, t.current_a_last]) filter (where t.current_a_last is not null))[2] as current_a_last,
  sum(t.frequency_hz_sum) as frequency_hz_sum, sum(t.frequency_hz_n)::bigint as frequency_hz_n, min(t.frequency_hz_min) as frequency_hz_min, max(t.frequency_hz_max) as frequency_hz_max, (max(array[t.at, t.frequency_hz_last]) filter (where t.frequency_hz_last is not null))[2] as frequency_hz_last,
  sum(t.soc_pct_sum) as soc_pct_sum, sum(t.soc_pct_n)::bigint as soc_pct_n, min(t.soc_pct_min) as soc_pct_min, max(t.soc_pct_max) as soc_pct_max, (max(array[t.at, t.soc_pct_last]) filter (where t.soc_pct_last is not null))[2] as soc_pct_last,
  sum(t.soh_pct_sum) as soh_pct_sum, sum(t.soh_pct_n)::bigint as soh_pct_n, min(t.soh_pct_min) as soh_pct_min, max(t.soh_pct_max) as soh_pct_max, (max(array[t.at, t.soh_pct_last]) filter (where t.soh_pct_last is not null))[2] as soh_pct_last,
  sum(t.temp_c_sum) as temp_c_sum, sum(t.temp_c_n)::bigint as temp_c_n, min(t.temp_c_min) as temp_c_min, max(t.temp_c_max) as temp_c_max, (max(array[t.at, t.temp_c_last]) filter (where t.temp_c_last is not null))[2] as temp_c_last,
  sum(t.dc_power_w_sum) as dc_power_w_sum, sum(t.dc_power_w_n)::bigint as dc_power_w_n, min(t.dc_power_w_min) as dc_power_w_min, max(t.dc_power_w_max) as dc_power_w_max, (max(array[t.at, t.dc_power_w_last]) filter (where t.dc_power_w_last is not null))[2] as dc_power_w_last,
  sum(t.dc_voltage_v_sum) as dc_voltage_v_sum, sum(t.dc_voltage_v_n)::bigint as dc_voltage_v_n, min(t.dc_voltage_v_min) as dc_voltage_v_min, max(t.dc_voltage_v_max) as dc_voltage_v_max, (max(array[t.at, t.dc_voltage_v_last]) filter (where t.dc_voltage_v_last is not null))[2] as dc_voltage_v_last,
  sum(t.dc_current_a_sum) as dc_current_a_sum, sum(t.dc_current_a_n)::bigint as dc_current_a_n, min(t.dc_current_a_min) as dc_current_a_min, max(t.dc_current_a_max) as dc_current_a_max, (max(array[t.at, t.dc_current_a_last]) filter (where t.dc_current_a_last is not null))[2] as dc_current_a_last,
  sum(t.power_setpoint_w_sum) as power_setpoint_w_sum, sum(t.power_setpoint_w_n)::bigint as power_setpoint_w_n, min(t.power_setpoint_w_min) as power_setpoint_w_min, max(t.power_setpoint_w_max) as power_setpoint_w_max, (max(array[t.at, t.power_setpoint_w_last]) filter (where t.power_setpoint_w_last is not null))[2] as power_setpoint_w_last,
  sum(t.max_charge_w_sum) as max_charge_w_sum, sum(t.max_charge_w_n)::bigint as max_charge_w_n, min(t.max_charge_w_min) as max_charge_w_min, max(t.max_charge_w_max) as max_charge_w_max, (max(array[t.at, t.max_charge_w_last]) filter (where t.max_charge_w_last is not null))[2] as max_charge_w_last,
  sum(t.max_discharge_w_sum) as max_discharge_w_sum, sum(t.max_discharge_w_n)::bigint as max_discharge_w_n, min(t.max_discharge_w_min) as max_discharge_w_min, max(t.max_discharge_w_max) as max_discharge_w_max, (max(array[t.at, t.max_discharge_w_last]) filter (where t.max_discharge_w_last is not null))[2] as max_discharge_w_last,
  sum(t.energy_available_wh_sum) as energy_available_wh_sum, sum(t.energy_available_wh_n)::bigint as energy_available_wh_n, min(t.energy_available_wh_min) as energy_available_wh_min, max(t.energy_available_wh_max) as energy_available_wh_max, (max(array[t.at, t.energy_available_wh_last]) filter (where t.energy_available_wh_last is not null))[2] as energy_available_wh_last,
  sum(t.irradiance_w_per_m2_sum) as irradiance_w_per_m2_sum, sum(t.irradiance_w_per_m2_n)::bigint as irradiance_w_per_m2_n, min(t.irradiance_w_per_m2_min) as irradiance_w_per_m2_min, max(t.irradiance_w_per_m2_max) as irradiance_w_per_m2_max, (max(array[t.at, t.irradiance_w_per_m2_last]) filter (where t.irradiance_w_per_m2_last is not null))[2] as irradiance_w_per_m2_last,
  (min(array[t.at, t.energy_import_wh_first]) filter (where t.energy_import_wh_first is not null))[2] as energy_import_wh_first, (max(array[t.at, t.energy_import_wh_last]) filter (where t.energy_import_wh_last is not null))[2] as energy_import_wh_last,
  (min(array[t.at, t.energy_export_wh_first]) filter (where t.energy_export_wh_first is not null))[2] as energy_export_wh_first, (max(array[t.at, t.energy_export_wh_last]) filter (where t.energy_export_wh_last is not null))[2] as energy_export_wh_last,
  (min(array[t.at, t.charge_cycles_first]) filter (where t.charge_cycles_first is not null))[2] as charge_cycles_first, (max(array[t.at, t.charge_cycles_last]) filter (where t.charge_cycles_last is not null))[2] as charge_cycles_last,
  (max(array[t.at, t.operating_state_last]) filter (where t.operating_state_last is not null))[2] as operating_state_last,
  (max(array[t.at, t.fault_code_last]) filter (where t.fault_code_last is not null))[2] as fault_code_last,
  (max(array[t.at, t.control_mode_last]) filter (where t.control_mode_last is not null))[2] as control_mode_last
  -- end
  from (
    select *, date_bin('15 minutes', bucket, timestamptz '2000-01-01 00:00+00') as starts,
      extract(epoch from bucket)::double precision as at
    from telemetry_1m
    where device_key = any (p_keys) and bucket >= p_hour and bucket < v_end
  ) t
  group by t.device_key, t.starts;

  delete from telemetry_1h where device_key = any (p_keys) and bucket >= p_hour and bucket < v_end;
  insert into telemetry_1h
  select t.device_key, t.starts, sum(t.n)::bigint,
  -- columns: plain_from_rollup
  sum(t.active_power_w_sum) as active_power_w_sum, sum(t.active_power_w_n)::bigint as active_power_w_n, min(t.active_power_w_min) as active_power_w_min, max(t.active_power_w_max) as active_power_w_max, (max(array[t.at, t.active_power_w_last]) filter (where t.active_power_w_last is not null))[2] as active_power_w_last,
  sum(t.reactive_power_var_sum) as reactive_power_var_sum, sum(t.reactive_power_var_n)::bigint as reactive_power_var_n, min(t.reactive_power_var_min) as reactive_power_var_min, max(t.reactive_power_var_max) as reactive_power_var_max, (max(array[t.at, t.reactive_power_var_last]) filter (where t.reactive_power_var_last is not null))[2] as reactive_power_var_last,
  sum(t.apparent_power_va_sum) as apparent_power_va_sum, sum(t.apparent_power_va_n)::bigint as apparent_power_va_n, min(t.apparent_power_va_min) as apparent_power_va_min, max(t.apparent_power_va_max) as apparent_power_va_max, (max(array[t.at, t.apparent_power_va_last]) filter (where t.apparent_power_va_last is not null))[2] as apparent_power_va_last,
  sum(t.power_factor_sum) as power_factor_sum, sum(t.power_factor_n)::bigint as power_factor_n, min(t.power_factor_min) as power_factor_min, max(t.power_factor_max) as power_factor_max, (max(array[t.at, t.power_factor_last]) filter (where t.power_factor_last is not null))[2] as power_factor_last,
  sum(t.voltage_v_sum) as voltage_v_sum, sum(t.voltage_v_n)::bigint as voltage_v_n, min(t.voltage_v_min) as voltage_v_min, max(t.voltage_v_max) as voltage_v_max, (max(array[t.at, t.voltage_v_last]) filter (where t.voltage_v_last is not null))[2] as voltage_v_last,
  sum(t.current_a_sum) as current_a_sum, sum(t.current_a_n)::bigint as current_a_n, min(t.current_a_min) as current_a_min, max(t.current_a_max) as current_a_max, (max(array[t.at, t.current_a_last]) filter (where t.current_a_last is not null))[2] as current_a_last,
  sum(t.frequency_hz_sum) as frequency_hz_sum, sum(t.frequency_hz_n)::bigint as frequency_hz_n, min(t.frequency_hz_min) as frequency_hz_min, max(t.frequency_hz_max) as frequency_hz_max, (max(array[t.at, t.frequency_hz_last]) filter (where t.frequency_hz_last is not null))[2] as frequency_hz_last,
  sum(t.soc_pct_sum) as soc_pct_sum, sum(t.soc_pct_n)::bigint as soc_pct_n, min(t.soc_pct_min) as soc_pct_min, max(t.soc_pct_max) as soc_pct_max, (max(array[t.at, t.soc_pct_last]) filter (where t.soc_pct_last is not null))[2] as soc_pct_last,
  sum(t.soh_pct_sum) as soh_pct_sum, sum(t.soh_pct_n)::bigint as soh_pct_n, min(t.soh_pct_min) as soh_pct_min, max(t.soh_pct_max) as soh_pct_max, (max(array[t.at, t.soh_pct_last]) filter (where t.soh_pct_last is not null))[2] as soh_pct_last,
  sum(t.temp_c_sum) as temp_c_sum, sum(t.temp_c_n)::bigint as temp_c_n, min(t.temp_c_min) as temp_c_min, max(t.temp_c_max) as temp_c_max, (max(array[t.at, t.temp_c_last]) filter (where t.temp_c_last is not null))[2] as temp_c_last,
  sum(t.dc_power_w_sum) as dc_power_w_sum, sum(t.dc_power_w_n)::bigint as dc_power_w_n, min(t.dc_power_w_min) as dc_power_w_min, max(t.dc_power_w_max) as dc_power_w_max, (max(array[t.at, t.dc_power_w_last]) filter (where t.dc_power_w_last is not null))[2] as dc_power_w_last,
  sum(t.dc_voltage_v_sum) as dc_voltage_v_sum, sum(t.dc_voltage_v_n)::bigint as dc_voltage_v_n, min(t.dc_voltage_v_min) as dc_voltage_v_min, max(t.dc_voltage_v_max) as dc_voltage_v_max, (max(array[t.at, t.dc_voltage_v_last]) filter (where t.dc_voltage_v_last is not null))[2] as dc_voltage_v_last,
  sum(t.dc_current_a_sum) as dc_current_a_sum, sum(t.dc_current_a_n)::bigint as dc_current_a_n, min(t.dc_current_a_min) as dc_current_a_min, max(t.dc_current_a_max) as dc_current_a_max, (max(array[t.at, t.dc_current_a_last]) filter (where t.dc_current_a_last is not null))[2] as dc_current_a_last,
  sum(t.power_setpoint_w_sum) as power_setpoint_w_sum, sum(t.power_setpoint_w_n)::bigint as power_setpoint_w_n, min(t.power_setpoint_w_min) as power_setpoint_w_min, max(t.power_setpoint_w_max) as power_setpoint_w_max, (max(array[t.at, t.power_setpoint_w_last]) filter (where t.power_setpoint_w_last is not null))[2] as power_setpoint_w_last,
  sum(t.max_charge_w_sum) as max_charge_w_sum, sum(t.max_charge_w_n)::bigint as max_charge_w_n, min(t.max_charge_w_min) as max_charge_w_min, max(t.max_charge_w_max) as max_charge_w_max, (max(array[t.at, t.max_charge_w_last]) filter (where t.max_charge_w_last is not null))[2] as max_charge_w_last,
  sum(t.max_discharge_w_sum) as max_discharge_w_sum, sum(t.max_discharge_w_n)::bigint as max_discharge_w_n, min(t.max_discharge_w_min) as max_discharge_w_min, max(t.max_discharge_w_max) as max_discharge_w_max, (max(array[t.at, t.max_discharge_w_last]) filter (where t.max_discharge_w_last is not null))[2] as max_discharge_w_last,
  sum(t.energy_available_wh_sum) as energy_available_wh_sum, sum(t.energy_available_wh_n)::bigint as energy_available_wh_n, min(t.energy_available_wh_min) as energy_available_wh_min, max(t.energy_available_wh_max) as energy_available_wh_max, (max(array[t.at, t.energy_available_wh_last]) filter (where t.energy_available_wh_last is not null))[2] as energy_available_wh_last,
  sum(t.irradiance_w_per_m2_sum) as irradiance_w_per_m2_sum, sum(t.irradiance_w_per_m2_n)::bigint as irradiance_w_per_m2_n, min(t.irradiance_w_per_m2_min) as irradiance_w_per_m2_min, max(t.irradiance_w_per_m2_max) as irradiance_w_per_m2_max, (max(array[t.at, t.irradiance_w_per_m2_last]) filter (where t.irradiance_w_per_m2_last is not null))[2] as irradiance_w_per_m2_last,
  (min(array[t.at, t.energy_import_wh_first]) filter (where t.energy_import_wh_first is not null))[2] as energy_import_wh_first, (max(array[t.at, t.energy_import_wh_last]) filter (where t.energy_import_wh_last is not null))[2] as energy_import_wh_last,
  (min(array[t.at, t.energy_export_wh_first]) filter (where t.energy_export_wh_first is not null))[2] as energy_export_wh_first, (max(array[t.at, t.energy_export_wh_last]) filter (where t.energy_export_wh_last is not null))[2] as energy_export_wh_last,
  (min(array[t.at, t.charge_cycles_first]) filter (where t.charge_cycles_first is not null))[2] as charge_cycles_first, (max(array[t.at, t.charge_cycles_last]) filter (where t.charge_cycles_last is not null))[2] as charge_cycles_last,
  (max(array[t.at, t.operating_state_last]) filter (where t.operating_state_last is not null))[2] as operating_state_last,
  (max(array[t.at, t.fault_code_last]) filter (where t.fault_code_last is not null))[2] as fault_code_last,
  (max(array[t.at, t.control_mode_last]) filter (where t.control_mode_last is not null))[2] as control_mode_last
  -- end
  from (
    select *, date_bin('1 hour', bucket, timestamptz '2000-01-01 00:00+00') as starts,
      extract(epoch from bucket)::double precision as at
    from telemetry_15m
    where device_key = any (p_keys) and bucket >= p_hour and bucket < v_end
  ) t
  group by t.device_key, t.starts;
end $$;

create or replace procedure refresh_day(p_keys int[], p_day timestamptz)
language plpgsql set search_path = public, pg_temp
as $$
declare
  v_end timestamptz := p_day + interval '1 day';
begin
  delete from telemetry_1d where device_key = any (p_keys) and bucket >= p_day and bucket < v_end;
  insert into telemetry_1d
  select t.device_key, t.starts, sum(t.n)::bigint,
  -- columns: plain_from_rollup
  sum(t.active_power_w_sum) as active_power_w_sum, sum(t.active_power_w_n)::bigint as active_power_w_n, min(t.active_power_w_min) as active_power_w_min, max(t.active_power_w_max) as active_power_w_max, (max(array[t.at, t.active_power_w_last]) filter (where t.active_power_w_last is not null))[2] as active_power_w_last,
  sum(t.reactive_power_var_sum) as reactive_power_var_sum, sum(t.reactive_power_var_n)::bigint as reactive_power_var_n, min(t.reactive_power_var_min) as reactive_power_var_min, max(t.reactive_power_var_max) as reactive_power_var_max, (max(array[t.at, t.reactive_power_var_last]) filter (where t.reactive_power_var_last is not null))[2] as reactive_power_var_last,
  sum(t.apparent_power_va_sum) as apparent_power_va_sum, sum(t.apparent_power_va_n)::bigint as apparent_power_va_n, min(t.apparent_power_va_min) as apparent_power_va_min, max(t.apparent_power_va_max) as apparent_power_va_max, (max(array[t.at, t.apparent_power_va_last]) filter (where t.apparent_power_va_last is not null))[2] as apparent_power_va_last,
  sum(t.power_factor_sum) as power_factor_sum, sum(t.power_factor_n)::bigint as power_factor_n, min(t.power_factor_min) as power_factor_min, max(t.power_factor_max) as power_factor_max, (max(array[t.at, t.power_factor_last]) filter (where t.power_factor_last is not null))[2] as power_factor_last,
  sum(t.voltage_v_sum) as voltage_v_sum, sum(t.voltage_v_n)::bigint as voltage_v_n, min(t.voltage_v_min) as voltage_v_min, max(t.voltage_v_max) as voltage_v_max, (max(array[t.at, t.voltage_v_last]) filter (where t.voltage_v_last is not null))[2] as voltage_v_last,
  sum(t.current_a_sum) as current_a_sum, sum(t.current_a_n)::bigint as current_a_n, min(t.current_a_min) as current_a_min, max(t.current_a_max) as current_a_max, (max(array[t.at, t.current_a_last]) filter (where t.current_a_last is not null))[2] as current_a_last,
  sum(t.frequency_hz_sum) as frequency_hz_sum, sum(t.frequency_hz_n)::bigint as frequency_hz_n, min(t.frequency_hz_min) as frequency_hz_min, max(t.frequency_hz_max) as frequency_hz_max, (max(array[t.at, t.frequency_hz_last]) filter (where t.frequency_hz_last is not null))[2] as frequency_hz_last,
  sum(t.soc_pct_sum) as soc_pct_sum, sum(t.soc_pct_n)::bigint as soc_pct_n, min(t.soc_pct_min) as soc_pct_min, max(t.soc_pct_max) as soc_pct_max, (max(array[t.at, t.soc_pct_last]) filter (where t.soc_pct_last is not null))[2] as soc_pct_last,
  sum(t.soh_pct_sum) as soh_pct_sum, sum(t.soh_pct_n)::bigint as soh_pct_n, min(t.soh_pct_min) as soh_pct_min, max(t.soh_pct_max) as soh_pct_max, (max(array[t.at, t.soh_pct_last]) filter (where t.soh_pct_last is not null))[2] as soh_pct_last,
  sum(t.temp_c_sum) as temp_c_sum, sum(t.temp_c_n)::bigint as temp_c_n, min(t.temp_c_min) as temp_c_min, max(t.temp_c_max) as temp_c_max, (max(array[t.at, t.temp_c_last]) filter (where t.temp_c_last is not null))[2] as temp_c_last,
  sum(t.dc_power_w_sum) as dc_power_w_sum, sum(t.dc_power_w_n)::bigint as dc_power_w_n, min(t.dc_power_w_min) as dc_power_w_min, max(t.dc_power_w_max) as dc_power_w_max, (max(array[t.at, t.dc_power_w_last]) filter (where t.dc_power_w_last is not null))[2] as dc_power_w_last,
  sum(t.dc_voltage_v_sum) as dc_voltage_v_sum, sum(t.dc_voltage_v_n)::bigint as dc_voltage_v_n, min(t.dc_voltage_v_min) as dc_voltage_v_min, max(t.dc_voltage_v_max) as dc_voltage_v_max, (max(array[t.at, t.dc_voltage_v_last]) filter (where t.dc_voltage_v_last is not null))[2] as dc_voltage_v_last,
  sum(t.dc_current_a_sum) as dc_current_a_sum, sum(t.dc_current_a_n)::bigint as dc_current_a_n, min(t.dc_current_a_min) as dc_current_a_min, max(t.dc_current_a_max) as dc_current_a_max, (max(array[t.at, t.dc_current_a_last]) filter (where t.dc_current_a_last is not null))[2] as dc_current_a_last,
  sum(t.power_setpoint_w_sum) as power_setpoint_w_sum, sum(t.power_setpoint_w_n)::bigint as power_setpoint_w_n, min(t.power_setpoint_w_min) as power_setpoint_w_min, max(t.power_setpoint_w_max) as power_setpoint_w_max, (max(array[t.at, t.power_setpoint_w_last]) filter (where t.power_setpoint_w_last is not null))[2] as power_setpoint_w_last,
  sum(t.max_charge_w_sum) as max_charge_w_sum, sum(t.max_charge_w_n)::bigint as max_charge_w_n, min(t.max_charge_w_min) as max_charge_w_min, max(t.max_charge_w_max) as max_charge_w_max, (max(array[t.at, t.max_charge_w_last]) filter (where t.max_charge_w_last is not null))[2] as max_charge_w_last,
  sum(t.max_discharge_w_sum) as max_discharge_w_sum, sum(t.max_discharge_w_n)::bigint as max_discharge_w_n, min(t.max_discharge_w_min) as max_discharge_w_min, max(t.max_discharge_w_max) as max_discharge_w_max, (max(array[t.at, t.max_discharge_w_last]) filter (where t.max_discharge_w_last is not null))[2] as max_discharge_w_last,
  sum(t.energy_available_wh_sum) as energy_available_wh_sum, sum(t.energy_available_wh_n)::bigint as energy_available_wh_n, min(t.energy_available_wh_min) as energy_available_wh_min, max(t.energy_available_wh_max) as energy_available_wh_max, (max(array[t.at, t.energy_available_wh_last]) filter (where t.energy_available_wh_last is not null))[2] as energy_available_wh_last,
  sum(t.irradiance_w_per_m2_sum) as irradiance_w_per_m2_sum, sum(t.irradiance_w_per_m2_n)::bigint as irradiance_w_per_m2_n, min(t.irradiance_w_per_m2_min) as irradiance_w_per_m2_min, max(t.irradiance_w_per_m2_max) as irradiance_w_per_m2_max, (max(array[t.at, t.irradiance_w_per_m2_last]) filter (where t.irradiance_w_per_m2_last is not null))[2] as irradiance_w_per_m2_last,
  (min(array[t.at, t.energy_import_wh_first]) filter (where t.energy_import_wh_first is not null))[2] as energy_import_wh_first, (max(array[t.at, t.energy_import_wh_last]) filter (where t.energy_import_wh_last is not null))[2] as energy_import_wh_last,
  (min(array[t.at, t.energy_export_wh_first]) filter (where t.energy_export_wh_first is not null))[2] as energy_export_wh_first, (max(array[t.at, t.energy_export_wh_last]) filter (where t.energy_export_wh_last is not null))[2] as energy_export_wh_last,
  (min(array[t.at, t.charge_cycles_first]) filter (where t.charge_cycles_first is not null))[2] as charge_cycles_first, (max(array[t.at, t.charge_cycles_last]) filter (where t.charge_cycles_last is not null))[2] as charge_cycles_last,
  (max(array[t.at, t.operating_state_last]) filter (where t.operating_state_last is not null))[2] as operating_state_last,
  (max(array[t.at, t.fault_code_last]) filter (where t.fault_code_last is not null))[2] as fault_code_last,
  (max(array[t.at, t.control_mode_last]) filter (where t.control_mode_last is not null))[2] as control_mode_last
  -- end
  from (
    select *, date_bin('1 day', bucket, timestamptz '2000-01-01 00:00+00') as starts,
      extract(epoch from bucket)::double precision as at
    from telemetry_1h
    where device_key = any (p_keys) and bucket >= p_day and bucket < v_end
  ) t
  group by t.device_key, t.starts;
end $$;

-- Takes up to p_limit (device, hour) pairs, oldest first, and brings their rollups up to date; answers how many it took,
-- 0 when nothing is dirty or another refresh runs. Time below the floor of retention is left as it is: its raw data are
-- gone, and a rollup made from what is left would destroy history.
create or replace function refresh_rollups(p_limit int default 200) returns int
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v_floor timestamptz := (select floor from telemetry_floor);
  v_keys int[];
  v_hours timestamptz[];
  v_part record;
begin
  -- One at a time: of two, the one with the older view of the data could write last.
  if not pg_try_advisory_xact_lock(hashtext('overwatt.refresh_rollups')) then
    return 0;
  end if;
  with pairs as (
    select device_key, hour from rollup_dirty group by device_key, hour order by min(id) limit p_limit
  ), gone as (
    delete from rollup_dirty d using pairs p where d.device_key = p.device_key and d.hour = p.hour
    returning d.device_key, d.hour
  )
  select array_agg(device_key), array_agg(hour) into v_keys, v_hours
  from (select distinct device_key, hour from gone) taken;

  for v_part in
    select hour, array_agg(device_key) as keys from unnest(v_keys, v_hours) as taken (device_key, hour)
    where hour >= v_floor group by hour order by hour
  loop
    call refresh_hour(v_part.keys, v_part.hour);
    call record_counter_resets(v_part.keys, v_part.hour, v_part.hour + interval '1 hour');
  end loop;
  for v_part in
    select date_bin('1 day', hour, timestamptz '2000-01-01 00:00+00') as day, array_agg(distinct device_key) as keys
    from unnest(v_keys, v_hours) as taken (device_key, hour) where hour >= v_floor group by 1 order by 1
  loop
    call refresh_day(v_part.keys, v_part.day);
  end loop;
  return coalesce(cardinality(v_keys), 0);
end $$;

-- As the policies of TimescaleDB do: 1 min 90 days, 15 min 400 days, 1 h 1100 days, 1 d for ever.
create or replace function drop_old_rollups(p_now timestamptz) returns void
language sql volatile security definer set search_path = public, pg_temp
as $$
  delete from telemetry_1m where bucket < p_now - interval '90 days';
  delete from telemetry_15m where bucket < p_now - interval '400 days';
  delete from telemetry_1h where bucket < p_now - interval '1100 days';
$$;

-- Here refresh_rollups() does it all; with TimescaleDB this names the late windows that no policy covers.
create or replace function late_rollup_windows(p_limit int default 24)
returns table (rollup text, starts_at timestamptz, ends_at timestamptz, late_ids bigint[])
language sql stable as $$ select null::text, null::timestamptz, null::timestamptz, null::bigint[] where false $$;

revoke execute on procedure refresh_hour(int[], timestamptz) from public;
revoke execute on procedure refresh_day(int[], timestamptz) from public;
revoke execute on function refresh_rollups(int), drop_old_rollups(timestamptz) from public;
grant execute on function refresh_rollups(int), drop_old_rollups(timestamptz) to ingest;
