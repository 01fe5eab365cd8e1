-- Roles, the tenant of a transaction, and the one way in which a table gets its owner and its row-level security.
-- Passwords of the login roles are set by the runner (SERVICE_PASSWORD), never here.

do $$
declare
  r text;
begin
  foreach r in array array['ingest', 'controller', 'escalation', 'provisioning', 'api'] loop
    if not exists (select from pg_roles where rolname = r) then
      begin
        execute format('create role %I login', r);
      exception when duplicate_object or unique_violation then
        null;  -- roles belong to the whole server: another database's migration was faster
      end;
    end if;
  end loop;
  -- telemetry_reader owns the views through which tenants see telemetry, auditor writes and seals the audit log.
  foreach r in array array['telemetry_reader', 'auditor'] loop
    if not exists (select from pg_roles where rolname = r) then
      begin
        execute format('create role %I nologin', r);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
  end loop;
end $$;

create schema if not exists monitoring;
create schema if not exists fleet;
grant usage on schema public to ingest, controller, escalation, provisioning, api, telemetry_reader, auditor;

-- The tenant that this transaction may see. PostgreSQL leaves '' behind when a transaction-local setting ends,
-- so a pooled connection without a tenant shows up as either.
create or replace function current_tenant() returns text
language plpgsql stable parallel safe
as $$
declare
  v_tenant text := current_setting('app.tenant', true);
begin
  if v_tenant is null or v_tenant = '' then
    raise exception 'no tenant is set: call set_config(''app.tenant'', <tenant>, true) first in this transaction'
      using errcode = 'insufficient_privilege';
  end if;
  return v_tenant;
end $$;

-- p_owner may do everything with the table, p_readers may read all of it, api reads the rows of its tenant.
create or replace procedure guard_table(p_table regclass, p_owner text, p_readers text[] default '{}')
language plpgsql
as $$
declare
  v_reader text;
begin
  execute format('alter table %s enable row level security', p_table);
  execute format('alter table %s force row level security', p_table);

  execute format('drop policy if exists tenant on %s', p_table);
  execute format(
    'create policy tenant on %s for all to api using (tenant_id = current_tenant())'
    ' with check (tenant_id = current_tenant())', p_table);
  execute format('grant select on %s to api', p_table);

  execute format('grant select, insert, update, delete on %s to %I', p_table, p_owner);
  if p_owner <> 'api' then
    execute format('drop policy if exists %I on %s', p_owner || '_all', p_table);
    execute format('create policy %I on %s for all to %I using (true) with check (true)',
                   p_owner || '_all', p_table, p_owner);
  end if;

  foreach v_reader in array p_readers loop
    execute format('drop policy if exists %I on %s', v_reader || '_read', p_table);
    execute format('create policy %I on %s for select to %I using (true)', v_reader || '_read', p_table, v_reader);
    execute format('grant select on %s to %I', p_table, v_reader);
  end loop;
end $$;
revoke execute on procedure guard_table(regclass, text, text[]) from public;
