-- Owner: api. Users by an opaque id; report runs.

create table if not exists "user" (
  user_id uuid primary key default gen_random_uuid(),
  tenant_id text not null,
  email text not null,
  role text not null,
  created_at timestamptz not null default now()
);
create unique index if not exists user_by_email on "user" (tenant_id, lower(email));
call guard_table('"user"', 'api');

create table if not exists report_runs (
  run_id uuid primary key default gen_random_uuid(),
  tenant_id text not null,
  report text not null,
  parameters jsonb not null default '{}',
  state text not null default 'pending' check (state in ('pending', 'running', 'done', 'failed')),
  requested_by text not null default '',
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  error text
);
create index if not exists report_runs_by_time on report_runs (tenant_id, created_at desc);
call guard_table('report_runs', 'api');
