-- Owner: controller. Agent sessions, dispatches with their commands and replies, decisions, plans, money.

create table if not exists agent_session (
  session_id text primary key,  -- the agent's boot_id: one session is one run of its process
  tenant_id text not null,
  device_id text not null,
  site_id text,
  site_name text not null default '',
  agent_mode text not null default '',
  version text not null default '',
  features text[] not null default '{}',
  assets text[] not null default '{}',
  peer text,
  connected_at timestamptz not null default now(),
  birth_at_us bigint not null default 0,  -- the agent's own time of its last birth: tells a repeat from a reconnect
  last_seen_at timestamptz not null default now(),
  disconnected_at timestamptz,
  close_reason text
);
-- Restarts of an agent never leave two open sessions.
create unique index if not exists agent_session_open on agent_session (tenant_id, device_id)
  where disconnected_at is null;
create index if not exists agent_session_by_device on agent_session (tenant_id, device_id, connected_at);
call guard_table('agent_session', 'controller');

create table if not exists dispatch (
  dispatch_id uuid primary key,
  tenant_id text not null,
  site_id text,
  asset_id text,
  box_id text not null,
  power_mw double precision not null,
  duration_s double precision check (duration_s > 0),
  state text not null default 'accepted' check (state in (
    'accepted', 'delivered', 'applied', 'verified', 'not_following', 'rejected', 'expired', 'superseded')),
  requested_by text not null,
  source text not null default 'api',
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  updated_at timestamptz not null default now(),
  preview jsonb,  -- the controller's split
  result jsonb,   -- the agent's split, which is the one of record, with what was measured
  reason text,
  check (site_id is not null or asset_id is not null)
);
create index if not exists dispatch_by_site on dispatch (tenant_id, site_id, created_at desc);
create index if not exists dispatch_by_asset on dispatch (tenant_id, asset_id, created_at desc);
create index if not exists dispatch_by_time on dispatch (tenant_id, created_at desc);
create index if not exists dispatch_unfinished on dispatch (expires_at)
  where state in ('accepted', 'delivered', 'applied');
call guard_table('dispatch', 'controller');

create table if not exists command (
  command_id uuid primary key,
  dispatch_id uuid not null references dispatch on delete cascade,
  tenant_id text not null,
  box_id text not null,
  device_id text not null,
  asset_id text,
  state text not null default 'accepted' check (state in (
    'accepted', 'delivered', 'applied', 'verified', 'not_following', 'rejected', 'expired', 'superseded')),
  payload bytea not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  published_count int not null default 0,
  last_published_at timestamptz,
  answered_at timestamptz
);
create index if not exists command_by_dispatch on command (dispatch_id);
create index if not exists command_unanswered on command (expires_at) where answered_at is null;
call guard_table('command', 'controller');

create table if not exists command_replies (
  box_id text not null,
  tenant_id text not null,
  command_id uuid not null,
  dispatch_id uuid,
  state text not null,
  reason text not null default '',
  reply jsonb not null default '{}',
  at timestamptz not null,
  received_at timestamptz not null default now(),
  unique (command_id, state)
);
create index if not exists command_replies_by_box on command_replies (box_id);
create index if not exists command_replies_by_dispatch on command_replies (dispatch_id);
call guard_table('command_replies', 'controller');

-- Enough to replay and explain: what was known, what bound, who got which share.
create table if not exists controller_decisions (
  id bigint generated always as identity primary key,
  box_id text not null,
  tenant_id text not null,
  at timestamptz not null default now(),
  dispatch_id uuid,
  inputs jsonb not null,
  constraints jsonb not null default '[]',
  shares jsonb not null default '[]'
);
create index if not exists controller_decisions_by_box on controller_decisions (box_id, at);
create index if not exists controller_decisions_by_dispatch on controller_decisions (dispatch_id);
call guard_table('controller_decisions', 'controller');

create table if not exists plans (
  plan_id uuid primary key,
  tenant_id text not null,
  box_id text not null,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  created_at timestamptz not null default now(),
  source text not null default '',
  plan jsonb not null,
  check (ends_at > starts_at)
);
create index if not exists plans_by_box on plans (tenant_id, box_id, starts_at);
call guard_table('plans', 'controller');

create table if not exists daily_money (
  box_id text not null,
  tenant_id text not null,
  day date not null,
  amount numeric not null,
  currency text not null default 'EUR',
  detail jsonb not null default '{}',
  primary key (box_id, day)
);
call guard_table('daily_money', 'controller');
