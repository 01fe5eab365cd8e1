-- Owner: provisioning. The full life of sites, boxes and devices: names from other systems, and why something is out.

alter table site add column if not exists external_id text;
create unique index if not exists site_by_external_id on site (tenant_id, external_id);
-- A person renamed it: no import names it again.
alter table site add column if not exists renamed_at timestamptz;

alter table device add column if not exists external_id text;
create unique index if not exists device_by_external_id on device (tenant_id, external_id);

-- left_file_at: an import put it out of use, because it left the assets file, and may bring it back. Nothing else may.
do $$
declare
  t text;
begin
  foreach t in array array['device', 'box'] loop
    if not exists (select from information_schema.columns
                   where table_schema = 'public' and table_name = t and column_name = 'left_file_at') then
      execute format('alter table %I add column left_file_at timestamptz', t);
      execute format('alter table %I add column decommissioned_at timestamptz', t);
      execute format('update %I set left_file_at = now(), decommissioned_at = now() where state = ''decommissioned''', t);
    end if;
  end loop;
end $$;

create or replace function stamp_decommissioned() returns trigger language plpgsql as $$
begin
  if new.state <> 'decommissioned' then
    new.decommissioned_at := null;
    new.left_file_at := null;
  elsif new.decommissioned_at is null then
    new.decommissioned_at := clock_timestamp();
  end if;
  return new;
end $$;
drop trigger if exists stamp_decommissioned on device;
create trigger stamp_decommissioned before insert or update on device
  for each row execute function stamp_decommissioned();
drop trigger if exists stamp_decommissioned on box;
create trigger stamp_decommissioned before insert or update on box
  for each row execute function stamp_decommissioned();
