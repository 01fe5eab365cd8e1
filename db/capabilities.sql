-- What this server can do, in the words of the migrations' `-- requires:` markers.
-- The licence is known only once the extension is there, so this is asked again before every file.
with known as (
  select
    exists (select from pg_available_extensions where name = 'timescaledb') as available,
    exists (select from pg_extension where extname = 'timescaledb')
      and current_setting('timescaledb.license', true) = 'timescale' as tsl
)
select unnest(case when tsl then array['timescaledb', 'timescaledb-tsl']
                   when available then array['timescaledb', 'plain']
                   else array['plain'] end) as capability
from known
