-- Owner: provisioning. How a tenant was set up, links by which its people come in, and what tenantctl may ask.

create table if not exists tenant_setup (
  tenant_id text primary key references tenant on delete cascade,
  pack text not null,
  integrations text[] not null default '{}',
  provisioned_at timestamptz not null default clock_timestamp(),
  smoke jsonb,  -- what the last smoke run found
  smoke_at timestamptz,
  check ((smoke is null) = (smoke_at is null))
);
call guard_table('tenant_setup', 'provisioning');

-- A link for one person of the tenant. It says nothing about the person; the secret stands here as SHA-256 only.
create table if not exists tenant_invite (
  token_hash bytea primary key check (length(token_hash) = 32),
  tenant_id text not null references tenant on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  used_at timestamptz
);
call guard_table('tenant_invite', 'provisioning');

-- A pack's rules and its policy, in the transaction that makes the tenant, though the tables are escalation's.
-- What bears a name that is taken is left as it is: a person may have changed it. Answers how many were added.
create or replace function install_pack(p_tenant text, p_rules jsonb, p_policy jsonb) returns int
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy uuid := md5('overwatt.policy.' || p_tenant || '.' || (p_policy ->> 'name'))::uuid;
  v_added int;
begin
  if p_policy is not null then
    insert into public.escalation_policies (policy_id, tenant_id, name, is_default, levels)
    select v_policy, p_tenant, p_policy ->> 'name', true, p_policy -> 'levels'
    where not exists (select from public.escalation_policies p where p.tenant_id = p_tenant and p.is_default);
    select p.policy_id into v_policy
      from public.escalation_policies p where p.tenant_id = p_tenant and p.is_default;
  end if;
  insert into public.alert_rules
    (rule_id, tenant_id, name, kind, severity, metric, comparison, threshold, clear_threshold, for_s,
     escalation_policy_id)
  select md5('overwatt.rule.' || p_tenant || '.' || r.name)::uuid, p_tenant, r.name, r.kind, r.severity, r.metric,
         r.comparison, r.threshold, r.clear_threshold, r.for_s, v_policy
  from jsonb_to_recordset(p_rules) as r (name text, kind text, severity int, metric text, comparison text,
    threshold double precision, clear_threshold double precision, for_s int)
  where not exists (select from public.alert_rules a where a.tenant_id = p_tenant and a.name = r.name);
  get diagnostics v_added = row_count;
  notify escalation_rules;
  return v_added;
end $$;
alter function install_pack(text, jsonb, jsonb) owner to escalation;
revoke execute on function install_pack(text, jsonb, jsonb) from public;
grant execute on function install_pack(text, jsonb, jsonb) to provisioning;

-- What a tenant that never had a box leaves behind in escalation's tables when it is deleted.
create or replace function remove_alerting(p_tenant text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
  delete from public.alert_rules where tenant_id = p_tenant;
  delete from public.escalation_policies where tenant_id = p_tenant;
  delete from public.oncall_schedules where tenant_id = p_tenant;
  delete from public.notification_channels where tenant_id = p_tenant;
  notify escalation_rules;
end $$;
alter function remove_alerting(text) owner to escalation;
revoke execute on function remove_alerting(text) from public;
grant execute on function remove_alerting(text) to provisioning;

-- What health and smoke ask of others: how many, and since when. No content.
grant select (tenant_id, disconnected_at, last_seen_at) on agent_session to provisioning;
drop policy if exists provisioning_read on agent_session;
create policy provisioning_read on agent_session for select to provisioning using (true);
grant select (tenant_id, status) on alerts to provisioning;
drop policy if exists provisioning_read on alerts;
create policy provisioning_read on alerts for select to provisioning using (true);
grant select (tenant_id) on "user" to provisioning;
drop policy if exists provisioning_read on "user";
create policy provisioning_read on "user" for select to provisioning using (true);
