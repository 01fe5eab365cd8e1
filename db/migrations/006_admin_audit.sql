-- The sealed audit log. Rows go in unchained, so that services do not wait for each other; a sealer chains what is
-- committed: hash = sha256(previous hash || the row's canonical text). Changing, removing or inserting a sealed row
-- breaks the chain; cutting its end off is seen by whoever kept (count, head) elsewhere.

create table if not exists admin_audit_log (
  seq bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  action text not null,
  target_type text not null default '',
  target_id text not null default '',
  tenant_id text,
  detail jsonb not null default '{}',
  result text not null default 'ok',
  address text,
  request_id text,
  position bigint unique,  -- place in the chain, by commit: a slow transaction's seq may be sealed after a later one
  prev_hash bytea,
  hash bytea,
  check ((position is null) = (hash is null) and (prev_hash is null) = (hash is null))
);
create index if not exists admin_audit_log_unsealed on admin_audit_log (seq) where hash is null;
create index if not exists admin_audit_log_by_time on admin_audit_log (tenant_id, at);

alter table admin_audit_log enable row level security;
alter table admin_audit_log force row level security;
grant select, insert, update (position, prev_hash, hash) on admin_audit_log to auditor;
grant select on admin_audit_log to api;
drop policy if exists auditor_all on admin_audit_log;
create policy auditor_all on admin_audit_log for all to auditor using (true) with check (true);
drop policy if exists tenant on admin_audit_log;
create policy tenant on admin_audit_log for select to api using (tenant_id = current_tenant());

-- Append-only for everybody, the owner and superusers included.
create or replace function admin_audit_refuse() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and current_user = 'auditor' and old.hash is null and new.hash is not null
     and to_jsonb(new) - '{position,prev_hash,hash}'::text[] = to_jsonb(old) - '{position,prev_hash,hash}'::text[] then
    return new;
  end if;
  raise exception 'admin_audit_log is append-only: % refused; write a correcting row instead', tg_op
    using errcode = 'insufficient_privilege';
end $$;
drop trigger if exists admin_audit_rows on admin_audit_log;
create trigger admin_audit_rows before update or delete on admin_audit_log
  for each row execute function admin_audit_refuse();
drop trigger if exists admin_audit_truncate on admin_audit_log;
create trigger admin_audit_truncate before truncate on admin_audit_log
  for each statement execute function admin_audit_refuse();
alter table admin_audit_log enable always trigger admin_audit_rows;
alter table admin_audit_log enable always trigger admin_audit_truncate;

-- The one function that may write. The api writes for the tenant that it has set, and for no other.
create or replace function audit_write(
  p_actor text, p_action text, p_target_type text, p_target_id text, p_detail jsonb, p_result text,
  p_tenant_id text default null, p_address text default null, p_request_id text default null)
returns bigint language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
  v_tenant text := nullif(current_setting('app.tenant', true), '');
  v_seq bigint;
begin
  if v_caller = 'api' and p_tenant_id is distinct from v_tenant and p_tenant_id is not null then
    raise exception 'tenant_id % is not the tenant of this transaction (%)', p_tenant_id, coalesce(v_tenant, 'none')
      using errcode = 'insufficient_privilege';
  end if;
  insert into public.admin_audit_log
    (actor, action, target_type, target_id, detail, result, tenant_id, address, request_id)
  values (p_actor, p_action, coalesce(p_target_type, ''), coalesce(p_target_id, ''), coalesce(p_detail, '{}'),
          coalesce(p_result, 'ok'), coalesce(p_tenant_id, v_tenant), p_address, p_request_id)
  returning seq into v_seq;
  return v_seq;
end $$;

create or replace view admin_audit with (security_invoker = true, security_barrier = true) as
  select actor, action, target_type, target_id, detail, result, at, tenant_id, address, request_id
  from admin_audit_log;

create or replace function admin_audit_insert() returns trigger language plpgsql as $$
begin
  perform public.audit_write(new.actor, new.action, new.target_type, new.target_id, new.detail, new.result,
                             new.tenant_id, new.address, new.request_id);
  return new;
end $$;
drop trigger if exists admin_audit_insert on admin_audit;
create trigger admin_audit_insert instead of insert on admin_audit
  for each row execute function admin_audit_insert();

create or replace function audit_canonical(r admin_audit_log) returns bytea
language sql stable set timezone = 'UTC' set search_path = pg_catalog, pg_temp
as $$
  select convert_to(jsonb_build_array(
    r.position, r.seq, to_char(r.at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), r.actor, r.action, r.target_type,
    r.target_id, r.tenant_id, r.detail, r.result, r.address, r.request_id)::text, 'UTF8')
$$;

-- Chains what is committed and not yet sealed; one sealer at a time. Answers how many were added, and the head.
create or replace function audit_seal(p_limit int default 1000)
returns table (sealed int, count bigint, head bytea)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_row public.admin_audit_log;
begin
  perform pg_advisory_xact_lock(hashtext('overwatt.audit_seal'));
  sealed := 0;
  select l.position, l.hash into count, head
    from public.admin_audit_log l where l.position is not null order by l.position desc limit 1;
  count := coalesce(count, 0);
  head := coalesce(head, '\x'::bytea);
  for v_row in
    select * from public.admin_audit_log l where l.hash is null order by l.seq limit p_limit
  loop
    v_row.position := count + 1;
    v_row.prev_hash := head;
    v_row.hash := sha256(head || public.audit_canonical(v_row));
    update public.admin_audit_log l
      set position = v_row.position, prev_hash = v_row.prev_hash, hash = v_row.hash
      where l.seq = v_row.seq;
    count := v_row.position;
    head := v_row.hash;
    sealed := sealed + 1;
  end loop;
  return next;
end $$;

-- The first row at which the chain does not hold, with the reason; no row when it holds.
create or replace function audit_verify()
returns table (seq bigint, reason text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_row public.admin_audit_log;
  v_head bytea := '\x';
  v_position bigint := 0;
begin
  for v_row in select * from public.admin_audit_log l where l.position is not null order by l.position loop
    seq := v_row.seq;
    if v_row.position <> v_position + 1 then
      reason := format('%s sealed row(s) before it are missing', v_row.position - v_position - 1);
    elsif v_row.prev_hash <> v_head then
      reason := 'its prev_hash is not the hash of the row before it';
    elsif v_row.hash <> sha256(v_head || public.audit_canonical(v_row)) then
      reason := 'its content does not match its hash';
    end if;
    if reason is not null then
      return next;
      return;
    end if;
    v_position := v_row.position;
    v_head := v_row.hash;
  end loop;
end $$;

alter function audit_write(text, text, text, text, jsonb, text, text, text, text) owner to auditor;
alter function audit_seal(int) owner to auditor;
alter function audit_verify() owner to auditor;
revoke execute on function audit_write(text, text, text, text, jsonb, text, text, text, text) from public;
revoke execute on function audit_seal(int) from public;
revoke execute on function audit_verify() from public;
grant execute on function audit_write(text, text, text, text, jsonb, text, text, text, text)
  to ingest, controller, escalation, provisioning, api;
grant execute on function audit_seal(int), audit_verify() to api;
grant insert on admin_audit to ingest, controller, escalation, provisioning, api;
grant select on admin_audit to api;
