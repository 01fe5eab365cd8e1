"""What stands around a benchmark's load: its senders' registry, older rows, raw COPY of what was stored."""

import asyncio
import tempfile
from typing import Final

import asyncpg

from scripts.local.stack import Stack

TENANT: Final = "load"
REGISTRY: Final = f"""
insert into tenant (tenant_id, name) values ('{TENANT}', '{TENANT}') on conflict do nothing;
insert into site (tenant_id, site_id, name)
  select '{TENANT}', 'a-' || a, 'Site ' || a from generate_series(0, {{agents}} - 1) a;
insert into box (tenant_id, box_id, site_id, source) select tenant_id, site_id, site_id, 'admin' from site
  where tenant_id = '{TENANT}';
insert into device (tenant_id, device_id, site_id, box_id, type, name, assets)
  select tenant_id, site_id, site_id, site_id, 'agent', name,
    array(select site_id || '-' || d from generate_series(0, {{devices}} - 1) d)
  from site where tenant_id = '{TENANT}';
insert into device (tenant_id, device_id, site_id, box_id, type, name)
  select tenant_id, site_id || '-' || d, site_id, site_id, 'meter', 'Meter ' || d
  from site, generate_series(0, {{devices}} - 1) d where tenant_id = '{TENANT}';
insert into device (tenant_id, device_id, type, name)
  select '{TENANT}', 's-' || s, 'meter', 'Meter ' || s from generate_series(0, {{simple}} - 1) s;
"""
FILLED: Final = (
    "active_power_w, reactive_power_var, apparent_power_va, power_factor, voltage_v, current_a,"
    " frequency_hz, soc_pct"
)
# The index after the rows, as a restore does it: a tenth of the time.
OLD_DAY: Final = """
create table {name} (like telemetry including defaults);
insert into {name} (device_key, ts, {columns})
  select 1 + n % {keys}, day + n / {keys} * interval '{step_us} microseconds',
    n % 97, n % 89, n % 83, 1, 230 + n % 7, n % 79, 50, n % 100
  from generate_series(0, {rows} - 1) n,
    (select (current_date - {ago})::timestamp at time zone 'UTC' as day) d;
create unique index on {name} (device_key, ts);
"""
ATTACH: Final = """
alter table telemetry attach partition {name} for values from ('{day}') to ('{day}'::date + 1);
select ensure_telemetry_partition('{day}')"""

RAW: Final = """
drop table if exists {raw};
create table {raw} (like {table} including all) partition by range (ts)"""
RAW_DAY: Final = """
create table {name} partition of {raw} for values from ('{day}') to ('{day}'::date + 1)"""
DAYS: Final = """
select distinct ts::date
from generate_series(to_timestamp($1 / 1e6), now() + interval '1 day', '1 day') ts"""


def register(stack: Stack, *, agents: int = 0, devices: int = 10, simple: int = 0) -> None:
    """Agents `a-N` with devices `a-N-D`, and simple devices `s-N`; before provisioning starts."""
    stack.sql(REGISTRY.format(agents=agents, devices=devices, simple=simple))


def agents_of(count: int, devices: int = 10) -> dict[str, list[str]]:
    """Names as registered, for a fleet."""
    return {f"a-{a}": [f"a-{a}-{d}" for d in range(devices)] for a in range(count)}


def simple_of(count: int) -> dict[str, list[str]]:
    """Names as registered, for a fleet."""
    return {f"s-{s}": [f"s-{s}"] for s in range(count)}


async def preload(database_url: str, *, rows_today: int, rows_older: int, keys: int, days: int = 4) -> None:
    """Rows of eight quantities, today's and in partitions of the days before."""
    connection = await asyncpg.connect(database_url, command_timeout=900)
    plan = [(ago, rows_older // days) for ago in range(1, days + 1)] + [(0, rows_today)]
    for ago, rows in plan:
        if not rows:
            continue
        day = await connection.fetchval("select current_date - $1::int", ago)
        name = f"telemetry_p{day:%Y%m%d}"
        # Today's from midnight on, so that they end before the load begins; the others over their day.
        step_us = min(86_400_000_000 * keys // rows, 1_000_000)
        values = {"name": name, "rows": rows, "keys": keys, "ago": ago, "step_us": step_us}
        await connection.execute(OLD_DAY.format(columns=FILLED, **values))
        await connection.execute(ATTACH.format(name=name, day=day))
    await connection.execute("vacuum (analyze) telemetry")
    await connection.execute("checkpoint")
    await connection.close()


async def raw_copy(database_url: str, table: str, since_us: int, most_rows: int) -> tuple[float, int]:
    """Seconds of one COPY of stored rows, in their order, into an identical empty table; and how many."""
    connection = await asyncpg.connect(database_url, command_timeout=900)
    raw = f"raw_{table}"
    with tempfile.TemporaryFile() as rows:
        await connection.copy_from_query(
            f"select * from {table} where ts >= to_timestamp({since_us} / 1e6) limit {most_rows}",
            output=rows,
            format="binary",
        )
        await connection.execute(RAW.format(raw=raw, table=table))
        for (day,) in await connection.fetch(DAYS, float(since_us)):
            await connection.execute(RAW_DAY.format(raw=raw, name=f"{raw}_{day:%Y%m%d}", day=day))
        await connection.execute("checkpoint")
        rows.seek(0)
        begun_s = asyncio.get_running_loop().time()
        status = await connection.copy_to_table(raw, source=rows, format="binary")
        elapsed_s = asyncio.get_running_loop().time() - begun_s
    await connection.execute(f"drop table {raw}")
    await connection.close()
    return elapsed_s, int(status.split()[-1])
