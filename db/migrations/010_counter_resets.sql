-- Owner: ingest. Where counters started again, found in raw data and kept for ever; energy from counters.

-- Looks again at [p_from, p_to) of these devices, with the last sample before and the first one after, so that late data
-- correct what was found earlier. A reset after which the counter stands higher than before cannot be seen by anybody.
create or replace procedure record_counter_resets(p_keys int[], p_from timestamptz, p_to timestamptz)
language sql set search_path = public, pg_temp
as $$
  with inside as (
    select t.device_key, c.metric, t.ts, c.value
    from telemetry t cross join lateral (values
  -- columns: counter_values
      ('energy_import_wh', t.energy_import_wh),
      ('energy_export_wh', t.energy_export_wh),
      ('charge_cycles', t.charge_cycles)
  -- end
    ) c (metric, value)
    where t.device_key = any (p_keys) and t.ts >= p_from and t.ts < p_to and t.quality < 2 and c.value is not null
  ), edges as (
    select s.device_key, s.metric, e.ts, e.value
    from (select distinct device_key, metric from inside) s
    cross join lateral (
      (select t.ts, c.value
       from telemetry t cross join lateral (values
  -- columns: counter_values
      ('energy_import_wh', t.energy_import_wh),
      ('energy_export_wh', t.energy_export_wh),
      ('charge_cycles', t.charge_cycles)
  -- end
       ) c (metric, value)
       where t.device_key = s.device_key and c.metric = s.metric and c.value is not null and t.quality < 2
         and t.ts < p_from and t.ts >= p_from - interval '7 days'
       order by t.ts desc limit 1)
      union all
      (select t.ts, c.value
       from telemetry t cross join lateral (values
  -- columns: counter_values
      ('energy_import_wh', t.energy_import_wh),
      ('energy_export_wh', t.energy_export_wh),
      ('charge_cycles', t.charge_cycles)
  -- end
       ) c (metric, value)
       where t.device_key = s.device_key and c.metric = s.metric and c.value is not null and t.quality < 2
         and t.ts >= p_to and t.ts < p_to + interval '7 days'
       order by t.ts limit 1)
    ) e
  ), steps as (
    select device_key, metric, ts, value,
      lag(value) over (partition by device_key, metric order by ts) as before_value
    from (select * from inside union all select * from edges) samples
  ), undone as (
    delete from counter_reset r using steps s
    where r.device_key = s.device_key and r.metric = s.metric and r.ts = s.ts and s.value >= s.before_value
  )
  insert into counter_reset (device_key, metric, ts, before_value, after_value)
  select device_key, metric, ts, before_value, value from steps where value < before_value
  on conflict (device_key, metric, ts) do update
    set before_value = excluded.before_value, after_value = excluded.after_value
$$;

-- By how much a counter rose over [p_from, p_to), resets included; null without a sample in it. Needs raw data of that
-- time. Without a sample in the 7 days before p_from it counts from the first one inside.
create or replace function energy_wh(p_device_key int, p_metric text, p_from timestamptz, p_to timestamptz)
returns double precision
language sql stable set search_path = public, pg_temp
as $$
  with samples as (
    select t.ts, c.value
    from telemetry t cross join lateral (values
  -- columns: counter_values
      ('energy_import_wh', t.energy_import_wh),
      ('energy_export_wh', t.energy_export_wh),
      ('charge_cycles', t.charge_cycles)
  -- end
    ) c (metric, value)
    where t.device_key = p_device_key and c.metric = p_metric and c.value is not null and t.quality < 2
      and t.ts >= p_from - interval '7 days' and t.ts < p_to
  ), start as (
    select coalesce(
      (select value from samples where ts < p_from order by ts desc limit 1),
      (select value from samples where ts >= p_from order by ts limit 1)) as value,
    coalesce((select max(ts) from samples where ts < p_from), (select min(ts) from samples)) as ts
  )
  select (select value from samples where ts >= p_from order by ts desc limit 1) - start.value
    + coalesce((select sum(r.before_value) from counter_reset r
                where r.device_key = p_device_key and r.metric = p_metric and r.ts > start.ts and r.ts < p_to), 0)
  from start
$$;

revoke execute on procedure record_counter_resets(int[], timestamptz, timestamptz) from public;
revoke execute on function energy_wh(int, text, timestamptz, timestamptz) from public;
