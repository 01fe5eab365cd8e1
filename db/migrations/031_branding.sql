-- Owner: api. How a tenant's pages look (T-033); it goes with the tenant.

create table if not exists branding (
  tenant_id text primary key references tenant on delete cascade,
  name text not null default '',
  colours jsonb not null default '{}',
  logo bytea,
  changed_at timestamptz not null default now()
);
call guard_table('branding', 'api');
