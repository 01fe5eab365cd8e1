-- Owner: ingest. What agents say happened: their `event` messages, kept as long as raw telemetry (U-D18).

create table if not exists events (
  id bigint generated always as identity primary key,
  ts timestamptz not null,
  tenant_id text not null,
  device_id text not null,  -- the agent that says it
  asset_id text not null,  -- of what: the agent itself where it named nothing else
  event_type text not null,
  severity text not null check (severity in ('info', 'warning', 'alarm', 'critical')),
  code text not null default '',
  message text not null default '',
  details jsonb not null default '{}',
  received_at timestamptz not null,
  -- An agent that repeats itself, and Kafka, may say it twice.
  unique (tenant_id, device_id, ts, asset_id, event_type, code, message)
);
create index if not exists events_by_time on events (tenant_id, ts);
create index if not exists events_by_asset on events (tenant_id, asset_id, ts);
call guard_table('events', 'ingest', '{telemetry_reader}');

do $$
begin
  drop trigger if exists skip_erased on events;
  create trigger skip_erased before insert on events for each row execute function skip_erased('device_id');
  drop trigger if exists skip_erased_asset on events;
  create trigger skip_erased_asset before insert on events for each row execute function skip_erased('asset_id');
end $$;

-- For whoever runs the platform, all tenants; tenants read `events` itself.
create or replace view fleet.events as
select e.ts, e.tenant_id, e.asset_id, d.site_id, e.event_type, e.severity, e.code, e.message, e.details
from public.events e
left join public.device d on d.tenant_id = e.tenant_id and d.device_id = e.asset_id;
alter view fleet.events owner to telemetry_reader;

-- Erasure knows the table: as in 017, with one line more each.
create or replace function erasure_known() returns text[]
language sql immutable
as $$ select array[
  'telemetry', 'telemetry_other', 'telemetry_series', 'counter_reset', 'rollup_dirty',
  'telemetry_1m', 'telemetry_15m', 'telemetry_1h', 'telemetry_1d',
  'daily_money', 'controller_decisions', 'command_replies', 'alerts_24h', 'command', 'dispatch', 'plans',
  'publish_log', 'agent_session', 'ingest_committed', 'declared_loss', 'rejection', 'events', 'alerts', 'alert_rules',
  'deliveries', 'asset', 'device', 'box', 'site', 'enrol_token', 'activation_code', 'device_token', 'certificate',
  'session_cut', 'waitlist', 'notice', 'report_runs', 'user', 'data_request', 'erased_box', 'erased_device',
  'personal_key', 'admin_audit_log'] $$;

create or replace function erasure_preview(p_request uuid)
returns table (box text, table_name text, row_count bigint)
language plpgsql stable security definer set search_path = public, pg_temp
as $$
declare
  v data_request := (select r from data_request r where request_id = p_request);
  v_devices text[];
  v_where text;
begin
  foreach box in array v.boxes loop
    v_devices := box || array(select device_id from device where tenant_id = v.tenant_id and box_id = box);
    for table_name, v_where in select * from (values
      ('metrics', 'box_id = $2'), ('daily_money', 'tenant_id = $1 and box_id = $2'),
      ('controller_decisions', 'tenant_id = $1 and box_id = $2'), ('command_replies', 'tenant_id = $1 and box_id = $2'),
      ('alerts_24h', 'tenant_id = $1 and box_id = $2'), ('command', 'tenant_id = $1 and box_id = $2'),
      ('dispatch', 'tenant_id = $1 and box_id = $2'), ('plans', 'tenant_id = $1 and box_id = $2'),
      ('publish_log', 'tenant_id = $1 and box_id = $2'), ('agent_session', 'tenant_id = $1 and device_id = any ($3)'),
      ('declared_loss', 'tenant_id = $1 and device_id = any ($3)'),
      ('rejection', 'tenant_id = $1 and (device_id = any ($3) or asset_id = any ($3))'),
      ('events', 'tenant_id = $1 and (device_id = any ($3) or asset_id = any ($3))'),
      ('alerts', 'tenant_id = $1 and (box_id = $2 or device_id = any ($3))')) s (name, condition)
    loop
      execute format('select count(*) from %I where %s', table_name, v_where)
        into row_count using v.tenant_id, box, v_devices;
      return next;
    end loop;
  end loop;
end $$;

create or replace function erase_data(p_request uuid) returns table (step int, table_name text, erased bigint)
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v data_request := (select r from data_request r where request_id = p_request and state = 'entombed' for update);
  v_unaccounted text := (select string_agg(t, ', ') from erasure_unaccounted() t);
  v_keys int[];
  v_devices text[];
  v_emails text[];
  v_alerts uuid[];
  v_statement text;
begin
  if v.request_id is null then
    raise exception 'data request % is not entombed', p_request using errcode = 'object_not_in_prerequisite_state';
  end if;
  if v_unaccounted is not null then
    raise exception 'tables that erasure does not know: %', v_unaccounted
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  select coalesce(array_agg(device_key), '{}'), coalesce(array_agg(device_id), '{}') || v.boxes
    into v_keys, v_devices from device where tenant_id = v.tenant_id and box_id = any (v.boxes) and state = 'erased';
  select coalesce(array_agg(distinct lower(email)), '{}') into v_emails from (
    select email from "user" u where u.tenant_id = v.tenant_id and u.user_id = v.user_id
    union all
    select email from enrol_token e where e.tenant_id = v.tenant_id and e.box_id = any (v.boxes)) known;
  select coalesce(array_agg(alert_id), '{}') into v_alerts from alerts a
    where a.tenant_id = v.tenant_id and (a.box_id = any (v.boxes) or a.device_id = any (v_devices));

  step := 1;
  table_name := 'telemetry';
  erased := erase_telemetry(v_keys);
  return next;
  -- $1 tenant, $2 boxes, $3 devices, $4 device keys, $5 user, $6 e-mail addresses, $7 alerts, $8 names to look for
  for table_name, v_statement in select * from (values
    ('daily_money', 'delete from daily_money where tenant_id = $1 and box_id = any ($2)'),
    ('controller_decisions', 'delete from controller_decisions where tenant_id = $1 and box_id = any ($2)'),
    ('command_replies', 'delete from command_replies where tenant_id = $1 and box_id = any ($2)'),
    ('alerts_24h', 'delete from alerts_24h where tenant_id = $1 and (box_id = any ($2) or alert_id = any ($7))'),
    ('command', 'delete from command where tenant_id = $1 and box_id = any ($2)'),
    ('dispatch', 'delete from dispatch where tenant_id = $1 and box_id = any ($2)'),
    ('plans', 'delete from plans where tenant_id = $1 and box_id = any ($2)'),
    ('publish_log', 'delete from publish_log where tenant_id = $1 and box_id = any ($2)'),
    ('agent_session', 'delete from agent_session where tenant_id = $1 and device_id = any ($3)'),
    ('ingest_committed', 'delete from ingest_committed where tenant_id = $1 and device_id = any ($3)'),
    ('declared_loss', 'delete from declared_loss where tenant_id = $1 and device_id = any ($3)'),
    ('rejection', 'delete from rejection where tenant_id = $1 and (device_id = any ($3) or asset_id = any ($3))'),
    ('events', 'delete from events where tenant_id = $1 and (device_id = any ($3) or asset_id = any ($3))'),
    ('telemetry_series', 'delete from telemetry_series where device_key = any ($4)'),
    ('counter_reset', 'delete from counter_reset where device_key = any ($4)'),
    ('rollup_dirty', 'delete from rollup_dirty where device_key = any ($4)'),
    ('alert_rules', 'delete from alert_rules where tenant_id = $1 and device_id = any ($3)'),
    -- Kept for ever (P-056, P-058), but about nobody.
    ('deliveries', 'update deliveries set payload = '''', last_error = null, lease_token = null, status = case when status
       in (''pending'', ''leased'') then ''superseded'' else status end where alert_id = any ($7)'),
    ('alerts', 'update alerts set fingerprint = ''erased:'' || alert_id, device_id = null, site_id = null, box_id = null,
       summary = ''erased'', details = ''{}'', status = ''CLOSED'', closed_at = coalesce(closed_at, clock_timestamp()),
       next_escalation_at = null where alert_id = any ($7)'),
    ('report_runs', 'delete from report_runs where tenant_id = $1 and (requested_by = $5::text
       or exists (select from unnest($8) n where position(n in parameters::text) > 0))'),
    ('asset', 'delete from asset where device_key = any ($4)'),
    ('device', 'update device set name = '''', host = null, host_mac = null, assets = ''{}'' where device_key = any ($4)'),
    ('activation_code', 'delete from activation_code where tenant_id = $1 and device_id = any ($3)'),
    ('enrol_token', 'delete from enrol_token where tenant_id = $1 and box_id = any ($2)'),
    ('waitlist', 'delete from waitlist where tenant_id = $1 and lower(email) = any ($6)'),
    ('notice', 'delete from notice where tenant_id = $1 and lower(recipient) = any ($6)'),
    ('personal_key', 'delete from personal_key where person = $5::text
       or person in (select person_of_email($1, e) from unnest($6) e)')) s (name, statement)
  loop
    step := step + 1;
    execute v_statement using v.tenant_id, v.boxes, v_devices, v_keys, v.user_id, v_emails, v_alerts,
      array(select to_json(n)::text from unnest(v_devices) n);
    get diagnostics erased = row_count;
    return next;
  end loop;
  -- What the person did for others stays done, by nobody.
  update dispatch set requested_by = 'erased' where tenant_id = v.tenant_id and requested_by = v.user_id::text;
  update alerts set acknowledged_by = 'erased' where tenant_id = v.tenant_id and acknowledged_by = v.user_id::text;
  update waitlist set decided_by = 'erased' where tenant_id = v.tenant_id and decided_by = v.user_id::text;
  update enrol_token set created_by = 'erased' where tenant_id = v.tenant_id and created_by = v.user_id::text;
  update data_request set state = 'deleted', reason = null, levels_left = '{1m,15m,1h,1d}', error = null
    where request_id = p_request;
end $$;
