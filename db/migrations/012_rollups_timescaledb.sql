-- requires: timescaledb-tsl
-- Owner: ingest. Rollups as continuous aggregates, each on the one below. BAD samples (quality 2) are left out.
-- Windows, so that no refresh ever starts before the oldest data of its source: a policy's start_offset plus one chunk
-- stays below the source's retention. Later data than a policy covers: late_rollup_windows().

-- Rollup tables of a database that had no TimescaleDB: kept until their rows are in the aggregates.
do $$
declare
  v_level text;
begin
  foreach v_level in array array['1m', '15m', '1h', '1d'] loop
    if (select relkind from pg_class where oid = to_regclass('telemetry_' || v_level)) = 'r' then
      execute format('alter table %I rename to %I', 'telemetry_' || v_level, 'rollup_table_' || v_level);
    end if;
  end loop;
end $$;

create materialized view if not exists telemetry_1m
with (timescaledb.continuous, timescaledb.materialized_only = true, timescaledb.create_group_indexes = false) as
select device_key, time_bucket(interval '1 minute', ts) as bucket, count(*) as n,
  -- columns: timescale_from_raw
  sum(active_power_w) as active_power_w_sum, count(active_power_w) as active_power_w_n, min(active_power_w) as active_power_w_min, max(active_power_w) as active_power_w_max, last(active_power_w, ts) filter (where active_power_w is not null) as active_power_w_last,
  sum(reactive_power_var) as reactive_power_var_sum, count(reactive_power_var) as reactive_power_var_n, min(reactive_power_var) as reactive_power_var_min, max(reactive_power_var) as reactive_power_var_max, last(reactive_power_var, ts) filter (where reactive_power_var is not null) as reactive_power_var_last,
  sum(apparent_power_va) as apparent_power_va_sum, count(apparent_power_va) as apparent_power_va_n, min(apparent_power_va) as apparent_power_va_min, max(apparent_power_va) as apparent_power_va_max, last(apparent_power_va, ts) filter (where apparent_power_va is not null) as apparent_power_va_last,
  sum(power_factor) as power_factor_sum, count(power_factor) as power_factor_n, min(power_factor) as power_factor_min, max(power_factor) as power_factor_max, last(power_factor, ts) filter (where power_factor is not null) as power_factor_last,
  sum(voltage_v) as voltage_v_sum, count(voltage_v) as voltage_v_n, min(voltage_v) as voltage_v_min, max(voltage_v) as voltage_v_max, last(voltage_v, ts) filter (where voltage_v is not null) as voltage_v_last,
  sum(current_a) as current_a_sum, count(current_a) as current_a_n, min(current_a) as current_a_min, max(current_a) as current_a_max, last(current_a, ts) filter (where current_a is not null) as current_a_last,
  sum(frequency_hz) as frequency_hz_sum, count(frequency_hz) as frequency_hz_n, min(frequency_hz) as frequency_hz_min, max(frequency_hz) as frequency_hz_max, last(frequency_hz, ts) filter (where frequency_hz is not null) as frequency_hz_last,
  sum(soc_pct) as soc_pct_sum, count(soc_pct) as soc_pct_n, min(soc_pct) as soc_pct_min, max(soc_pct) as soc_pct_max, last(soc_pct, ts) filter (where soc_pct is not null) as soc_pct_last,
  sum(soh_pct) as soh_pct_sum, count(soh_pct) as soh_pct_n, min(soh_pct) as soh_pct_min, max(soh_pct) as soh_pct_max, last(soh_pct, ts) filter (where soh_pct is not null) as soh_pct_last,
  sum(temp_c) as temp_c_sum, count(temp_c) as temp_c_n, min(temp_c) as temp_c_min, max(temp_c) as temp_c_max, last(temp_c, ts) filter (where temp_c is not null) as temp_c_last,
  sum(dc_power_w) as dc_power_w_sum, count(dc_power_w) as dc_power_w_n, min(dc_power_w) as dc_power_w_min, max(dc_power_w) as dc_power_w_max, last(dc_power_w, ts) filter (where dc_power_w is not null) as dc_power_w_last,
  sum(dc_voltage_v) as dc_voltage_v_sum, count(dc_voltage_v) as dc_voltage_v_n, min(dc_voltage_v) as dc_voltage_v_min, max(dc_voltage_v) as dc_voltage_v_max, last(dc_voltage_v, ts) filter (where dc_voltage_v is not null) as dc_voltage_v_last,
  sum(dc_current_a) as dc_current_a_sum, count(dc_current_a) as dc_current_a_n, min(dc_current_a) as dc_current_a_min, max(dc_current_a) as dc_current_a_max, last(dc_current_a, ts) filter (where dc_current_a is not null) as dc_current_a_last,
  sum(power_setpoint_w) as power_setpoint_w_sum, count(power_setpoint_w) as power_setpoint_w_n, min(power_setpoint_w) as power_setpoint_w_min, max(power_setpoint_w) as power_setpoint_w_max, last(power_setpoint_w, ts) filter (where power_setpoint_w is not null) as power_setpoint_w_last,
  sum(max_charge_w) as max_charge_w_sum, count(max_charge_w) as max_charge_w_n, min(max_charge_w) as max_charge_w_min, max(max_charge_w) as max_charge_w_max, last(max_charge_w, ts) filter (where max_charge_w is not null) as max_charge_w_last,
  sum(max_discharge_w) as max_discharge_w_sum, count(max_discharge_w) as max_discharge_w_n, min(max_discharge_w) as max_discharge_w_min, max(max_discharge_w) as max_discharge_w_max, last(max_discharge_w, ts) filter (where max_discharge_w is not null) as max_discharge_w_last,
  sum(energy_available_wh) as energy_available_wh_sum, count(energy_available_wh) as energy_available_wh_n, min(energy_available_wh) as energy_available_wh_min, max(energy_available_wh) as energy_available_wh_max, last(energy_available_wh, ts) filter (where energy_available_wh is not null) as energy_available_wh_last,
  sum(irradiance_w_per_m2) as irradiance_w_per_m2_sum, count(irradiance_w_per_m2) as irradiance_w_per_m2_n, min(irradiance_w_per_m2) as irradiance_w_per_m2_min, max(irradiance_w_per_m2) as irradiance_w_per_m2_max, last(irradiance_w_per_m2, ts) filter (where irradiance_w_per_m2 is not null) as irradiance_w_per_m2_last,
  first(energy_import_wh, ts) filter (where energy_import_wh is not null) as energy_import_wh_first, last(energy_import_wh, ts) filter (where energy_import_wh is not null) as energy_import_wh_last,
  first(energy_export_wh, ts) filter (where energy_export_wh is not null) as energy_export_wh_first, last(energy_export_wh, ts) filter (where energy_export_wh is not null) as energy_export_wh_last,
  first(charge_cycles, ts) filter (where charge_cycles is not null) as charge_cycles_first, last(charge_cycles, ts) filter (where charge_cycles is not null) as charge_cycles_last,
  last(operating_state, ts) filter (where operating_state is not null) as operating_state_last,
  last(fault_code, ts) filter (where fault_code is not null) as fault_code_last,
  last(control_mode, ts) filter (where control_mode is not null) as control_mode_last
  -- end
from telemetry
where quality < 2
group by device_key, time_bucket(interval '1 minute', ts)
with no data;

create materialized view if not exists telemetry_15m
with (timescaledb.continuous, timescaledb.materialized_only = true, timescaledb.create_group_indexes = false) as
select device_key, time_bucket(interval '15 minutes', bucket) as bucket, sum(n)::bigint as n,
  -- columns: timescale_from_rollup
  sum(active_power_w_sum) as active_power_w_sum, sum(active_power_w_n)::bigint as active_power_w_n, min(active_power_w_min) as active_power_w_min, max(active_power_w_max) as active_power_w_max, last(active_power_w_last, bucket) filter (where active_power_w_last is not null) as active_power_w_last,
  sum(reactive_power_var_sum) as reactive_power_var_sum, sum(reactive_power_var_n)::bigint as reactive_power_var_n, min(reactive_power_var_min) as reactive_power_var_min, max(reactive_power_var_max) as reactive_power_var_max, last(reactive_power_var_last, bucket) filter (where reactive_power_var_last is not null) as reactive_power_var_last,
  sum(apparent_power_va_sum) as apparent_power_va_sum, sum(apparent_power_va_n)::bigint as apparent_power_va_n, min(apparent_power_va_min) as apparent_power_va_min, max(apparent_power_va_max) as apparent_power_va_max, last(apparent_power_va_last, bucket) filter (where apparent_power_va_last is not null) as apparent_power_va_last,
  sum(power_factor_sum) as power_factor_sum, sum(power_factor_n)::bigint as power_factor_n, min(power_factor_min) as power_factor_min, max(power_factor_max) as power_factor_max, last(power_factor_last, bucket) filter (where power_factor_last is not null) as power_factor_last,
  sum(voltage_v_sum) as voltage_v_sum, sum(voltage_v_n)::bigint as voltage_v_n, min(voltage_v_min) as voltage_v_min, max(voltage_v_max) as voltage_v_max, last(voltage_v_last, bucket) filter (where voltage_v_last is not null) as voltage_v_last,
  sum(current_a_sum) as current_a_sum, sum(current_a_n)::bigint as current_a_n, min(current_a_min) as current_a_min, max(current_a_max) as current_a_max, last(current_a_last, bucket) filter (where current_a_last is not null) as current_a_last,
  sum(frequency_hz_sum) as frequency_hz_sum, sum(frequency_hz_n)::bigint as frequency_hz_n, min(frequency_hz_min) as frequency_hz_min, max(frequency_hz_max) as frequency_hz_max, last(frequency_hz_last, bucket) filter (where frequency_hz_last is not null) as frequency_hz_last,
  sum(soc_pct_sum) as soc_pct_sum, sum(soc_pct_n)::bigint as soc_pct_n, min(soc_pct_min) as soc_pct_min, max(soc_pct_max) as soc_pct_max, last(soc_pct_last, bucket) filter (where soc_pct_last is not null) as soc_pct_last,
  sum(soh_pct_sum) as soh_pct_sum, sum(soh_pct_n)::bigint as soh_pct_n, min(soh_pct_min) as soh_pct_min, max(soh_pct_max) as soh_pct_max, last(soh_pct_last, bucket) filter (where soh_pct_last is not null) as soh_pct_last,
  sum(temp_c_sum) as temp_c_sum, sum(temp_c_n)::bigint as temp_c_n, min(temp_c_min) as temp_c_min, max(temp_c_max) as temp_c_max, last(temp_c_last, bucket) filter (where temp_c_last is not null) as temp_c_last,
  sum(dc_power_w_sum) as dc_power_w_sum, sum(dc_power_w_n)::bigint as dc_power_w_n, min(dc_power_w_min) as dc_power_w_min, max(dc_power_w_max) as dc_power_w_max, last(dc_power_w_last, bucket) filter (where dc_power_w_last is not null) as dc_power_w_last,
  sum(dc_voltage_v_sum) as dc_voltage_v_sum, sum(dc_voltage_v_n)::bigint as dc_voltage_v_n, min(dc_voltage_v_min) as dc_voltage_v_min, max(dc_voltage_v_max) as dc_voltage_v_max, last(dc_voltage_v_last, bucket) filter (where dc_voltage_v_last is not null) as dc_voltage_v_last,
  sum(dc_current_a_sum) as dc_current_a_sum, sum(dc_current_a_n)::bigint as dc_current_a_n, min(dc_current_a_min) as dc_current_a_min, max(dc_current_a_max) as dc_current_a_max, last(dc_current_a_last, bucket) filter (where dc_current_a_last is not null) as dc_current_a_last,
  sum(power_setpoint_w_sum) as power_setpoint_w_sum, sum(power_setpoint_w_n)::bigint as power_setpoint_w_n, min(power_setpoint_w_min) as power_setpoint_w_min, max(power_setpoint_w_max) as power_setpoint_w_max, last(power_setpoint_w_last, bucket) filter (where power_setpoint_w_last is not null) as power_setpoint_w_last,
  sum(max_charge_w_sum) as max_charge_w_sum, sum(max_charge_w_n)::bigint as max_charge_w_n, min(max_charge_w_min) as max_charge_w_min, max(max_charge_w_max) as max_charge_w_max, last(max_charge_w_last, bucket) filter (where max_charge_w_last is not null) as max_charge_w_last,
  sum(max_discharge_w_sum) as max_discharge_w_sum, sum(max_discharge_w_n)::bigint as max_discharge_w_n, min(max_discharge_w_min) as max_discharge_w_min, max(max_discharge_w_max) as max_discharge_w_max, last(max_discharge_w_last, bucket) filter (where max_discharge_w_last is not null) as max_discharge_w_last,
  sum(energy_available_wh_sum) as energy_available_wh_sum, sum(energy_available_wh_n)::bigint as energy_available_wh_n, min(energy_available_wh_min) as energy_available_wh_min, max(energy_available_wh_max) as energy_available_wh_max, last(energy_available_wh_last, bucket) filter (where energy_available_wh_last is not null) as energy_available_wh_last,
  sum(irradiance_w_per_m2_sum) as irradiance_w_per_m2_sum, sum(irradiance_w_per_m2_n)::bigint as irradiance_w_per_m2_n, min(irradiance_w_per_m2_min) as irradiance_w_per_m2_min, max(irradiance_w_per_m2_max) as irradiance_w_per_m2_max, last(irradiance_w_per_m2_last, bucket) filter (where irradiance_w_per_m2_last is not null) as irradiance_w_per_m2_last,
  first(energy_import_wh_first, bucket) filter (where energy_import_wh_first is not null) as energy_import_wh_first, last(energy_import_wh_last, bucket) filter (where energy_import_wh_last is not null) as energy_import_wh_last,
  first(energy_export_wh_first, bucket) filter (where energy_export_wh_first is not null) as energy_export_wh_first, last(energy_export_wh_last, bucket) filter (where energy_export_wh_last is not null) as energy_export_wh_last,
  first(charge_cycles_first, bucket) filter (where charge_cycles_first is not null) as charge_cycles_first, last(charge_cycles_last, bucket) filter (where charge_cycles_last is not null) as charge_cycles_last,
  last(operating_state_last, bucket) filter (where operating_state_last is not null) as operating_state_last,
  last(fault_code_last, bucket) filter (where fault_code_last is not null) as fault_code_last,
  last(control_mode_last, bucket) filter (where control_mode_last is not null) as control_mode_last
  -- end
from telemetry_1m
group by device_key, time_bucket(interval '15 minutes', bucket)
with no data;

create materialized view if not exists telemetry_1h
with (timescaledb.continuous, timescaledb.materialized_only = true, timescaledb.create_group_indexes = false) as
select device_key, time_bucket(interval '1 hour', bucket) as bucket, sum(n)::bigint as n,
  -- columns: timescale_from_rollup
  sum(active_power_w_sum) as active_power_w_sum, sum(active_power_w_n)::bigint as active_power_w_n, min(active_power_w_min) as active_power_w_min, max(active_power_w_max) as active_power_w_max, last(active_power_w_last, bucket) filter (where active_power_w_last is not null) as active_power_w_last,
  sum(reactive_power_var_sum) as reactive_power_var_sum, sum(reactive_power_var_n)::bigint as reactive_power_var_n, min(reactive_power_var_min) as reactive_power_var_min, max(reactive_power_var_max) as reactive_power_var_max, last(reactive_power_var_last, bucket) filter (where reactive_power_var_last is not null) as reactive_power_var_last,
  sum(apparent_power_va_sum) as apparent_power_va_sum, sum(apparent_power_va_n)::bigint as apparent_power_va_n, min(apparent_power_va_min) as apparent_power_va_min, max(apparent_power_va_max) as apparent_power_va_max, last(apparent_power_va_last, bucket) filter (where apparent_power_va_last is not null) as apparent_power_va_last,
  sum(power_factor_sum) as power_factor_sum, sum(power_factor_n)::bigint as power_factor_n, min(power_factor_min) as power_factor_min, max(power_factor_max) as power_factor_max, last(power_factor_last, bucket) filter (where power_factor_last is not null) as power_factor_last,
  sum(voltage_v_sum) as voltage_v_sum, sum(voltage_v_n)::bigint as voltage_v_n, min(voltage_v_min) as voltage_v_min, max(voltage_v_max) as voltage_v_max, last(voltage_v_last, bucket) filter (where voltage_v_last is not null) as voltage_v_last,
  sum(current_a_sum) as current_a_sum, sum(current_a_n)::bigint as current_a_n, min(current_a_min) as current_a_min, max(current_a_max) as current_a_max, last(current_a_last, bucket) filter (where current_a_last is not null) as current_a_last,
  sum(frequency_hz_sum) as frequency_hz_sum, sum(frequency_hz_n)::bigint as frequency_hz_n, min(frequency_hz_min) as frequency_hz_min, max(frequency_hz_max) as frequency_hz_max, last(frequency_hz_last, bucket) filter (where frequency_hz_last is not null) as frequency_hz_last,
  sum(soc_pct_sum) as soc_pct_sum, sum(soc_pct_n)::bigint as soc_pct_n, min(soc_pct_min) as soc_pct_min, max(soc_pct_max) as soc_pct_max, last(soc_pct_last, bucket) filter (where soc_pct_last is not null) as soc_pct_last,
  sum(soh_pct_sum) as soh_pct_sum, sum(soh_pct_n)::bigint as soh_pct_n, min(soh_pct_min) as soh_pct_min, max(soh_pct_max) as soh_pct_max, last(soh_pct_last, bucket) filter (where soh_pct_last is not null) as soh_pct_last,
  sum(temp_c_sum) as temp_c_sum, sum(temp_c_n)::bigint as temp_c_n, min(temp_c_min) as temp_c_min, max(temp_c_max) as temp_c_max, last(temp_c_last, bucket) filter (where temp_c_last is not null) as temp_c_last,
  sum(dc_power_w_sum) as dc_power_w_sum, sum(dc_power_w_n)::bigint as dc_power_w_n, min(dc_power_w_min) as dc_power_w_min, max(dc_power_w_max) as dc_power_w_max, last(dc_power_w_last, bucket) filter (where dc_power_w_last is not null) as dc_power_w_last,
  sum(dc_voltage_v_sum) as dc_voltage_v_sum, sum(dc_voltage_v_n)::bigint as dc_voltage_v_n, min(dc_voltage_v_min) as dc_voltage_v_min, max(dc_voltage_v_max) as dc_voltage_v_max, last(dc_voltage_v_last, bucket) filter (where dc_voltage_v_last is not null) as dc_voltage_v_last,
  sum(dc_current_a_sum) as dc_current_a_sum, sum(dc_current_a_n)::bigint as dc_current_a_n, min(dc_current_a_min) as dc_current_a_min, max(dc_current_a_max) as dc_current_a_max, last(dc_current_a_last, bucket) filter (where dc_current_a_last is not null) as dc_current_a_last,
  sum(power_setpoint_w_sum) as power_setpoint_w_sum, sum(power_setpoint_w_n)::bigint as power_setpoint_w_n, min(power_setpoint_w_min) as power_setpoint_w_min, max(power_setpoint_w_max) as power_setpoint_w_max, last(power_setpoint_w_last, bucket) filter (where power_setpoint_w_last is not null) as power_setpoint_w_last,
  sum(max_charge_w_sum) as max_charge_w_sum, sum(max_charge_w_n)::bigint as max_charge_w_n, min(max_charge_w_min) as max_charge_w_min, max(max_charge_w_max) as max_charge_w_max, last(max_charge_w_last, bucket) filter (where max_charge_w_last is not null) as max_charge_w_last,
  sum(max_discharge_w_sum) as max_discharge_w_sum, sum(max_discharge_w_n)::bigint as max_discharge_w_n, min(max_discharge_w_min) as max_discharge_w_min, max(max_discharge_w_max) as max_discharge_w_max, last(max_discharge_w_last, bucket) filter (where max_discharge_w_last is not null) as max_discharge_w_last,
  sum(energy_available_wh_sum) as energy_available_wh_sum, sum(energy_available_wh_n)::bigint as energy_available_wh_n, min(energy_available_wh_min) as energy_available_wh_min, max(energy_available_wh_max) as energy_available_wh_max, last(energy_available_wh_last, bucket) filter (where energy_available_wh_last is not null) as energy_available_wh_last,
  sum(irradiance_w_per_m2_sum) as irradiance_w_per_m2_sum, sum(irradiance_w_per_m2_n)::bigint as irradiance_w_per_m2_n, min(irradiance_w_per_m2_min) as irradiance_w_per_m2_min, max(irradiance_w_per_m2_max) as irradiance_w_per_m2_max, last(irradiance_w_per_m2_last, bucket) filter (where irradiance_w_per_m2_last is not null) as irradiance_w_per_m2_last,
  first(energy_import_wh_first, bucket) filter (where energy_import_wh_first is not null) as energy_import_wh_first, last(energy_import_wh_last, bucket) filter (where energy_import_wh_last is not null) as energy_import_wh_last,
  first(energy_export_wh_first, bucket) filter (where energy_export_wh_first is not null) as energy_export_wh_first, last(energy_export_wh_last, bucket) filter (where energy_export_wh_last is not null) as energy_export_wh_last,
  first(charge_cycles_first, bucket) filter (where charge_cycles_first is not null) as charge_cycles_first, last(charge_cycles_last, bucket) filter (where charge_cycles_last is not null) as charge_cycles_last,
  last(operating_state_last, bucket) filter (where operating_state_last is not null) as operating_state_last,
  last(fault_code_last, bucket) filter (where fault_code_last is not null) as fault_code_last,
  last(control_mode_last, bucket) filter (where control_mode_last is not null) as control_mode_last
  -- end
from telemetry_15m
group by device_key, time_bucket(interval '1 hour', bucket)
with no data;

create materialized view if not exists telemetry_1d
with (timescaledb.continuous, timescaledb.materialized_only = true, timescaledb.create_group_indexes = false) as
select device_key, time_bucket(interval '1 day', bucket) as bucket, sum(n)::bigint as n,
  -- columns: timescale_from_rollup
  sum(active_power_w_sum) as active_power_w_sum, sum(active_power_w_n)::bigint as active_power_w_n, min(active_power_w_min) as active_power_w_min, max(active_power_w_max) as active_power_w_max, last(active_power_w_last, bucket) filter (where active_power_w_last is not null) as active_power_w_last,
  sum(reactive_power_var_sum) as reactive_power_var_sum, sum(reactive_power_var_n)::bigint as reactive_power_var_n, min(reactive_power_var_min) as reactive_power_var_min, max(reactive_power_var_max) as reactive_power_var_max, last(reactive_power_var_last, bucket) filter (where reactive_power_var_last is not null) as reactive_power_var_last,
  sum(apparent_power_va_sum) as apparent_power_va_sum, sum(apparent_power_va_n)::bigint as apparent_power_va_n, min(apparent_power_va_min) as apparent_power_va_min, max(apparent_power_va_max) as apparent_power_va_max, last(apparent_power_va_last, bucket) filter (where apparent_power_va_last is not null) as apparent_power_va_last,
  sum(power_factor_sum) as power_factor_sum, sum(power_factor_n)::bigint as power_factor_n, min(power_factor_min) as power_factor_min, max(power_factor_max) as power_factor_max, last(power_factor_last, bucket) filter (where power_factor_last is not null) as power_factor_last,
  sum(voltage_v_sum) as voltage_v_sum, sum(voltage_v_n)::bigint as voltage_v_n, min(voltage_v_min) as voltage_v_min, max(voltage_v_max) as voltage_v_max, last(voltage_v_last, bucket) filter (where voltage_v_last is not null) as voltage_v_last,
  sum(current_a_sum) as current_a_sum, sum(current_a_n)::bigint as current_a_n, min(current_a_min) as current_a_min, max(current_a_max) as current_a_max, last(current_a_last, bucket) filter (where current_a_last is not null) as current_a_last,
  sum(frequency_hz_sum) as frequency_hz_sum, sum(frequency_hz_n)::bigint as frequency_hz_n, min(frequency_hz_min) as frequency_hz_min, max(frequency_hz_max) as frequency_hz_max, last(frequency_hz_last, bucket) filter (where frequency_hz_last is not null) as frequency_hz_last,
  sum(soc_pct_sum) as soc_pct_sum, sum(soc_pct_n)::bigint as soc_pct_n, min(soc_pct_min) as soc_pct_min, max(soc_pct_max) as soc_pct_max, last(soc_pct_last, bucket) filter (where soc_pct_last is not null) as soc_pct_last,
  sum(soh_pct_sum) as soh_pct_sum, sum(soh_pct_n)::bigint as soh_pct_n, min(soh_pct_min) as soh_pct_min, max(soh_pct_max) as soh_pct_max, last(soh_pct_last, bucket) filter (where soh_pct_last is not null) as soh_pct_last,
  sum(temp_c_sum) as temp_c_sum, sum(temp_c_n)::bigint as temp_c_n, min(temp_c_min) as temp_c_min, max(temp_c_max) as temp_c_max, last(temp_c_last, bucket) filter (where temp_c_last is not null) as temp_c_last,
  sum(dc_power_w_sum) as dc_power_w_sum, sum(dc_power_w_n)::bigint as dc_power_w_n, min(dc_power_w_min) as dc_power_w_min, max(dc_power_w_max) as dc_power_w_max, last(dc_power_w_last, bucket) filter (where dc_power_w_last is not null) as dc_power_w_last,
  sum(dc_voltage_v_sum) as dc_voltage_v_sum, sum(dc_voltage_v_n)::bigint as dc_voltage_v_n, min(dc_voltage_v_min) as dc_voltage_v_min, max(dc_voltage_v_max) as dc_voltage_v_max, last(dc_voltage_v_last, bucket) filter (where dc_voltage_v_last is not null) as dc_voltage_v_last,
  sum(dc_current_a_sum) as dc_current_a_sum, sum(dc_current_a_n)::bigint as dc_current_a_n, min(dc_current_a_min) as dc_current_a_min, max(dc_current_a_max) as dc_current_a_max, last(dc_current_a_last, bucket) filter (where dc_current_a_last is not null) as dc_current_a_last,
  sum(power_setpoint_w_sum) as power_setpoint_w_sum, sum(power_setpoint_w_n)::bigint as power_setpoint_w_n, min(power_setpoint_w_min) as power_setpoint_w_min, max(power_setpoint_w_max) as power_setpoint_w_max, last(power_setpoint_w_last, bucket) filter (where power_setpoint_w_last is not null) as power_setpoint_w_last,
  sum(max_charge_w_sum) as max_charge_w_sum, sum(max_charge_w_n)::bigint as max_charge_w_n, min(max_charge_w_min) as max_charge_w_min, max(max_charge_w_max) as max_charge_w_max, last(max_charge_w_last, bucket) filter (where max_charge_w_last is not null) as max_charge_w_last,
  sum(max_discharge_w_sum) as max_discharge_w_sum, sum(max_discharge_w_n)::bigint as max_discharge_w_n, min(max_discharge_w_min) as max_discharge_w_min, max(max_discharge_w_max) as max_discharge_w_max, last(max_discharge_w_last, bucket) filter (where max_discharge_w_last is not null) as max_discharge_w_last,
  sum(energy_available_wh_sum) as energy_available_wh_sum, sum(energy_available_wh_n)::bigint as energy_available_wh_n, min(energy_available_wh_min) as energy_available_wh_min, max(energy_available_wh_max) as energy_available_wh_max, last(energy_available_wh_last, bucket) filter (where energy_available_wh_last is not null) as energy_available_wh_last,
  sum(irradiance_w_per_m2_sum) as irradiance_w_per_m2_sum, sum(irradiance_w_per_m2_n)::bigint as irradiance_w_per_m2_n, min(irradiance_w_per_m2_min) as irradiance_w_per_m2_min, max(irradiance_w_per_m2_max) as irradiance_w_per_m2_max, last(irradiance_w_per_m2_last, bucket) filter (where irradiance_w_per_m2_last is not null) as irradiance_w_per_m2_last,
  first(energy_import_wh_first, bucket) filter (where energy_import_wh_first is not null) as energy_import_wh_first, last(energy_import_wh_last, bucket) filter (where energy_import_wh_last is not null) as energy_import_wh_last,
  first(energy_export_wh_first, bucket) filter (where energy_export_wh_first is not null) as energy_export_wh_first, last(energy_export_wh_last, bucket) filter (where energy_export_wh_last is not null) as energy_export_wh_last,
  first(charge_cycles_first, bucket) filter (where charge_cycles_first is not null) as charge_cycles_first, last(charge_cycles_last, bucket) filter (where charge_cycles_last is not null) as charge_cycles_last,
  last(operating_state_last, bucket) filter (where operating_state_last is not null) as operating_state_last,
  last(fault_code_last, bucket) filter (where fault_code_last is not null) as fault_code_last,
  last(control_mode_last, bucket) filter (where control_mode_last is not null) as control_mode_last
  -- end
from telemetry_1h
group by device_key, time_bucket(interval '1 day', bucket)
with no data;

create index if not exists telemetry_1m_key on telemetry_1m (device_key, bucket);
create index if not exists telemetry_15m_key on telemetry_15m (device_key, bucket);
create index if not exists telemetry_1h_key on telemetry_1h (device_key, bucket);
create index if not exists telemetry_1d_key on telemetry_1d (device_key, bucket);

select add_continuous_aggregate_policy('telemetry_1m', start_offset => interval '2 hours',
  end_offset => interval '1 minute', schedule_interval => interval '1 minute', if_not_exists => true);
select add_continuous_aggregate_policy('telemetry_15m', start_offset => interval '1 day',
  end_offset => interval '15 minutes', schedule_interval => interval '5 minutes', if_not_exists => true);
select add_continuous_aggregate_policy('telemetry_1h', start_offset => interval '3 days',
  end_offset => interval '1 hour', schedule_interval => interval '15 minutes', if_not_exists => true);
select add_continuous_aggregate_policy('telemetry_1d', start_offset => interval '7 days',
  end_offset => interval '1 day', schedule_interval => interval '1 hour', if_not_exists => true);
select add_retention_policy('telemetry_1m', drop_after => interval '90 days', if_not_exists => true);
select add_retention_policy('telemetry_15m', drop_after => interval '400 days', if_not_exists => true);
select add_retention_policy('telemetry_1h', drop_after => interval '1100 days', if_not_exists => true);

grant select on telemetry_1m, telemetry_15m, telemetry_1h, telemetry_1d to telemetry_reader, ingest;

do $$
declare
  v_level text;
begin
  foreach v_level in array array['1m', '15m', '1h', '1d'] loop
    if to_regclass('rollup_table_' || v_level) is not null then
      execute format('insert into %I.%I select * from %I', c.materialization_hypertable_schema,
                     c.materialization_hypertable_name, 'rollup_table_' || v_level)
        from timescaledb_information.continuous_aggregates c where c.view_name = 'telemetry_' || v_level;
      execute format('drop table %I cascade', 'rollup_table_' || v_level);
    end if;
  end loop;
  -- Dropping the tables took the views on them along.
  if to_regclass('public.schema_migrations') is not null then
    delete from schema_migrations where name in ('013_telemetry_views.sql', '014_metrics_view.sql');
  end if;
end $$;
drop procedure if exists refresh_hour(int[], timestamptz);
drop procedure if exists refresh_day(int[], timestamptz);

-- Hours with data that came later than the policies look back. A row is taken away by who refreshed its hour.
create table if not exists rollup_late (
  id bigint generated always as identity primary key,
  hour timestamptz not null
);
grant select, delete on rollup_late to ingest;

-- Takes up to p_limit dirty (device, hour) pairs: finds counter resets in them and passes late hours on. What is younger
-- than two hours is refreshed by the policies.
create or replace function refresh_rollups(p_limit int default 200) returns int
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v_keys int[];
  v_hours timestamptz[];
  v_part record;
begin
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
    group by hour order by hour
  loop
    call record_counter_resets(v_part.keys, v_part.hour, v_part.hour + interval '1 hour');
    if v_part.hour <= now() - interval '1 hour' then
      insert into rollup_late (hour) values (v_part.hour);
    end if;
  end loop;
  return coalesce(cardinality(v_keys), 0);
end $$;

create or replace function drop_old_rollups(p_now timestamptz) returns void language sql immutable as $$ select $$;

-- What to refresh for late data, in this order, each outside a transaction:
-- `call refresh_continuous_aggregate(rollup, starts_at, ends_at)`; then delete the rows late_ids of rollup_late.
-- Hours that start before the oldest raw chunk have no window (rollup is null): refreshing them would delete history.
create or replace function late_rollup_windows(p_limit int default 24)
returns table (rollup text, starts_at timestamptz, ends_at timestamptz, late_ids bigint[])
language sql stable security definer set search_path = public, pg_temp
as $$
  with oldest as (
    select min(range_start) as at from timescaledb_information.chunks
    where hypertable_schema = 'public' and hypertable_name = 'telemetry'
  ), late as (
    select hour, date_bin('1 day', hour, timestamptz '2000-01-01 00:00+00') as day, array_agg(id) as ids,
      hour >= oldest.at as is_whole
    from rollup_late, oldest
    group by hour, oldest.at order by hour limit p_limit
  ), windows as (
    select 1 as place, v.rollup, hour as starts_at, hour + interval '1 hour' as ends_at, '{}'::bigint[] as ids
    from late cross join (values ('telemetry_1m'), ('telemetry_15m'), ('telemetry_1h')) v (rollup)
    where is_whole
    union all
    select 2, 'telemetry_1d', day, day + interval '1 day', '{}' from late where is_whole group by day
    union all
    select 3, null, hour, hour + interval '1 hour', ids from late
  )
  select w.rollup, w.starts_at, w.ends_at, w.ids from windows w
  order by place, case w.rollup when 'telemetry_1m' then 1 when 'telemetry_15m' then 2 else 3 end, w.starts_at
$$;

revoke execute on function refresh_rollups(int), late_rollup_windows(int) from public;
grant execute on function refresh_rollups(int), drop_old_rollups(timestamptz), late_rollup_windows(int) to ingest;
