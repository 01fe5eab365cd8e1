-- requires: timescaledb-tsl
-- Owner: ingest. Late refreshes that may be run by ingest and never reach below the raw data; policies as they must be.

-- Only its owner may refresh an aggregate, and no function can do it for another: it needs a transaction of its own.
alter materialized view telemetry_1m owner to ingest;
alter materialized view telemetry_15m owner to ingest;
alter materialized view telemetry_1h owner to ingest;
alter materialized view telemetry_1d owner to ingest;

-- From when on raw data may be complete. A late row below it would make a new chunk there, and a refresh would then
-- replace the rollups of everybody with those of this one row.
create table if not exists telemetry_floor (
  only_row boolean primary key default true check (only_row),
  floor timestamptz not null
);
insert into telemetry_floor (floor) values ('-infinity') on conflict do nothing;
grant select on telemetry_floor to ingest;

-- What was dropped, by hand or by TELEMETRY_RETENTION_DAYS, is remembered; what the policy drops follows from its age.
create or replace function rollup_floor() returns timestamptz
language sql stable security definer set search_path = public, pg_temp
as $$
  select greatest(
    (select floor from telemetry_floor),
    (select now() - min((config ->> 'drop_after')::interval) from timescaledb_information.jobs
     where proc_name = 'policy_retention' and hypertable_schema = 'public' and hypertable_name = 'telemetry'),
    (select min(range_start) from timescaledb_information.chunks
     where hypertable_schema = 'public' and hypertable_name = 'telemetry'))
$$;

-- Drops whole days before p_before and remembers it. Answers how many days went.
create or replace function drop_telemetry_partitions(p_before date) returns int
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v_before timestamptz := p_before::timestamp at time zone 'UTC';
  v_days int;
begin
  update telemetry_floor set floor = greatest(floor, v_before) where floor < v_before;
  select count(*) into v_days from drop_chunks('telemetry', older_than => v_before);
  perform drop_chunks('telemetry_other', older_than => v_before);
  perform drop_chunks('system_metrics', older_than => v_before);
  return v_days;
end $$;

-- What to refresh for late data, in this order, each outside a transaction:
-- `call refresh_continuous_aggregate(rollup, starts_at, ends_at)`; then delete the rows late_ids of rollup_late.
-- Hours below the floor have no window (rollup is null): refreshing them would delete history.
create or replace function late_rollup_windows(p_limit int default 24)
returns table (rollup text, starts_at timestamptz, ends_at timestamptz, late_ids bigint[])
language sql stable security definer set search_path = public, pg_temp
as $$
  with late as (
    select hour, date_bin('1 day', hour, timestamptz '2000-01-01 00:00+00') as day, array_agg(id) as ids,
      hour >= rollup_floor() as is_whole
    from rollup_late group by hour order by hour limit p_limit
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

-- Each policy exactly once and with our values, whatever a restore or another release has left; the runner calls it at
-- the end of every run. Answers how many it made.
create or replace function ensure_telemetry_policies() returns int
language plpgsql volatile set search_path = public, pg_temp
as $$
declare
  v record;
  v_made int := 0;
begin
  for v in
    select w.name, w.settings, k.* from (values
      ('telemetry', 'policy_compression', '{"compress_after": "7 days"}'::jsonb),
      ('telemetry_other', 'policy_compression', '{"compress_after": "7 days"}'),
      ('system_metrics', 'policy_compression', '{"compress_after": "7 days"}'),
      ('telemetry', 'policy_retention', '{"drop_after": "90 days"}'),
      ('telemetry_other', 'policy_retention', '{"drop_after": "90 days"}'),
      ('system_metrics', 'policy_retention', '{"drop_after": "90 days"}'),
      ('telemetry_1m', 'policy_retention', '{"drop_after": "90 days"}'),
      ('telemetry_15m', 'policy_retention', '{"drop_after": "400 days"}'),
      ('telemetry_1h', 'policy_retention', '{"drop_after": "1100 days"}'),
      ('telemetry_1m', 'policy_refresh_continuous_aggregate',
       '{"start_offset": "2 hours", "end_offset": "1 minute", "every": "1 minute"}'),
      ('telemetry_15m', 'policy_refresh_continuous_aggregate',
       '{"start_offset": "1 day", "end_offset": "15 minutes", "every": "5 minutes"}'),
      ('telemetry_1h', 'policy_refresh_continuous_aggregate',
       '{"start_offset": "3 days", "end_offset": "1 hour", "every": "15 minutes"}'),
      ('telemetry_1d', 'policy_refresh_continuous_aggregate',
       '{"start_offset": "7 days", "end_offset": "1 day", "every": "1 hour"}')
    ) w (name, proc, settings)
    join (values
      ('policy_compression', 'call remove_columnstore_policy(%1$L, if_exists => true)',
       'call add_columnstore_policy(%1$L, after => %2$L::interval)'),
      ('policy_retention', 'select remove_retention_policy(%1$L, if_exists => true)',
       'select add_retention_policy(%1$L, drop_after => %3$L::interval)'),
      ('policy_refresh_continuous_aggregate', 'select remove_continuous_aggregate_policy(%1$L, if_exists => true)',
       'select add_continuous_aggregate_policy(%1$L, start_offset => %4$L::interval, end_offset => %5$L::interval,'
       ' schedule_interval => %6$L::interval)')
    ) k (proc, remove, add) on k.proc = w.proc
    where 1 <> (
      select count(*) + count(*) filter (where exists (
        select from jsonb_each_text(w.settings) s
        where s.value::interval is distinct from case s.key when 'every' then j.schedule_interval
                                                  else (j.config ->> s.key)::interval end))
      from timescaledb_information.jobs j
      where j.proc_name = w.proc and j.hypertable_schema = 'public' and j.hypertable_name = w.name)
  loop
    execute format(v.remove, v.name);
    execute format(v.add, v.name, v.settings ->> 'compress_after', v.settings ->> 'drop_after',
                   v.settings ->> 'start_offset', v.settings ->> 'end_offset', v.settings ->> 'every');
    v_made := v_made + 1;
  end loop;
  return v_made;
end $$;
revoke execute on function rollup_floor(), ensure_telemetry_policies(), drop_telemetry_partitions(date) from public;
grant execute on function drop_telemetry_partitions(date) to ingest;
