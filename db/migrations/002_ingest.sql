-- Owner: ingest. What the promise "exactly once, or declared in numbers" is kept with; telemetry itself follows in 008.

create table if not exists ingest_offset (
  topic text not null,
  partition int not null,
  next_offset bigint not null,
  owner uuid not null,
  updated_at timestamptz not null default now(),
  primary key (topic, partition)
);
grant select, insert, update, delete on ingest_offset to ingest;

-- Which (agent, epoch, seq) are stored: a resend is recognised before the COPY.
create table if not exists ingest_committed (
  tenant_id text not null,
  device_id text not null,
  epoch bigint not null,
  ranges int8multirange not null default '{}',
  primary key (tenant_id, device_id, epoch)
);
call guard_table('ingest_committed', 'ingest');

-- No tenant: the sender could not be told. Such rows are seen by operators only.
create table if not exists rejection (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  tenant_id text,
  device_id text,
  asset_id text,
  reason text not null,
  detail text not null default '',
  payload bytea,
  count int not null default 1 check (count > 0),
  source_topic text,
  kafka_topic text,
  kafka_partition int,
  kafka_offset bigint,
  unique (kafka_topic, kafka_partition, kafka_offset)
);
create index if not exists rejection_by_time on rejection (tenant_id, at);
call guard_table('rejection', 'ingest');

-- What a spool evicted unsent: loss, in numbers.
create table if not exists declared_loss (
  tenant_id text not null,
  device_id text not null,
  epoch bigint not null,
  first_seq bigint not null,
  last_seq bigint not null,
  rows bigint not null,
  at timestamptz not null default now(),
  primary key (tenant_id, device_id, epoch, first_seq),
  check (last_seq >= first_seq)
);
call guard_table('declared_loss', 'ingest');

-- Written while the box's mode is held: proves which mode a command was published under.
create table if not exists publish_log (
  id bigint generated always as identity primary key,
  tenant_id text not null,
  box_id text not null,
  command_id uuid not null,
  mode_epoch bigint not null,
  published_at timestamptz not null default clock_timestamp()
);
create index if not exists publish_log_by_box on publish_log (tenant_id, box_id, published_at);
create index if not exists publish_log_by_command on publish_log (command_id);
call guard_table('publish_log', 'ingest');

-- Metrics beyond the canonical columns: one series for each (device, metric).
create table if not exists telemetry_series (
  series_id int generated always as identity primary key,
  device_key int not null,
  metric text not null check (metric ~ '^[a-z][a-z0-9_]{0,63}$'),
  unique (device_key, metric)
);
grant select, insert, update, delete on telemetry_series to ingest;
grant select on telemetry_series to telemetry_reader;

-- A counter that went down: increase over [a, b) = last - last before a + sum(before_value) of the resets inside.
create table if not exists counter_reset (
  device_key int not null,
  metric text not null,
  ts timestamptz not null,
  before_value double precision not null,
  after_value double precision not null,
  primary key (device_key, metric, ts)
);
grant select, insert, update, delete on counter_reset to ingest;
grant select on counter_reset to telemetry_reader;

-- Hours whose rollups are behind. The writer adds a row in the transaction that adds the data. There is no unique
-- key on purpose: a row that "is already there" could be taken away by a refresh that does not see the new data yet.
create table if not exists rollup_dirty (
  id bigint generated always as identity primary key,
  device_key int not null,
  hour timestamptz not null check (hour = date_bin('1 hour', hour, timestamptz '2000-01-01 00:00+00'))
);
grant select, insert, update, delete on rollup_dirty to ingest;
