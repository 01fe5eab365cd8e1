-- Owner: provisioning. What the keeper of the broker reads every second stays cheap, and EMQX may ask for the token
-- of one simple device: the login role `broker` can call that function and do nothing else.

create index if not exists device_not_active on device (tenant_id, device_id) where state <> 'active';
create index if not exists device_token_by_device on device_token (tenant_id, device_id);

do $$
begin
  if not exists (select from pg_roles where rolname = 'broker') then
    begin
      create role broker login;
    exception when duplicate_object or unique_violation then
      null;  -- roles belong to the whole server: another database's migration was faster
    end;
  end if;
end $$;
grant usage on schema public to broker;

-- SHA-256 in hex, as EMQX compares it; no row for who is unknown, revoked or not active.
create or replace function broker_password(p_username text)
returns table (password_hash text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select encode(t.token_hash, 'hex')
  from public.device_token t
  join public.device d on d.tenant_id = t.tenant_id and d.device_id = t.device_id
  where t.tenant_id = split_part(p_username, '/', 1)
    and t.device_id = split_part(p_username, '/', 2)
    and p_username = t.tenant_id || '/' || t.device_id
    and t.revoked_at is null
    and d.state = 'active'
$$;
alter function broker_password(text) owner to provisioning;
revoke execute on function broker_password(text) from public;
grant execute on function broker_password(text) to broker;
