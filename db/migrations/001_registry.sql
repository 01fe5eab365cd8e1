-- Owner: provisioning. Who belongs: tenants, sites, boxes with their mode, devices, assets.

create table if not exists tenant (
  tenant_id text primary key check (tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,25}$'),
  name text not null,
  code text unique,
  state text not null default 'active',
  created_at timestamptz not null default now()
);
call guard_table('tenant', 'provisioning', '{controller,escalation}');

create table if not exists site (
  tenant_id text not null references tenant,
  site_id text not null,
  name text not null default '',
  location text not null default '',
  created_at timestamptz not null default now(),
  primary key (tenant_id, site_id)
);
call guard_table('site', 'provisioning', '{controller,escalation}');

-- mode_epoch rises with every change of mode; an agent refuses a command that carries an older one.
create table if not exists box (
  tenant_id text not null references tenant,
  box_id text not null unique,
  site_id text,
  mode text not null default 'observe' check (mode in ('observe', 'active')),
  mode_epoch bigint not null default 1,
  opt_ins text[] not null default '{}',
  state text not null default 'active',
  created_at timestamptz not null default now(),
  mode_changed_at timestamptz not null default now(),
  primary key (tenant_id, box_id),
  foreign key (tenant_id, site_id) references site
);
call guard_table('box', 'provisioning', '{controller,escalation}');

-- published_at older than changed_at: the registry topic has not heard of it yet.
create table if not exists device (
  device_key int generated always as identity primary key,
  tenant_id text not null references tenant,
  device_id text not null check (device_id ~ '^[a-z0-9][a-z0-9_-]{0,35}$'),
  site_id text,
  box_id text,
  type text not null default '',
  name text not null default '',
  state text not null default 'active' check (state in ('active', 'disabled', 'decommissioned', 'erased')),
  assets text[] not null default '{}',
  created_at timestamptz not null default now(),
  changed_at timestamptz not null default now(),
  published_at timestamptz,
  unique (tenant_id, device_id),
  foreign key (tenant_id, site_id) references site,
  foreign key (tenant_id, box_id) references box
);
create index if not exists device_unpublished on device (changed_at)
  where published_at is null or published_at < changed_at;
create index if not exists device_by_box on device (box_id) where box_id is not null;
call guard_table('device', 'provisioning', '{controller,escalation,telemetry_reader}');

create table if not exists asset (
  tenant_id text not null references tenant,
  asset_id text not null,
  device_key int not null unique references device,
  capacity_mwh double precision not null check (capacity_mwh >= 0),
  max_mw double precision not null,
  min_mw double precision not null,
  efficiency double precision not null default 1 check (efficiency > 0 and efficiency <= 1),
  ramp_rate_mw_per_min double precision,
  location text not null default '',
  details jsonb not null default '{}',
  primary key (tenant_id, asset_id),
  check (min_mw <= max_mw)
);
call guard_table('asset', 'provisioning', '{controller}');

-- The mode of a box, held until the transaction ends: a flip waits for it. No row: publish nothing.
-- FOR SHARE needs the right to update, which the gateway does not have: so the function runs as provisioning.
create or replace function hold_mode(p_tenant text, p_box text)
returns table (mode text, mode_epoch bigint, opt_ins text[])
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
  select b.mode, b.mode_epoch, b.opt_ins
  from public.box b
  where b.tenant_id = p_tenant and b.box_id = p_box and b.state = 'active'
  for share
$$;
alter function hold_mode(text, text) owner to provisioning;
revoke execute on function hold_mode(text, text) from public;
grant execute on function hold_mode(text, text) to ingest;
