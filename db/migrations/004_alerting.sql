-- Owner: escalation. Rules, alerts, whom to page by what, deliveries with their attempts, incidents.

create table if not exists escalation_policies (
  policy_id uuid primary key,
  tenant_id text not null,
  name text not null,
  is_default boolean not null default false,
  levels jsonb not null default '[]'
);
create unique index if not exists escalation_policies_default on escalation_policies (tenant_id) where is_default;
call guard_table('escalation_policies', 'escalation');

create table if not exists oncall_schedules (
  schedule_id uuid primary key,
  tenant_id text not null,
  name text not null,
  timezone text not null default 'UTC',
  definition jsonb not null default '{}'
);
create index if not exists oncall_schedules_by_tenant on oncall_schedules (tenant_id);
call guard_table('oncall_schedules', 'escalation');

create table if not exists notification_channels (
  channel_id uuid primary key,
  tenant_id text not null,
  name text not null,
  kind text not null default 'webhook',
  config jsonb not null default '{}',
  enabled boolean not null default true
);
create index if not exists notification_channels_by_tenant on notification_channels (tenant_id);
call guard_table('notification_channels', 'escalation');

create table if not exists alert_rules (
  rule_id uuid primary key,
  tenant_id text not null,
  name text not null,
  kind text not null check (kind in ('threshold', 'no_heartbeat')),
  metric text,
  comparison text check (comparison in ('GT', 'LT', 'GTE', 'LTE')),
  threshold double precision,
  clear_threshold double precision,  -- hysteresis: the alert closes here, not at the threshold
  for_s int not null default 0 check (for_s >= 0),
  severity int not null check (severity between 1 and 4),
  device_id text,  -- null: every device of the tenant
  escalation_policy_id uuid references escalation_policies on delete set null,
  enabled boolean not null default true,
  check (kind <> 'threshold' or (metric is not null and comparison is not null and threshold is not null))
);
create index if not exists alert_rules_by_tenant on alert_rules (tenant_id);
call guard_table('alert_rules', 'escalation');

create table if not exists alerts (
  alert_id uuid primary key,
  tenant_id text not null,
  fingerprint text not null,
  rule_id uuid,
  device_id text,
  site_id text,
  box_id text,
  severity int not null check (severity between 1 and 4),
  status text not null default 'OPEN' check (status in ('OPEN', 'ACKNOWLEDGED', 'CLOSED')),
  summary text not null,
  details jsonb not null default '{}',
  opened_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  acknowledged_at timestamptz,
  acknowledged_by text,
  closed_at timestamptz,
  count int not null default 1,
  next_escalation_at timestamptz,  -- what the engine claims on; null: nobody is to be told any more
  escalation_level int not null default 0,
  epoch int not null default 0,
  check ((status = 'CLOSED') = (closed_at is not null))
);
create unique index if not exists alerts_open on alerts (tenant_id, fingerprint) where status <> 'CLOSED';
create index if not exists alerts_due on alerts (next_escalation_at) where next_escalation_at is not null;
create index if not exists alerts_by_time on alerts (tenant_id, opened_at desc);
-- What a sample or a silence that is read again is compared with, open or closed.
create index if not exists alerts_by_fingerprint on alerts (tenant_id, fingerprint, last_seen_at);
create index if not exists alerts_by_box on alerts (box_id) where box_id is not null;
call guard_table('alerts', 'escalation');

-- Deletable per box, which `alerts` is not: closed alerts are kept for ever.
create table if not exists alerts_24h (
  box_id text not null,
  tenant_id text not null,
  alert_id uuid not null,
  severity int not null,
  opened_at timestamptz not null,
  closed_at timestamptz,
  primary key (box_id, alert_id)
);
create index if not exists alerts_24h_by_time on alerts_24h (opened_at);
call guard_table('alerts_24h', 'escalation');

create table if not exists deliveries (
  delivery_id uuid primary key,
  idem text not null unique,  -- constant over retries: a receiver counts it once
  tenant_id text not null,
  alert_id uuid not null references alerts,
  channel_id uuid not null,
  payload bytea not null,
  status text not null default 'pending' check (status in (
    'pending', 'leased', 'delivered', 'failed', 'superseded')),
  attempts int not null default 0,
  next_attempt_at timestamptz not null default now(),
  lease_until timestamptz,
  lease_token uuid,
  created_at timestamptz not null default now(),
  delivered_at timestamptz,
  last_error text
);
create index if not exists deliveries_due on deliveries (next_attempt_at) where status = 'pending';
create index if not exists deliveries_leased on deliveries (lease_until) where status = 'leased';
create index if not exists deliveries_by_alert on deliveries (alert_id);
call guard_table('deliveries', 'escalation');

create table if not exists delivery_attempts (
  delivery_id uuid not null references deliveries on delete cascade,
  n int not null,
  at timestamptz not null default now(),
  status int,  -- HTTP status, null when there was no answer
  ms int,
  error_class text,
  primary key (delivery_id, n)
);
grant select, insert, update, delete on delivery_attempts to escalation;
grant select on delivery_attempts to api;
alter table delivery_attempts enable row level security;
alter table delivery_attempts force row level security;
drop policy if exists escalation_all on delivery_attempts;
create policy escalation_all on delivery_attempts for all to escalation using (true) with check (true);
-- Its tenant is that of its delivery, whose own policy answers the question.
drop policy if exists tenant on delivery_attempts;
create policy tenant on delivery_attempts for select to api
  using (exists (select from deliveries d where d.delivery_id = delivery_attempts.delivery_id
                 and d.tenant_id = current_tenant()));

-- No tenant: the platform itself.
create table if not exists incidents (
  incident_id uuid primary key,
  tenant_id text,
  sev int not null check (sev between 1 and 4),
  scope text not null default '',
  title text not null,
  opened_at timestamptz not null default now(),
  closed_at timestamptz
);
create index if not exists incidents_open on incidents (opened_at) where closed_at is null;
call guard_table('incidents', 'escalation');
