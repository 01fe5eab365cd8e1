-- requires: plain
-- Owner: ingest. Rollups from the minutes that were written, not from whole hours, and without arrays for the first and
-- last values where a bucket is even: there each quantity is in all of its rows or in none, as devices send them, and
-- the first and last values stand in its first and last row. Other buckets take the slow way.

create or replace procedure refresh_minutes(p_keys int[], p_from timestamptz, p_to timestamptz)
language plpgsql set search_path = public, pg_temp
as $$
declare
  v_keys int[];
  v_buckets timestamptz[];
begin
  delete from telemetry_1m where device_key = any (p_keys) and bucket >= p_from and bucket < p_to;
  with a as materialized (
    select t.device_key, t.bucket, count(*) as n, min(t.ts) as first_at, max(t.ts) as last_at,
  -- columns: plain_sums_of_raw
  sum(t.active_power_w) as active_power_w_sum, count(t.active_power_w) as active_power_w_n, min(t.active_power_w) as active_power_w_min, max(t.active_power_w) as active_power_w_max,
  sum(t.reactive_power_var) as reactive_power_var_sum, count(t.reactive_power_var) as reactive_power_var_n, min(t.reactive_power_var) as reactive_power_var_min, max(t.reactive_power_var) as reactive_power_var_max,
  sum(t.apparent_power_va) as apparent_power_va_sum, count(t.apparent_power_va) as apparent_power_va_n, min(t.apparent_power_va) as apparent_power_va_min, max(t.apparent_power_va) as apparent_power_va_max,
  sum(t.power_factor) as power_factor_sum, count(t.power_factor) as power_factor_n, min(t.power_factor) as power_factor_min, max(t.power_factor) as power_factor_max,
  sum(t.voltage_v) as voltage_v_sum, count(t.voltage_v) as voltage_v_n, min(t.voltage_v) as voltage_v_min, max(t.voltage_v) as voltage_v_max,
  sum(t.current_a) as current_a_sum, count(t.current_a) as current_a_n, min(t.current_a) as current_a_min, max(t.current_a) as current_a_max,
  sum(t.frequency_hz) as frequency_hz_sum, count(t.frequency_hz) as frequency_hz_n, min(t.frequency_hz) as frequency_hz_min, max(t.frequency_hz) as frequency_hz_max,
  sum(t.soc_pct) as soc_pct_sum, count(t.soc_pct) as soc_pct_n, min(t.soc_pct) as soc_pct_min, max(t.soc_pct) as soc_pct_max,
  sum(t.soh_pct) as soh_pct_sum, count(t.soh_pct) as soh_pct_n, min(t.soh_pct) as soh_pct_min, max(t.soh_pct) as soh_pct_max,
  sum(t.temp_c) as temp_c_sum, count(t.temp_c) as temp_c_n, min(t.temp_c) as temp_c_min, max(t.temp_c) as temp_c_max,
  sum(t.dc_power_w) as dc_power_w_sum, count(t.dc_power_w) as dc_power_w_n, min(t.dc_power_w) as dc_power_w_min, max(t.dc_power_w) as dc_power_w_max,
  sum(t.dc_voltage_v) as dc_voltage_v_sum, count(t.dc_voltage_v) as dc_voltage_v_n, min(t.dc_voltage_v) as dc_voltage_v_min, max(t.dc_voltage_v) as dc_voltage_v_max,
  sum(t.dc_current_a) as dc_current_a_sum, count(t.dc_current_a) as dc_current_a_n, min(t.dc_current_a) as dc_current_a_min, max(t.dc_current_a) as dc_current_a_max,
  sum(t.power_setpoint_w) as power_setpoint_w_sum, count(t.power_setpoint_w) as power_setpoint_w_n, min(t.power_setpoint_w) as power_setpoint_w_min, max(t.power_setpoint_w) as power_setpoint_w_max,
  sum(t.max_charge_w) as max_charge_w_sum, count(t.max_charge_w) as max_charge_w_n, min(t.max_charge_w) as max_charge_w_min, max(t.max_charge_w) as max_charge_w_max,
  sum(t.max_discharge_w) as max_discharge_w_sum, count(t.max_discharge_w) as max_discharge_w_n, min(t.max_discharge_w) as max_discharge_w_min, max(t.max_discharge_w) as max_discharge_w_max,
  sum(t.energy_available_wh) as energy_available_wh_sum, count(t.energy_available_wh) as energy_available_wh_n, min(t.energy_available_wh) as energy_available_wh_min, max(t.energy_available_wh) as energy_available_wh_max,
  sum(t.irradiance_w_per_m2) as irradiance_w_per_m2_sum, count(t.irradiance_w_per_m2) as irradiance_w_per_m2_n, min(t.irradiance_w_per_m2) as irradiance_w_per_m2_min, max(t.irradiance_w_per_m2) as irradiance_w_per_m2_max,
  count(t.energy_import_wh) as energy_import_wh_n,
  count(t.energy_export_wh) as energy_export_wh_n,
  count(t.charge_cycles) as charge_cycles_n,
  count(t.operating_state) as operating_state_n,
  count(t.fault_code) as fault_code_n,
  count(t.control_mode) as control_mode_n
  -- end
    , (
  -- columns: plain_is_even_raw
  count(t.active_power_w) in (0, count(*)) and
  count(t.reactive_power_var) in (0, count(*)) and
  count(t.apparent_power_va) in (0, count(*)) and
  count(t.power_factor) in (0, count(*)) and
  count(t.voltage_v) in (0, count(*)) and
  count(t.current_a) in (0, count(*)) and
  count(t.frequency_hz) in (0, count(*)) and
  count(t.soc_pct) in (0, count(*)) and
  count(t.soh_pct) in (0, count(*)) and
  count(t.temp_c) in (0, count(*)) and
  count(t.dc_power_w) in (0, count(*)) and
  count(t.dc_voltage_v) in (0, count(*)) and
  count(t.dc_current_a) in (0, count(*)) and
  count(t.power_setpoint_w) in (0, count(*)) and
  count(t.max_charge_w) in (0, count(*)) and
  count(t.max_discharge_w) in (0, count(*)) and
  count(t.energy_available_wh) in (0, count(*)) and
  count(t.irradiance_w_per_m2) in (0, count(*)) and
  count(t.energy_import_wh) in (0, count(*)) and
  count(t.energy_export_wh) in (0, count(*)) and
  count(t.charge_cycles) in (0, count(*)) and
  count(t.operating_state) in (0, count(*)) and
  count(t.fault_code) in (0, count(*)) and
  count(t.control_mode) in (0, count(*))
  -- end
    ) as is_even
    from (
      select *, date_bin('1 minute', ts, timestamptz '2000-01-01 00:00+00') as bucket from telemetry
      where device_key = any (p_keys) and ts >= p_from and ts < p_to and quality < 2
    ) t
    group by t.device_key, t.bucket
  ), stored as (
    insert into telemetry_1m
    select a.device_key, a.bucket, a.n,
  -- columns: plain_picked_of_raw
  a.active_power_w_sum, a.active_power_w_n, a.active_power_w_min, a.active_power_w_max, l.active_power_w,
  a.reactive_power_var_sum, a.reactive_power_var_n, a.reactive_power_var_min, a.reactive_power_var_max, l.reactive_power_var,
  a.apparent_power_va_sum, a.apparent_power_va_n, a.apparent_power_va_min, a.apparent_power_va_max, l.apparent_power_va,
  a.power_factor_sum, a.power_factor_n, a.power_factor_min, a.power_factor_max, l.power_factor,
  a.voltage_v_sum, a.voltage_v_n, a.voltage_v_min, a.voltage_v_max, l.voltage_v,
  a.current_a_sum, a.current_a_n, a.current_a_min, a.current_a_max, l.current_a,
  a.frequency_hz_sum, a.frequency_hz_n, a.frequency_hz_min, a.frequency_hz_max, l.frequency_hz,
  a.soc_pct_sum, a.soc_pct_n, a.soc_pct_min, a.soc_pct_max, l.soc_pct,
  a.soh_pct_sum, a.soh_pct_n, a.soh_pct_min, a.soh_pct_max, l.soh_pct,
  a.temp_c_sum, a.temp_c_n, a.temp_c_min, a.temp_c_max, l.temp_c,
  a.dc_power_w_sum, a.dc_power_w_n, a.dc_power_w_min, a.dc_power_w_max, l.dc_power_w,
  a.dc_voltage_v_sum, a.dc_voltage_v_n, a.dc_voltage_v_min, a.dc_voltage_v_max, l.dc_voltage_v,
  a.dc_current_a_sum, a.dc_current_a_n, a.dc_current_a_min, a.dc_current_a_max, l.dc_current_a,
  a.power_setpoint_w_sum, a.power_setpoint_w_n, a.power_setpoint_w_min, a.power_setpoint_w_max, l.power_setpoint_w,
  a.max_charge_w_sum, a.max_charge_w_n, a.max_charge_w_min, a.max_charge_w_max, l.max_charge_w,
  a.max_discharge_w_sum, a.max_discharge_w_n, a.max_discharge_w_min, a.max_discharge_w_max, l.max_discharge_w,
  a.energy_available_wh_sum, a.energy_available_wh_n, a.energy_available_wh_min, a.energy_available_wh_max, l.energy_available_wh,
  a.irradiance_w_per_m2_sum, a.irradiance_w_per_m2_n, a.irradiance_w_per_m2_min, a.irradiance_w_per_m2_max, l.irradiance_w_per_m2,
  f.energy_import_wh, l.energy_import_wh,
  f.energy_export_wh, l.energy_export_wh,
  f.charge_cycles, l.charge_cycles,
  l.operating_state,
  l.fault_code,
  l.control_mode
  -- end
    from a
    join telemetry f on f.device_key = a.device_key and f.ts = a.first_at and f.ts >= p_from and f.ts < p_to
    join telemetry l on l.device_key = a.device_key and l.ts = a.last_at and l.ts >= p_from and l.ts < p_to
    where a.is_even
  )
  select array_agg(device_key), array_agg(bucket) into v_keys, v_buckets from a where not is_even;
  if v_keys is null then
    return;
  end if;
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
    select telemetry.*, u.bucket, extract(epoch from ts)::double precision as at
    from unnest(v_keys, v_buckets) as u (device_key, bucket)
    join telemetry on telemetry.device_key = u.device_key and ts >= u.bucket and ts < u.bucket + interval '1 minute'
    where ts >= p_from and ts < p_to and quality < 2
  ) t
  group by t.device_key, t.bucket;
end $$;

-- A rollup from the finer one; p_from and p_to are ends of its buckets.
create or replace procedure refresh_level(
  p_finer text, p_level text, p_width interval, p_keys int[], p_from timestamptz, p_to timestamptz)
language plpgsql set search_path = public, pg_temp
as $$
declare
  v_keys int[];
  v_buckets timestamptz[];
begin
  execute format('delete from %I where device_key = any ($1) and bucket >= $2 and bucket < $3', p_level)
    using p_keys, p_from, p_to;
  execute format($sql$
  with a as materialized (
    select t.device_key, t.starts, sum(t.n)::bigint as n, min(t.bucket) as first_at, max(t.bucket) as last_at,
  -- columns: plain_sums_of_rollup
  sum(t.active_power_w_sum) as active_power_w_sum, sum(t.active_power_w_n)::bigint as active_power_w_n, min(t.active_power_w_min) as active_power_w_min, max(t.active_power_w_max) as active_power_w_max,
  sum(t.reactive_power_var_sum) as reactive_power_var_sum, sum(t.reactive_power_var_n)::bigint as reactive_power_var_n, min(t.reactive_power_var_min) as reactive_power_var_min, max(t.reactive_power_var_max) as reactive_power_var_max,
  sum(t.apparent_power_va_sum) as apparent_power_va_sum, sum(t.apparent_power_va_n)::bigint as apparent_power_va_n, min(t.apparent_power_va_min) as apparent_power_va_min, max(t.apparent_power_va_max) as apparent_power_va_max,
  sum(t.power_factor_sum) as power_factor_sum, sum(t.power_factor_n)::bigint as power_factor_n, min(t.power_factor_min) as power_factor_min, max(t.power_factor_max) as power_factor_max,
  sum(t.voltage_v_sum) as voltage_v_sum, sum(t.voltage_v_n)::bigint as voltage_v_n, min(t.voltage_v_min) as voltage_v_min, max(t.voltage_v_max) as voltage_v_max,
  sum(t.current_a_sum) as current_a_sum, sum(t.current_a_n)::bigint as current_a_n, min(t.current_a_min) as current_a_min, max(t.current_a_max) as current_a_max,
  sum(t.frequency_hz_sum) as frequency_hz_sum, sum(t.frequency_hz_n)::bigint as frequency_hz_n, min(t.frequency_hz_min) as frequency_hz_min, max(t.frequency_hz_max) as frequency_hz_max,
  sum(t.soc_pct_sum) as soc_pct_sum, sum(t.soc_pct_n)::bigint as soc_pct_n, min(t.soc_pct_min) as soc_pct_min, max(t.soc_pct_max) as soc_pct_max,
  sum(t.soh_pct_sum) as soh_pct_sum, sum(t.soh_pct_n)::bigint as soh_pct_n, min(t.soh_pct_min) as soh_pct_min, max(t.soh_pct_max) as soh_pct_max,
  sum(t.temp_c_sum) as temp_c_sum, sum(t.temp_c_n)::bigint as temp_c_n, min(t.temp_c_min) as temp_c_min, max(t.temp_c_max) as temp_c_max,
  sum(t.dc_power_w_sum) as dc_power_w_sum, sum(t.dc_power_w_n)::bigint as dc_power_w_n, min(t.dc_power_w_min) as dc_power_w_min, max(t.dc_power_w_max) as dc_power_w_max,
  sum(t.dc_voltage_v_sum) as dc_voltage_v_sum, sum(t.dc_voltage_v_n)::bigint as dc_voltage_v_n, min(t.dc_voltage_v_min) as dc_voltage_v_min, max(t.dc_voltage_v_max) as dc_voltage_v_max,
  sum(t.dc_current_a_sum) as dc_current_a_sum, sum(t.dc_current_a_n)::bigint as dc_current_a_n, min(t.dc_current_a_min) as dc_current_a_min, max(t.dc_current_a_max) as dc_current_a_max,
  sum(t.power_setpoint_w_sum) as power_setpoint_w_sum, sum(t.power_setpoint_w_n)::bigint as power_setpoint_w_n, min(t.power_setpoint_w_min) as power_setpoint_w_min, max(t.power_setpoint_w_max) as power_setpoint_w_max,
  sum(t.max_charge_w_sum) as max_charge_w_sum, sum(t.max_charge_w_n)::bigint as max_charge_w_n, min(t.max_charge_w_min) as max_charge_w_min, max(t.max_charge_w_max) as max_charge_w_max,
  sum(t.max_discharge_w_sum) as max_discharge_w_sum, sum(t.max_discharge_w_n)::bigint as max_discharge_w_n, min(t.max_discharge_w_min) as max_discharge_w_min, max(t.max_discharge_w_max) as max_discharge_w_max,
  sum(t.energy_available_wh_sum) as energy_available_wh_sum, sum(t.energy_available_wh_n)::bigint as energy_available_wh_n, min(t.energy_available_wh_min) as energy_available_wh_min, max(t.energy_available_wh_max) as energy_available_wh_max,
  sum(t.irradiance_w_per_m2_sum) as irradiance_w_per_m2_sum, sum(t.irradiance_w_per_m2_n)::bigint as irradiance_w_per_m2_n, min(t.irradiance_w_per_m2_min) as irradiance_w_per_m2_min, max(t.irradiance_w_per_m2_max) as irradiance_w_per_m2_max,
  count(t.energy_import_wh_last) as energy_import_wh_n,
  count(t.energy_export_wh_last) as energy_export_wh_n,
  count(t.charge_cycles_last) as charge_cycles_n,
  count(t.operating_state_last) as operating_state_n,
  count(t.fault_code_last) as fault_code_n,
  count(t.control_mode_last) as control_mode_n
  -- end
    , (
  -- columns: plain_is_even_rollup
  count(t.active_power_w_last) in (0, count(*)) and
  count(t.reactive_power_var_last) in (0, count(*)) and
  count(t.apparent_power_va_last) in (0, count(*)) and
  count(t.power_factor_last) in (0, count(*)) and
  count(t.voltage_v_last) in (0, count(*)) and
  count(t.current_a_last) in (0, count(*)) and
  count(t.frequency_hz_last) in (0, count(*)) and
  count(t.soc_pct_last) in (0, count(*)) and
  count(t.soh_pct_last) in (0, count(*)) and
  count(t.temp_c_last) in (0, count(*)) and
  count(t.dc_power_w_last) in (0, count(*)) and
  count(t.dc_voltage_v_last) in (0, count(*)) and
  count(t.dc_current_a_last) in (0, count(*)) and
  count(t.power_setpoint_w_last) in (0, count(*)) and
  count(t.max_charge_w_last) in (0, count(*)) and
  count(t.max_discharge_w_last) in (0, count(*)) and
  count(t.energy_available_wh_last) in (0, count(*)) and
  count(t.irradiance_w_per_m2_last) in (0, count(*)) and
  count(t.energy_import_wh_last) in (0, count(*)) and
  count(t.energy_export_wh_last) in (0, count(*)) and
  count(t.charge_cycles_last) in (0, count(*)) and
  count(t.operating_state_last) in (0, count(*)) and
  count(t.fault_code_last) in (0, count(*)) and
  count(t.control_mode_last) in (0, count(*))
  -- end
    ) as is_even
    from (
      select *, date_bin($4, bucket, timestamptz '2000-01-01 00:00+00') as starts from %1$I
      where device_key = any ($1) and bucket >= $2 and bucket < $3
    ) t
    group by t.device_key, t.starts
  ), stored as (
    insert into %2$I
    select a.device_key, a.starts, a.n,
  -- columns: plain_picked_of_rollup
  a.active_power_w_sum, a.active_power_w_n, a.active_power_w_min, a.active_power_w_max, l.active_power_w_last,
  a.reactive_power_var_sum, a.reactive_power_var_n, a.reactive_power_var_min, a.reactive_power_var_max, l.reactive_power_var_last,
  a.apparent_power_va_sum, a.apparent_power_va_n, a.apparent_power_va_min, a.apparent_power_va_max, l.apparent_power_va_last,
  a.power_factor_sum, a.power_factor_n, a.power_factor_min, a.power_factor_max, l.power_factor_last,
  a.voltage_v_sum, a.voltage_v_n, a.voltage_v_min, a.voltage_v_max, l.voltage_v_last,
  a.current_a_sum, a.current_a_n, a.current_a_min, a.current_a_max, l.current_a_last,
  a.frequency_hz_sum, a.frequency_hz_n, a.frequency_hz_min, a.frequency_hz_max, l.frequency_hz_last,
  a.soc_pct_sum, a.soc_pct_n, a.soc_pct_min, a.soc_pct_max, l.soc_pct_last,
  a.soh_pct_sum, a.soh_pct_n, a.soh_pct_min, a.soh_pct_max, l.soh_pct_last,
  a.temp_c_sum, a.temp_c_n, a.temp_c_min, a.temp_c_max, l.temp_c_last,
  a.dc_power_w_sum, a.dc_power_w_n, a.dc_power_w_min, a.dc_power_w_max, l.dc_power_w_last,
  a.dc_voltage_v_sum, a.dc_voltage_v_n, a.dc_voltage_v_min, a.dc_voltage_v_max, l.dc_voltage_v_last,
  a.dc_current_a_sum, a.dc_current_a_n, a.dc_current_a_min, a.dc_current_a_max, l.dc_current_a_last,
  a.power_setpoint_w_sum, a.power_setpoint_w_n, a.power_setpoint_w_min, a.power_setpoint_w_max, l.power_setpoint_w_last,
  a.max_charge_w_sum, a.max_charge_w_n, a.max_charge_w_min, a.max_charge_w_max, l.max_charge_w_last,
  a.max_discharge_w_sum, a.max_discharge_w_n, a.max_discharge_w_min, a.max_discharge_w_max, l.max_discharge_w_last,
  a.energy_available_wh_sum, a.energy_available_wh_n, a.energy_available_wh_min, a.energy_available_wh_max, l.energy_available_wh_last,
  a.irradiance_w_per_m2_sum, a.irradiance_w_per_m2_n, a.irradiance_w_per_m2_min, a.irradiance_w_per_m2_max, l.irradiance_w_per_m2_last,
  f.energy_import_wh_first, l.energy_import_wh_last,
  f.energy_export_wh_first, l.energy_export_wh_last,
  f.charge_cycles_first, l.charge_cycles_last,
  l.operating_state_last,
  l.fault_code_last,
  l.control_mode_last
  -- end
    from a
    join %1$I f on f.device_key = a.device_key and f.bucket = a.first_at
    join %1$I l on l.device_key = a.device_key and l.bucket = a.last_at
    where a.is_even
  )
  select array_agg(device_key), array_agg(starts) from a where not is_even
  $sql$, p_finer, p_level) into v_keys, v_buckets using p_keys, p_from, p_to, p_width;
  if v_keys is null then
    return;
  end if;
  execute format($sql$
  insert into %2$I
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
    select finer.*, u.starts, extract(epoch from finer.bucket)::double precision as at
    from unnest($1, $2) as u (device_key, starts)
    join %1$I finer on finer.device_key = u.device_key and finer.bucket >= u.starts and finer.bucket < u.starts + $3
  ) t
  group by t.device_key, t.starts
  $sql$, p_finer, p_level) using v_keys, v_buckets, p_width;
end $$;

-- Takes up to p_limit (device, hour) pairs, oldest first, and brings their rollups up to date; answers how many it took,
-- 0 when nothing is dirty or another refresh runs. Devices of one hour share a span of minutes: they mostly send at the
-- same time. Time below the floor of retention is left as it is: its raw data are gone, and a rollup made from what is
-- left would destroy history.
create or replace function refresh_rollups(p_limit int default 200) returns int
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v_floor timestamptz := (select floor from telemetry_floor);
  v_keys int[];
  v_hours timestamptz[];
  v_first int[];
  v_last int[];
  v_counting int[];
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
    returning d.device_key, d.hour, d.first_minute, d.last_minute
  )
  select array_agg(device_key), array_agg(hour), array_agg(first_minute), array_agg(last_minute)
  into v_keys, v_hours, v_first, v_last
  from (
    select device_key, hour, min(first_minute) as first_minute, max(last_minute) as last_minute
    from gone group by device_key, hour
  ) taken;

  for v_part in
    select hour, array_agg(device_key) as keys, hour + min(first_minute) * interval '1 minute' as starts_at,
      hour + (max(last_minute) + 1) * interval '1 minute' as ends_at
    from unnest(v_keys, v_hours, v_first, v_last) as taken (device_key, hour, first_minute, last_minute)
    where hour >= v_floor group by hour order by hour
  loop
    call refresh_minutes(v_part.keys, v_part.starts_at, v_part.ends_at);
    call refresh_level('telemetry_1m', 'telemetry_15m', '15 minutes', v_part.keys,
      date_bin('15 minutes', v_part.starts_at, timestamptz '2000-01-01 00:00+00'),
      date_bin('15 minutes', v_part.ends_at + interval '15 minutes' - interval '1 microsecond',
        timestamptz '2000-01-01 00:00+00'));
    call refresh_level('telemetry_15m', 'telemetry_1h', '1 hour', v_part.keys,
      v_part.hour, v_part.hour + interval '1 hour');
    -- Most devices count nothing.
    v_counting := (
      select array_agg(distinct device_key) from telemetry_1m
      where device_key = any (v_part.keys) and bucket >= v_part.starts_at and bucket < v_part.ends_at and (
  -- columns: rollup_has_counter
        energy_import_wh_last is not null or energy_export_wh_last is not null or charge_cycles_last is not null
  -- end
      ));
    call record_counter_resets(coalesce(v_counting, '{}'), v_part.starts_at, v_part.ends_at);
  end loop;
  for v_part in
    select date_bin('1 day', hour, timestamptz '2000-01-01 00:00+00') as day, array_agg(distinct device_key) as keys
    from unnest(v_keys, v_hours) as taken (device_key, hour) where hour >= v_floor group by 1 order by 1
  loop
    call refresh_level('telemetry_1h', 'telemetry_1d', '1 day', v_part.keys, v_part.day, v_part.day + interval '1 day');
  end loop;
  return coalesce(cardinality(v_keys), 0);
end $$;

drop procedure if exists refresh_hour(int[], timestamptz);
drop procedure if exists refresh_day(int[], timestamptz);
revoke execute on procedure refresh_minutes(int[], timestamptz, timestamptz) from public;
revoke execute on procedure refresh_level(text, text, interval, int[], timestamptz, timestamptz) from public;
