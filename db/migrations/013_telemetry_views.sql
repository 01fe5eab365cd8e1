-- Tenants see telemetry only through these views: security_barrier, owned by a role that is not a superuser and has
-- a named policy of its own on device. Without a tenant they raise. One row at most for each device and time.

create or replace view v_telemetry with (security_barrier = true) as
select d.tenant_id, d.device_id, d.site_id, d.box_id, t.ts,
  -- columns: view_columns
  t.active_power_w,
  t.reactive_power_var,
  t.apparent_power_va,
  t.power_factor,
  t.voltage_v,
  t.current_a,
  t.frequency_hz,
  t.soc_pct,
  t.soh_pct,
  t.temp_c,
  t.dc_power_w,
  t.dc_voltage_v,
  t.dc_current_a,
  t.power_setpoint_w,
  t.max_charge_w,
  t.max_discharge_w,
  t.energy_available_wh,
  t.irradiance_w_per_m2,
  t.energy_import_wh,
  t.energy_export_wh,
  t.charge_cycles,
  t.operating_state,
  t.fault_code,
  t.control_mode,
  -- end
  t.quality
from device d join telemetry t on t.device_key = d.device_key
where d.tenant_id = current_tenant();

create or replace view v_telemetry_1m with (security_barrier = true) as
select d.tenant_id, d.device_id, d.site_id, d.box_id, t.bucket,
  -- columns: view_rollup_columns
  t.active_power_w_sum, t.active_power_w_n, t.active_power_w_min, t.active_power_w_max, t.active_power_w_last,
  t.reactive_power_var_sum, t.reactive_power_var_n, t.reactive_power_var_min, t.reactive_power_var_max, t.reactive_power_var_last,
  t.apparent_power_va_sum, t.apparent_power_va_n, t.apparent_power_va_min, t.apparent_power_va_max, t.apparent_power_va_last,
  t.power_factor_sum, t.power_factor_n, t.power_factor_min, t.power_factor_max, t.power_factor_last,
  t.voltage_v_sum, t.voltage_v_n, t.voltage_v_min, t.voltage_v_max, t.voltage_v_last,
  t.current_a_sum, t.current_a_n, t.current_a_min, t.current_a_max, t.current_a_last,
  t.frequency_hz_sum, t.frequency_hz_n, t.frequency_hz_min, t.frequency_hz_max, t.frequency_hz_last,
  t.soc_pct_sum, t.soc_pct_n, t.soc_pct_min, t.soc_pct_max, t.soc_pct_last,
  t.soh_pct_sum, t.soh_pct_n, t.soh_pct_min, t.soh_pct_max, t.soh_pct_last,
  t.temp_c_sum, t.temp_c_n, t.temp_c_min, t.temp_c_max, t.temp_c_last,
  t.dc_power_w_sum, t.dc_power_w_n, t.dc_power_w_min, t.dc_power_w_max, t.dc_power_w_last,
  t.dc_voltage_v_sum, t.dc_voltage_v_n, t.dc_voltage_v_min, t.dc_voltage_v_max, t.dc_voltage_v_last,
  t.dc_current_a_sum, t.dc_current_a_n, t.dc_current_a_min, t.dc_current_a_max, t.dc_current_a_last,
  t.power_setpoint_w_sum, t.power_setpoint_w_n, t.power_setpoint_w_min, t.power_setpoint_w_max, t.power_setpoint_w_last,
  t.max_charge_w_sum, t.max_charge_w_n, t.max_charge_w_min, t.max_charge_w_max, t.max_charge_w_last,
  t.max_discharge_w_sum, t.max_discharge_w_n, t.max_discharge_w_min, t.max_discharge_w_max, t.max_discharge_w_last,
  t.energy_available_wh_sum, t.energy_available_wh_n, t.energy_available_wh_min, t.energy_available_wh_max, t.energy_available_wh_last,
  t.irradiance_w_per_m2_sum, t.irradiance_w_per_m2_n, t.irradiance_w_per_m2_min, t.irradiance_w_per_m2_max, t.irradiance_w_per_m2_last,
  t.energy_import_wh_first, t.energy_import_wh_last,
  t.energy_export_wh_first, t.energy_export_wh_last,
  t.charge_cycles_first, t.charge_cycles_last,
  t.operating_state_last,
  t.fault_code_last,
  t.control_mode_last,
  -- end
  t.n
from device d join telemetry_1m t on t.device_key = d.device_key
where d.tenant_id = current_tenant();

create or replace view v_telemetry_15m with (security_barrier = true) as
select d.tenant_id, d.device_id, d.site_id, d.box_id, t.bucket,
  -- columns: view_rollup_columns
  t.active_power_w_sum, t.active_power_w_n, t.active_power_w_min, t.active_power_w_max, t.active_power_w_last,
  t.reactive_power_var_sum, t.reactive_power_var_n, t.reactive_power_var_min, t.reactive_power_var_max, t.reactive_power_var_last,
  t.apparent_power_va_sum, t.apparent_power_va_n, t.apparent_power_va_min, t.apparent_power_va_max, t.apparent_power_va_last,
  t.power_factor_sum, t.power_factor_n, t.power_factor_min, t.power_factor_max, t.power_factor_last,
  t.voltage_v_sum, t.voltage_v_n, t.voltage_v_min, t.voltage_v_max, t.voltage_v_last,
  t.current_a_sum, t.current_a_n, t.current_a_min, t.current_a_max, t.current_a_last,
  t.frequency_hz_sum, t.frequency_hz_n, t.frequency_hz_min, t.frequency_hz_max, t.frequency_hz_last,
  t.soc_pct_sum, t.soc_pct_n, t.soc_pct_min, t.soc_pct_max, t.soc_pct_last,
  t.soh_pct_sum, t.soh_pct_n, t.soh_pct_min, t.soh_pct_max, t.soh_pct_last,
  t.temp_c_sum, t.temp_c_n, t.temp_c_min, t.temp_c_max, t.temp_c_last,
  t.dc_power_w_sum, t.dc_power_w_n, t.dc_power_w_min, t.dc_power_w_max, t.dc_power_w_last,
  t.dc_voltage_v_sum, t.dc_voltage_v_n, t.dc_voltage_v_min, t.dc_voltage_v_max, t.dc_voltage_v_last,
  t.dc_current_a_sum, t.dc_current_a_n, t.dc_current_a_min, t.dc_current_a_max, t.dc_current_a_last,
  t.power_setpoint_w_sum, t.power_setpoint_w_n, t.power_setpoint_w_min, t.power_setpoint_w_max, t.power_setpoint_w_last,
  t.max_charge_w_sum, t.max_charge_w_n, t.max_charge_w_min, t.max_charge_w_max, t.max_charge_w_last,
  t.max_discharge_w_sum, t.max_discharge_w_n, t.max_discharge_w_min, t.max_discharge_w_max, t.max_discharge_w_last,
  t.energy_available_wh_sum, t.energy_available_wh_n, t.energy_available_wh_min, t.energy_available_wh_max, t.energy_available_wh_last,
  t.irradiance_w_per_m2_sum, t.irradiance_w_per_m2_n, t.irradiance_w_per_m2_min, t.irradiance_w_per_m2_max, t.irradiance_w_per_m2_last,
  t.energy_import_wh_first, t.energy_import_wh_last,
  t.energy_export_wh_first, t.energy_export_wh_last,
  t.charge_cycles_first, t.charge_cycles_last,
  t.operating_state_last,
  t.fault_code_last,
  t.control_mode_last,
  -- end
  t.n
from device d join telemetry_15m t on t.device_key = d.device_key
where d.tenant_id = current_tenant();

create or replace view v_telemetry_1h with (security_barrier = true) as
select d.tenant_id, d.device_id, d.site_id, d.box_id, t.bucket,
  -- columns: view_rollup_columns
  t.active_power_w_sum, t.active_power_w_n, t.active_power_w_min, t.active_power_w_max, t.active_power_w_last,
  t.reactive_power_var_sum, t.reactive_power_var_n, t.reactive_power_var_min, t.reactive_power_var_max, t.reactive_power_var_last,
  t.apparent_power_va_sum, t.apparent_power_va_n, t.apparent_power_va_min, t.apparent_power_va_max, t.apparent_power_va_last,
  t.power_factor_sum, t.power_factor_n, t.power_factor_min, t.power_factor_max, t.power_factor_last,
  t.voltage_v_sum, t.voltage_v_n, t.voltage_v_min, t.voltage_v_max, t.voltage_v_last,
  t.current_a_sum, t.current_a_n, t.current_a_min, t.current_a_max, t.current_a_last,
  t.frequency_hz_sum, t.frequency_hz_n, t.frequency_hz_min, t.frequency_hz_max, t.frequency_hz_last,
  t.soc_pct_sum, t.soc_pct_n, t.soc_pct_min, t.soc_pct_max, t.soc_pct_last,
  t.soh_pct_sum, t.soh_pct_n, t.soh_pct_min, t.soh_pct_max, t.soh_pct_last,
  t.temp_c_sum, t.temp_c_n, t.temp_c_min, t.temp_c_max, t.temp_c_last,
  t.dc_power_w_sum, t.dc_power_w_n, t.dc_power_w_min, t.dc_power_w_max, t.dc_power_w_last,
  t.dc_voltage_v_sum, t.dc_voltage_v_n, t.dc_voltage_v_min, t.dc_voltage_v_max, t.dc_voltage_v_last,
  t.dc_current_a_sum, t.dc_current_a_n, t.dc_current_a_min, t.dc_current_a_max, t.dc_current_a_last,
  t.power_setpoint_w_sum, t.power_setpoint_w_n, t.power_setpoint_w_min, t.power_setpoint_w_max, t.power_setpoint_w_last,
  t.max_charge_w_sum, t.max_charge_w_n, t.max_charge_w_min, t.max_charge_w_max, t.max_charge_w_last,
  t.max_discharge_w_sum, t.max_discharge_w_n, t.max_discharge_w_min, t.max_discharge_w_max, t.max_discharge_w_last,
  t.energy_available_wh_sum, t.energy_available_wh_n, t.energy_available_wh_min, t.energy_available_wh_max, t.energy_available_wh_last,
  t.irradiance_w_per_m2_sum, t.irradiance_w_per_m2_n, t.irradiance_w_per_m2_min, t.irradiance_w_per_m2_max, t.irradiance_w_per_m2_last,
  t.energy_import_wh_first, t.energy_import_wh_last,
  t.energy_export_wh_first, t.energy_export_wh_last,
  t.charge_cycles_first, t.charge_cycles_last,
  t.operating_state_last,
  t.fault_code_last,
  t.control_mode_last,
  -- end
  t.n
from device d join telemetry_1h t on t.device_key = d.device_key
where d.tenant_id = current_tenant();

create or replace view v_telemetry_1d with (security_barrier = true) as
select d.tenant_id, d.device_id, d.site_id, d.box_id, t.bucket,
  -- columns: view_rollup_columns
  t.active_power_w_sum, t.active_power_w_n, t.active_power_w_min, t.active_power_w_max, t.active_power_w_last,
  t.reactive_power_var_sum, t.reactive_power_var_n, t.reactive_power_var_min, t.reactive_power_var_max, t.reactive_power_var_last,
  t.apparent_power_va_sum, t.apparent_power_va_n, t.apparent_power_va_min, t.apparent_power_va_max, t.apparent_power_va_last,
  t.power_factor_sum, t.power_factor_n, t.power_factor_min, t.power_factor_max, t.power_factor_last,
  t.voltage_v_sum, t.voltage_v_n, t.voltage_v_min, t.voltage_v_max, t.voltage_v_last,
  t.current_a_sum, t.current_a_n, t.current_a_min, t.current_a_max, t.current_a_last,
  t.frequency_hz_sum, t.frequency_hz_n, t.frequency_hz_min, t.frequency_hz_max, t.frequency_hz_last,
  t.soc_pct_sum, t.soc_pct_n, t.soc_pct_min, t.soc_pct_max, t.soc_pct_last,
  t.soh_pct_sum, t.soh_pct_n, t.soh_pct_min, t.soh_pct_max, t.soh_pct_last,
  t.temp_c_sum, t.temp_c_n, t.temp_c_min, t.temp_c_max, t.temp_c_last,
  t.dc_power_w_sum, t.dc_power_w_n, t.dc_power_w_min, t.dc_power_w_max, t.dc_power_w_last,
  t.dc_voltage_v_sum, t.dc_voltage_v_n, t.dc_voltage_v_min, t.dc_voltage_v_max, t.dc_voltage_v_last,
  t.dc_current_a_sum, t.dc_current_a_n, t.dc_current_a_min, t.dc_current_a_max, t.dc_current_a_last,
  t.power_setpoint_w_sum, t.power_setpoint_w_n, t.power_setpoint_w_min, t.power_setpoint_w_max, t.power_setpoint_w_last,
  t.max_charge_w_sum, t.max_charge_w_n, t.max_charge_w_min, t.max_charge_w_max, t.max_charge_w_last,
  t.max_discharge_w_sum, t.max_discharge_w_n, t.max_discharge_w_min, t.max_discharge_w_max, t.max_discharge_w_last,
  t.energy_available_wh_sum, t.energy_available_wh_n, t.energy_available_wh_min, t.energy_available_wh_max, t.energy_available_wh_last,
  t.irradiance_w_per_m2_sum, t.irradiance_w_per_m2_n, t.irradiance_w_per_m2_min, t.irradiance_w_per_m2_max, t.irradiance_w_per_m2_last,
  t.energy_import_wh_first, t.energy_import_wh_last,
  t.energy_export_wh_first, t.energy_export_wh_last,
  t.charge_cycles_first, t.charge_cycles_last,
  t.operating_state_last,
  t.fault_code_last,
  t.control_mode_last,
  -- end
  t.n
from device d join telemetry_1d t on t.device_key = d.device_key
where d.tenant_id = current_tenant();

create or replace view v_telemetry_other with (security_barrier = true) as
select d.tenant_id, d.device_id, d.site_id, d.box_id, t.ts, s.metric, t.value, t.quality
from device d
join telemetry_series s on s.device_key = d.device_key
join telemetry_other t on t.series_id = s.series_id
where d.tenant_id = current_tenant();

create or replace view v_counter_reset with (security_barrier = true) as
select d.tenant_id, d.device_id, d.site_id, d.box_id, r.metric, r.ts, r.before_value, r.after_value
from device d join counter_reset r on r.device_key = d.device_key
where d.tenant_id = current_tenant();

-- For people and dashboards of whoever runs the platform: all tenants, so the api has no grant on them.
create or replace view monitoring.power_measurements as
select t.ts, d.tenant_id, d.site_id, d.box_id, d.device_id, d.type as device_type,
  t.active_power_w, t.reactive_power_var, t.apparent_power_va, t.power_factor, t.voltage_v, t.current_a,
  t.frequency_hz, t.energy_import_wh, t.energy_export_wh, t.quality
from public.device d join public.telemetry t on t.device_key = d.device_key;

-- energy_kwh is net, from mean power (sign as active_power_w); import and export are what the counters rose by since
-- the hour before, resets included.
create or replace view fleet.hourly_per_device as
select d.tenant_id, d.site_id, d.box_id, d.device_id, d.name as device_name, d.type as device_type,
  h.bucket as hour, h.n as samples,
  h.active_power_w_sum / nullif(h.active_power_w_n, 0) as avg_power_w,
  h.active_power_w_min as min_power_w,
  h.active_power_w_max as max_power_w,
  h.active_power_w_sum / nullif(h.active_power_w_n, 0) / 1000 as energy_kwh,
  (h.energy_import_wh_last - coalesce(p.energy_import_wh_last, h.energy_import_wh_first)
    + coalesce(r.energy_import_wh, 0)) / 1000 as energy_import_kwh,
  (h.energy_export_wh_last - coalesce(p.energy_export_wh_last, h.energy_export_wh_first)
    + coalesce(r.energy_export_wh, 0)) / 1000 as energy_export_kwh
from public.device d
join public.telemetry_1h h on h.device_key = d.device_key
left join lateral (
  select b.energy_import_wh_last, b.energy_export_wh_last from public.telemetry_1h b
  where b.device_key = h.device_key and b.bucket < h.bucket order by b.bucket desc limit 1
) p on true
left join lateral (
  select sum(c.before_value) filter (where c.metric = 'energy_import_wh') as energy_import_wh,
    sum(c.before_value) filter (where c.metric = 'energy_export_wh') as energy_export_wh
  from public.counter_reset c
  where c.device_key = h.device_key and c.ts >= h.bucket and c.ts < h.bucket + interval '1 hour'
) r on true;

do $$
declare
  v_view regclass;
begin
  foreach v_view in array array[
    'v_telemetry', 'v_telemetry_1m', 'v_telemetry_15m', 'v_telemetry_1h', 'v_telemetry_1d', 'v_telemetry_other',
    'v_counter_reset', 'monitoring.power_measurements', 'fleet.hourly_per_device']::regclass[]
  loop
    execute format('alter view %s owner to telemetry_reader', v_view);
  end loop;
end $$;
grant select on v_telemetry, v_telemetry_1m, v_telemetry_15m, v_telemetry_1h, v_telemetry_1d, v_telemetry_other,
  v_counter_reset to api;
