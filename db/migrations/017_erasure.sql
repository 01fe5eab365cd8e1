-- Owner: provisioning. Personal values stand in the audit log under a key of their person; a person's data can be erased
-- without a trace but the audit log's opaque ids. What is erased stays erased: tombstones outlive every readable row.

-- One key for each person (a user id, or the hash of an e-mail address). Only erasure deletes from here: then what the
-- audit log says about the person cannot be read any more, and its chain holds all the same.
create table if not exists personal_key (
  person text primary key,
  key bytea not null check (length(key) = 32),
  created_at timestamptz not null default clock_timestamp()
);
alter table personal_key enable row level security;
alter table personal_key force row level security;
drop policy if exists auditor_all on personal_key;
create policy auditor_all on personal_key for all to auditor using (true) with check (true);
grant select, insert on personal_key to auditor;

-- The person's key: p_new if there is none yet.
create or replace function personal_key_of(p_person text, p_new bytea) returns bytea
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
  insert into public.personal_key (person, key) values (p_person, p_new) on conflict do nothing;
  select key from public.personal_key where person = p_person
$$;
create or replace function personal_keys(p_persons text[]) returns table (person text, key bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select k.person, k.key from public.personal_key k where k.person = any (p_persons) $$;
create or replace function person_of_email(p_tenant text, p_email text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select 'email:' || encode(sha256(convert_to(p_tenant || '/' || lower(p_email), 'UTF8')), 'hex') $$;
alter function personal_key_of(text, bytea) owner to auditor;
alter function personal_keys(text[]) owner to auditor;
revoke execute on function personal_key_of(text, bytea), personal_keys(text[]) from public;
grant execute on function personal_key_of(text, bytea), personal_keys(text[])
  to ingest, controller, escalation, provisioning, api;

-- Tombstones, for ever. The identity stands here as SHA-256, so that the readable rows can go.
create table if not exists erased_identity (
  identity_sha256 bytea primary key check (length(identity_sha256) = 32),
  erased_at timestamptz not null default clock_timestamp(),
  published_at timestamptz
);
create table if not exists erased_device (
  device_key int primary key,
  erased_at timestamptz not null default clock_timestamp()
);
grant select, update (published_at) on erased_identity to provisioning;
grant select on erased_device to ingest, provisioning;

create or replace function is_erased(p_tenant text, p_device text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select exists (select from public.erased_identity
                 where identity_sha256 = sha256(convert_to(p_tenant || '/' || p_device, 'UTF8')))
$$;

-- Which of these devices may not be written to any more, until this transaction ends: a tombstone waits for it.
create or replace function erased_devices(p_keys int[]) returns setof int
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(hashtext('overwatt.erasure'));
  return query select d.device_key from public.erased_device d where d.device_key = any (p_keys);
end $$;
revoke execute on function erased_devices(int[]) from public;
grant execute on function erased_devices(int[]) to ingest;

-- What is still under way in Kafka about an erased device is not stored; argument: the column with the device's id.
create or replace function skip_erased() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if public.is_erased(new.tenant_id, to_jsonb(new) ->> tg_argv[0]) then
    return null;
  end if;
  return new;
end $$;
-- An identity that was erased does not come back to life, whoever asks for it.
create or replace function stay_erased() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if public.is_erased(new.tenant_id, to_jsonb(new) ->> tg_argv[0]) then
    new.state := 'erased';
  end if;
  return new;
end $$;
do $$
declare
  v record;
begin
  for v in select * from (values
    ('rejection', 'device_id'), ('declared_loss', 'device_id'), ('agent_session', 'device_id'),
    ('alerts', 'device_id'), ('alerts_24h', 'box_id'), ('command_replies', 'box_id'),
    ('controller_decisions', 'box_id'), ('plans', 'box_id'), ('daily_money', 'box_id')) t (name, id)
  loop
    execute format('drop trigger if exists skip_erased on %I', v.name);
    execute format('create trigger skip_erased before insert on %I for each row execute function skip_erased(%L)',
                   v.name, v.id);
  end loop;
  for v in select * from (values ('box', 'box_id'), ('device', 'device_id')) t (name, id) loop
    execute format('drop trigger if exists stay_erased on %I', v.name);
    execute format('create trigger stay_erased before insert or update of state on %I'
                   ' for each row execute function stay_erased(%L)', v.name, v.id);
  end loop;
end $$;

-- wipe: erased, and the agent has not yet said that its spool is empty.
alter table device add column if not exists wipe boolean not null default false;

-- entombed: tombstones stand. deleted: H-022's transaction is committed. executed: the rollups are gone too.
create table if not exists data_request (
  request_id uuid primary key default gen_random_uuid(),
  tenant_id text not null references tenant,
  user_id uuid not null,
  boxes text[] not null,
  reason text,
  state text not null default 'open' check (state in ('open', 'entombed', 'deleted', 'executed')),
  requested_at timestamptz not null,
  target_at timestamptz not null,
  due_at timestamptz not null,
  executed_by text,
  executed_from text,  -- the address, under its person's key
  entombed_at timestamptz,
  executed_at timestamptz,
  levels_left text[] not null default '{}',
  counts json not null default '{}',  -- json and not jsonb: it keeps the order of deletion
  error text
);
create unique index if not exists data_request_running on data_request (tenant_id, user_id)
  where state <> 'executed';
call guard_table('data_request', 'provisioning');

-- The boxes of an executed request whose spool is to be wiped and which are to be revoked then.
create table if not exists erased_box (
  tenant_id text not null,
  box_id text not null,
  request_id uuid not null references data_request on delete cascade,
  wiped_at timestamptz,
  revoked_at timestamptz,
  primary key (tenant_id, box_id)
);
call guard_table('erased_box', 'provisioning');
call guard_table('"user"', 'api', '{provisioning}');

-- Tables that erasure knows: each is emptied, made anonymous, or holds no data of a person.
create or replace function erasure_known() returns text[]
language sql immutable
as $$ select array[
  'telemetry', 'telemetry_other', 'telemetry_series', 'counter_reset', 'rollup_dirty',
  'telemetry_1m', 'telemetry_15m', 'telemetry_1h', 'telemetry_1d',
  'daily_money', 'controller_decisions', 'command_replies', 'alerts_24h', 'command', 'dispatch', 'plans',
  'publish_log', 'agent_session', 'ingest_committed', 'declared_loss', 'rejection', 'alerts', 'alert_rules',
  'deliveries', 'asset', 'device', 'box', 'site', 'enrol_token', 'activation_code', 'device_token', 'certificate',
  'session_cut', 'waitlist', 'notice', 'report_runs', 'user', 'data_request', 'erased_box', 'erased_device',
  'personal_key', 'admin_audit_log'] $$;

-- Tables with rows and a column that can name a person's things, which erasure does not know (H-026).
create or replace function erasure_unaccounted() returns setof text
language plpgsql stable security definer set search_path = public, pg_temp
as $$
declare
  v_table regclass;
  v_has_rows boolean;
begin
  for v_table in
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm', 'f') and not c.relispartition and c.relpersistence <> 't'
      and n.nspname !~ '^(pg_|information_schema|_?timescaledb)'
      and not (n.nspname = 'public' and c.relname = any (public.erasure_known()))
      and exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                  and a.attname = any (array['box_id', 'device_id', 'device_key', 'series_id', 'asset_id', 'site_id',
                                             'user_id', 'person', 'email', 'recipient', 'host_mac']))
    order by c.oid::regclass::text
  loop
    execute format('select exists (select from %s)', v_table) into v_has_rows;
    if v_has_rows then
      return next v_table::text;
    end if;
  end loop;
end $$;
revoke execute on function erasure_unaccounted() from public;
grant execute on function erasure_unaccounted() to provisioning;

-- What erase_data() would take, by box (H-021). `metrics` counts values as the view of that name shows them.
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
      ('alerts', 'tenant_id = $1 and (box_id = $2 or device_id = any ($3))')) s (name, condition)
    loop
      execute format('select count(*) from %I where %s', table_name, v_where)
        into row_count using v.tenant_id, box, v_devices;
      return next;
    end loop;
  end loop;
end $$;
revoke execute on function erasure_preview(uuid) from public;
grant execute on function erasure_preview(uuid) to provisioning;

-- First of all, in a transaction of its own: from its end on nobody stores anything about these boxes.
create or replace function entomb(p_request uuid) returns void
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v data_request := (select r from data_request r where request_id = p_request and state = 'open' for update);
begin
  if v.request_id is null then
    raise exception 'data request % is not open', p_request using errcode = 'object_not_in_prerequisite_state';
  end if;
  -- Waits for the command that is on its way.
  perform from box where tenant_id = v.tenant_id and box_id = any (v.boxes) order by box_id for no key update;
  insert into erased_box (tenant_id, box_id, request_id)
    select tenant_id, box_id, p_request from box where tenant_id = v.tenant_id and box_id = any (v.boxes)
    on conflict (tenant_id, box_id) do nothing;
  -- Waits for the writers' transactions under way; those that follow see the tombstone.
  perform pg_advisory_xact_lock(hashtext('overwatt.erasure'));
  insert into erased_device (device_key)
    select device_key from device where tenant_id = v.tenant_id and box_id = any (v.boxes)
    on conflict do nothing;
  insert into erased_identity (identity_sha256)
    select sha256(convert_to(v.tenant_id || '/' || id, 'UTF8')) from (
      select device_id from device where tenant_id = v.tenant_id and box_id = any (v.boxes)
      union select unnest(v.boxes)) ids (id)
    on conflict do nothing;
  update box set state = 'erased', mode = 'observe', opt_ins = '{}', mode_epoch = mode_epoch + 1,
      mode_changed_at = clock_timestamp()
    where tenant_id = v.tenant_id and box_id = any (v.boxes);
  update device set state = 'erased', wipe = type = 'agent',
      changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
    where tenant_id = v.tenant_id and box_id = any (v.boxes);
  update data_request set state = 'entombed', entombed_at = clock_timestamp() where request_id = p_request;
end $$;
revoke execute on function entomb(uuid) from public;
grant execute on function entomb(uuid) to provisioning;

-- Raw telemetry of these devices; 018 has the form for hypertables.
create or replace function erase_telemetry(p_keys int[]) returns bigint
language plpgsql volatile set search_path = public, pg_temp
as $$
declare
  v_rows bigint;
  v_other bigint;
begin
  delete from telemetry where device_key = any (p_keys);
  get diagnostics v_rows = row_count;
  delete from telemetry_other
    where series_id = any (array(select series_id from telemetry_series where device_key = any (p_keys)));
  get diagnostics v_other = row_count;
  return v_rows + v_other;
end $$;
revoke execute on function erase_telemetry(int[]) from public;

-- One level of rollups, after the raw data: a refresh that starts from now on finds nothing to bring back, and one that
-- runs is waited for.
create or replace function erase_rollup(p_level text, p_keys int[]) returns bigint
language plpgsql volatile set search_path = public, pg_temp
as $$
declare
  v_rows bigint;
begin
  perform pg_advisory_xact_lock(hashtext('overwatt.refresh_rollups'));
  execute format('delete from %I where device_key = any ($1)', 'telemetry_' || p_level) using p_keys;
  get diagnostics v_rows = row_count;
  return v_rows;
end $$;
revoke execute on function erase_rollup(text, int[]) from public;

-- Everything but rollups, account and box rows, in the order of H-022. Runs within the caller's transaction.
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
revoke execute on function erase_data(uuid) from public;
grant execute on function erase_data(uuid) to provisioning;

-- The next level of rollups that this request has left; null when there is none. May be called again after any crash.
create or replace function erase_next_rollup(p_request uuid) returns text
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v data_request := (select r from data_request r where request_id = p_request and state = 'deleted' for update);
  v_keys int[] := array(select device_key from device
                        where tenant_id = v.tenant_id and box_id = any (v.boxes) and state = 'erased');
begin
  if cardinality(v.levels_left) = 0 then
    return null;
  end if;
  perform erase_rollup(v.levels_left[1], v_keys);
  -- A refresh that ran meanwhile may have found resets in what it still saw.
  delete from counter_reset where device_key = any (v_keys);
  delete from rollup_dirty where device_key = any (v_keys);
  update data_request set levels_left = levels_left[2:] where request_id = p_request;
  return v.levels_left[1];
end $$;
revoke execute on function erase_next_rollup(uuid) from public;
grant execute on function erase_next_rollup(uuid) to provisioning;

-- After 30 days: account and box rows, and what has come in since. An account that has boxes again stays.
create or replace function purge_person(p_request uuid, p_now timestamptz) returns void
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v data_request := (select r from data_request r where request_id = p_request and state = 'executed'
                     and executed_at <= p_now - interval '30 days' for update);
  v_devices text[];
  v_sites text[];
  v_emails text[];
begin
  if v.request_id is null then
    raise exception 'data request % was not executed 30 days before %', p_request, p_now
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  v_devices := v.boxes || array(select device_id from device
                                where tenant_id = v.tenant_id and box_id = any (v.boxes) and state = 'erased');
  v_sites := array(select site_id from box where tenant_id = v.tenant_id and box_id = any (v.boxes)
                   union select site_id from device where tenant_id = v.tenant_id and device_id = any (v_devices));
  -- The serial must stay in the list of revoked certificates for as long as somebody could show the certificate.
  update certificate set device_id = '', pem = '', revoked_at = coalesce(revoked_at, p_now),
      revoke_reason = coalesce(revoke_reason, 'cessation_of_operation')
    where tenant_id = v.tenant_id and device_id = any (v_devices);
  delete from session_cut where tenant_id = v.tenant_id and device_id = any (v_devices);
  delete from device where tenant_id = v.tenant_id and device_id = any (v_devices) and state = 'erased';
  delete from box where tenant_id = v.tenant_id and box_id = any (v.boxes) and state = 'erased';
  delete from site s where s.tenant_id = v.tenant_id and s.site_id = any (v_sites)
    and not exists (select from box b where (b.tenant_id, b.site_id) = (s.tenant_id, s.site_id))
    and not exists (select from device d where (d.tenant_id, d.site_id) = (s.tenant_id, s.site_id));
  delete from data_request where request_id = p_request;
  if exists (select from box b where b.tenant_id = v.tenant_id and b.user_id = v.user_id)
     or exists (select from data_request r where r.tenant_id = v.tenant_id and r.user_id = v.user_id) then
    return;
  end if;
  with gone as (
    delete from "user" u where u.tenant_id = v.tenant_id and u.user_id = v.user_id returning lower(email) as email
  ) select array_agg(email) into v_emails from gone;
  delete from waitlist where tenant_id = v.tenant_id and lower(email) = any (v_emails);
  delete from enrol_token where tenant_id = v.tenant_id and lower(email) = any (v_emails);
  delete from notice where tenant_id = v.tenant_id and lower(recipient) = any (v_emails);
  delete from report_runs where tenant_id = v.tenant_id and requested_by = v.user_id::text;
  delete from personal_key where person = v.user_id::text
    or person in (select person_of_email(v.tenant_id, e) from unnest(v_emails) e);
end $$;
revoke execute on function purge_person(uuid, timestamptz) from public;
grant execute on function purge_person(uuid, timestamptz) to provisioning;
