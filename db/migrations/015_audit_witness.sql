-- For whoever kept a head of the audit chain elsewhere: the rows at these places, to compare with.
create or replace function audit_at(p_positions bigint[])
returns table (place bigint, seq bigint, hash bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select l.position, l.seq, l.hash from public.admin_audit_log l where l.position = any(p_positions)
$$;
alter function audit_at(bigint[]) owner to auditor;
revoke execute on function audit_at(bigint[]) from public;
grant execute on function audit_at(bigint[]) to api;
