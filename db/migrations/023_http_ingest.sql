-- Owner: provisioning. What the HTTP door of ingest may ask: whose a token is, and which devices have these names.

-- No row: unknown or revoked. A device is no better off than its tenant.
create or replace function http_sender(p_token_hash bytea)
returns table (token_hash bytea, tenant_id text, device_id text, external_id text, device_key int, site_id text,
               state text, assets text[])
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select k.token_hash, d.tenant_id, d.device_id, d.external_id, d.device_key, d.site_id,
    case when d.state = 'active' then t.state else d.state end, d.assets
  from public.device_token k
  join public.device d on d.tenant_id = k.tenant_id and d.device_id = k.device_id
  join public.tenant t on t.tenant_id = d.tenant_id
  where k.token_hash = p_token_hash and k.revoked_at is null
$$;
alter function http_sender(bytea) owner to provisioning;
revoke execute on function http_sender(bytea) from public;
grant execute on function http_sender(bytea) to ingest;

create or replace function http_named(p_tenant text, p_device_ids text[], p_external_ids text[])
returns table (device_id text, external_id text, device_key int, site_id text, state text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select d.device_id, d.external_id, d.device_key, d.site_id, d.state
  from public.device d
  where d.tenant_id = p_tenant and (d.device_id = any (p_device_ids) or d.external_id = any (p_external_ids))
$$;
alter function http_named(text, text[], text[]) owner to provisioning;
revoke execute on function http_named(text, text[], text[]) from public;
grant execute on function http_named(text, text[], text[]) to ingest;
