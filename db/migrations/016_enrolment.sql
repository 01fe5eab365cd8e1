-- Owner: provisioning. How a box comes in and is put out again: waitlist, enrolment tokens, certificates, credentials
-- of simple devices, sessions to be cut, mails to be sent. Secrets stand here as SHA-256 only.

alter table tenant drop constraint if exists tenant_state_check;
alter table tenant add constraint tenant_state_check check (state in ('active', 'disabled', 'decommissioned'));
alter table tenant drop constraint if exists tenant_code_check;
alter table tenant add constraint tenant_code_check check (code ~ '^[A-Z][A-Z0-9]{0,25}$');

-- source: `file` boxes follow the assets file, `admin` boxes are a person's and no import touches them.
alter table box add column if not exists source text not null default 'file';
alter table box add column if not exists name text not null default '';
alter table box add column if not exists serial text;
alter table box add column if not exists hardware text not null default '';
alter table box add column if not exists user_id uuid;
alter table box add column if not exists support_tunnel text;
alter table box add column if not exists enrolled_at timestamptz;
alter table box drop constraint if exists box_state_check;
alter table box add constraint box_state_check
  check (state in ('active', 'disabled', 'revoked', 'decommissioned', 'erased'));
alter table box drop constraint if exists box_source_check;
alter table box add constraint box_source_check check (source in ('file', 'admin'));
create index if not exists box_by_user on box (user_id) where user_id is not null;

-- revoked: its credentials are void until a new enrolment; disabled: until a person enables it.
alter table device drop constraint if exists device_state_check;
alter table device add constraint device_state_check
  check (state in ('active', 'disabled', 'revoked', 'decommissioned', 'erased'));
alter table device add column if not exists host text;
alter table device add column if not exists host_mac text;

create table if not exists waitlist (
  entry_id uuid primary key default gen_random_uuid(),
  tenant_id text not null references tenant,
  email text not null,
  name text not null default '',
  hardware text not null default '',
  note text not null default '',
  state text not null default 'open' check (state in ('open', 'dismissed')),
  decision text check (decision in ('invite', 'queue', 'dismiss')),
  reason text,
  decided_by text,
  decided_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  check ((state = 'dismissed') = (reason is not null))
);
create unique index if not exists waitlist_by_email on waitlist (tenant_id, lower(email));
call guard_table('waitlist', 'provisioning');

-- One redemption: `update ... set used_at = now() where used_at is null and ...`. The same key gets its answer again.
create table if not exists enrol_token (
  token_hash bytea primary key check (length(token_hash) = 32),
  prefix text not null,
  tenant_id text not null,
  box_id text not null,
  email text not null,
  created_by text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  withdrawn_at timestamptz,
  used_at timestamptz,
  spki_sha256 bytea check (length(spki_sha256) = 32),
  serial text,
  foreign key (tenant_id, box_id) references box on delete cascade
);
create index if not exists enrol_token_by_box on enrol_token (tenant_id, box_id, created_at desc);
call guard_table('enrol_token', 'provisioning');

-- Never deleted before its box: a revocation must outlive the certificate.
create table if not exists certificate (
  serial text primary key check (serial ~ '^[0-9a-f]{1,40}$'),
  tenant_id text not null,
  device_id text not null,
  spki_sha256 bytea not null check (length(spki_sha256) = 32),
  pem text not null,
  via text not null check (via in ('enrol', 'replace', 'renew')),
  issued_at timestamptz not null default clock_timestamp(),
  not_before timestamptz not null,
  not_after timestamptz not null,
  revoked_at timestamptz,
  revoke_reason text check (revoke_reason in
    ('unspecified', 'key_compromise', 'superseded', 'cessation_of_operation', 'privilege_withdrawn')),
  check ((revoked_at is null) = (revoke_reason is null))
);
create index if not exists certificate_by_device on certificate (tenant_id, device_id, issued_at desc);
create index if not exists certificate_revoked on certificate (revoked_at) where revoked_at is not null;
call guard_table('certificate', 'provisioning');

create table if not exists activation_code (
  code_hash bytea primary key check (length(code_hash) = 32),
  tenant_id text not null,
  device_id text not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  used_at timestamptz,
  foreign key (tenant_id, device_id) references device (tenant_id, device_id) on delete cascade
);
call guard_table('activation_code', 'provisioning');

-- mosquitto_hash is what a Mosquitto password file takes; EMQX asks for token_hash.
create table if not exists device_token (
  token_hash bytea primary key check (length(token_hash) = 32),
  prefix text not null,
  tenant_id text not null,
  device_id text not null,
  mosquitto_hash text not null,
  created_at timestamptz not null default clock_timestamp(),
  revoked_at timestamptz,
  foreign key (tenant_id, device_id) references device (tenant_id, device_id) on delete cascade
);
create unique index if not exists device_token_live on device_token (tenant_id, device_id) where revoked_at is null;
call guard_table('device_token', 'provisioning');

-- A live session that has to end; written in the transaction that revokes, done when the broker has cut it.
create table if not exists session_cut (
  id bigint generated always as identity primary key,
  tenant_id text not null,
  device_id text not null,
  reason text not null,
  requested_at timestamptz not null default clock_timestamp(),
  done_at timestamptz,
  attempts int not null default 0,
  error text
);
create index if not exists session_cut_waiting on session_cut (id) where done_at is null;
call guard_table('session_cut', 'provisioning');

-- Mails to be sent: written with what they tell of, sent after, repeated until they are out.
create table if not exists notice (
  notice_id uuid primary key default gen_random_uuid(),
  tenant_id text not null references tenant,
  kind text not null,
  recipient text not null,
  subject text not null,
  body text not null,
  created_at timestamptz not null default clock_timestamp(),
  next_attempt_at timestamptz not null default clock_timestamp(),
  attempts int not null default 0,
  sent_at timestamptz,
  failed_at timestamptz,
  error text
);
create index if not exists notice_waiting on notice (next_attempt_at) where sent_at is null and failed_at is null;
call guard_table('notice', 'provisioning');

-- Credentials and mails are nothing that the operators' door has to read.
revoke select on activation_code, device_token, session_cut, notice from api;
