-- Owner: ingest. Which minutes of a dirty hour were written, so that a refresh need not look at the others.
-- Who knows only the hour says nothing, and means all of it.
alter table rollup_dirty
  add column if not exists first_minute smallint not null default 0 check (first_minute between 0 and 59),
  add column if not exists last_minute smallint not null default 59 check (last_minute between 0 and 59);
