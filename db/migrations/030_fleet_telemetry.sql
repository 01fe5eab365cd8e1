-- Owner: ingest. For whoever runs the platform, all tenants: core fields of a sample (U-D15), and what is missing.

-- 1 and 2: SunSpec's off and sleeping. `details` holds the canonical quantities that have no column of their own here.
create or replace view fleet.core_telemetry as
select t.ts as timestamp, d.tenant_id, d.device_id as asset_id, d.site_id, d.type as asset_type,
  t.quality < 2 and coalesce(t.operating_state, 4) not in (1, 2) as online,
  case when t.quality >= 2 then 'bad' when t.operating_state = 7 or t.fault_code > 0 then 'fault'
       when t.operating_state = 1 then 'off' when t.operating_state = 2 then 'sleeping'
       when t.operating_state = 8 then 'standby' else 'running' end as status,
  t.active_power_w / 1e6 as mw,
  t.power_setpoint_w / 1e6 as mw_setpoint,
  (array['good', 'uncertain', 'bad'])[t.quality + 1] as quality,
  jsonb_strip_nulls(to_jsonb(t) - array['device_key', 'ts', 'quality', 'active_power_w', 'power_setpoint_w',
                                        'operating_state', 'fault_code']) as details
from public.device d join public.telemetry t on t.device_key = d.device_key;
alter view fleet.core_telemetry owner to telemetry_reader;

-- How complete each quarter of an hour of [p_from, p_to) is, of every device that was heard of in it or the day before.
-- `expected` follows from p_every, the time between two samples; without it, from the device's own usual number in a
-- quarter hour (the median). A quarter hour without any sample has a row, too; the one in which a device began has none,
-- nor has what is younger than half an hour: its rollups may be behind. Samples of quality BAD do not count.
create or replace function fleet.completeness(p_from timestamptz, p_to timestamptz, p_every interval default null)
returns table (tenant_id text, device_id text, bucket timestamptz, samples bigint, expected bigint,
               share double precision)
language sql stable
as $$
  with seen as (
    select device_key, bucket, n from public.telemetry_15m
    where bucket >= p_from - interval '1 day' and bucket < p_to
  ), usual as (
    select device_key, min(bucket) as began, percentile_disc(0.5) within group (order by n) as n
    from seen group by device_key
  )
  select d.tenant_id, d.device_id, q.bucket, coalesce(s.n, 0), e.n, least(coalesce(s.n, 0)::double precision / e.n, 1)
  from usual u
  join public.device d on d.device_key = u.device_key
  cross join lateral (
    select greatest(coalesce((extract(epoch from interval '15 minutes') / extract(epoch from p_every))::bigint, u.n), 1)
  ) e (n)
  cross join generate_series(
    date_bin('15 minutes', p_from, timestamptz '2000-01-01 00:00+00'),
    least(p_to, now() - interval '15 minutes') - interval '15 minutes', interval '15 minutes') q (bucket)
  left join seen s on s.device_key = u.device_key and s.bucket = q.bucket
  where q.bucket >= p_from and q.bucket > u.began
$$;
revoke execute on function fleet.completeness(timestamptz, timestamptz, interval) from public;
