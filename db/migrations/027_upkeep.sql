-- Owner: ingest. What is committed of a spool is of no use once its device is gone.

-- An agent's birth tells which of its epochs may be forgotten; one that is gone says nothing any more. Answers how many.
create or replace function forget_spools() returns bigint
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  v_spools bigint;
begin
  delete from ingest_committed c where not exists (
    select from device d where d.tenant_id = c.tenant_id and d.device_id = c.device_id
      and d.state in ('active', 'disabled'));
  get diagnostics v_spools = row_count;
  return v_spools;
end $$;
revoke execute on function forget_spools() from public;
grant execute on function forget_spools() to ingest;
