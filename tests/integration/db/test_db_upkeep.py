"""Housekeeping by hand, on either form: what it does, what it never touches, and history after retention."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from db.files import read_migrations
from db.migrate import run
from db.settings import Settings
from services.ingest.housekeeping import once
from tests.integration.db.builders import a_fleet, add_sample, refresh
from tests.integration.db.conftest import ROOT, Database, create_database, timescale_server

NOW: Final = datetime.now(UTC)
TODAY: Final = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
OLD: Final = TODAY - timedelta(days=95)
LATE: Final = TODAY - timedelta(days=3)
KEPT: Final = ("15m", "1h", "1d")
"""Levels that outlive the raw data they were made of."""


@pytest.fixture(scope="module")
def own_timescale() -> Iterator[Database]:
    """One for this file: what retention dropped is remembered."""
    with timescale_server() as url:
        assert asyncio.run(run(Settings(database_url=url), read_migrations())) == 0
        yield Database(url, "timescale")


@pytest.fixture
def own_plain(cluster: str) -> Database:
    """One for each test."""

    async def prepare() -> str:
        url = await create_database(cluster)
        assert await run(Settings(database_url=url), read_migrations()) == 0
        return url

    return Database(asyncio.run(prepare()), "plain")


@pytest.fixture(params=["plain", "timescale"])
def own(request: pytest.FixtureRequest) -> Database:
    """The same test on either form."""
    chosen = request.getfixturevalue(f"own_{request.param}")
    assert isinstance(chosen, Database)
    return chosen


@asynccontextmanager
async def _as_ingest(database: Database) -> AsyncIterator[Any]:
    """A pool as the service has it, of one connection."""

    async def prepare(db: Any) -> None:
        await db.execute("reset role")
        # asyncpg looks this type up in pg_range, which the WebAssembly build lets only its owner read.
        await db.fetch("select null::bigint[]")

    async def take_role(db: Any) -> None:
        await db.execute("set search_path = public; set role ingest")

    async with asyncpg.create_pool(
        database.url, min_size=1, max_size=1, statement_cache_size=0, ssl=False, init=prepare, setup=take_role
    ) as pool:
        yield pool


async def _keep_house(database: Database, since: datetime | None = None) -> list[str]:
    async with _as_ingest(database) as pool:
        return [line async for line in once(pool, NOW, retention_days=90, since=since)]


async def _sums(db: Any, key: int, levels: tuple[str, ...] = KEPT) -> dict[str, list[tuple[Any, ...]]]:
    return {
        level: [
            tuple(row)
            for row in await db.fetch(
                f"select bucket, n, active_power_w_sum from telemetry_{level} where device_key = $1"
                " order by bucket",
                key,
            )
        ]
        for level in levels
    }


async def test_once_by_hand_does_what_is_due_and_a_second_time_nothing(own: Database) -> None:
    # P-053, P-056, P-057: raw data go after 90 days; their rollups, alerts and the audit log stay
    async with own.connect() as db:
        ours, gone = await a_fleet(db), await a_fleet(db)
        await db.execute("update device set state = 'decommissioned' where device_key = $1", gone.key)
        for fleet in (ours, gone):
            await db.execute(
                "insert into ingest_committed values ($1, $2, 7, '{[1,5)}')", fleet.tenant, fleet.device
            )
        await db.execute(
            "insert into alerts (alert_id, tenant_id, fingerprint, severity, status, summary, opened_at,"
            " closed_at) values (gen_random_uuid(), $1, 'old', 1, 'CLOSED', 'long ago', $2, $2)",
            ours.tenant, NOW - timedelta(days=2_000),
        )  # fmt: skip
        await db.execute(
            "insert into admin_audit (actor, action, target_type, target_id) values ('a', 'look', 'box', 'b')"
        )
        await add_sample(db, ours.key, OLD + timedelta(hours=1), {"active_power_w": 3})
        await refresh(db)
        await _refresh_all(db, own, OLD)
        for minute in (0, 1, 61):
            await add_sample(db, ours.key, LATE + timedelta(minutes=minute), {"active_power_w": 4})
        kept = "select (select count(*) from alerts), (select count(*) from admin_audit)"
        before = tuple(await db.fetchrow(kept))

    said = await _keep_house(own)
    again = await _keep_house(own)

    assert [line.partition(":")[0] for line in said] == ["days", "rollups", "late", "spools"]
    assert "; 1 before" in said[0]
    assert "rollups: 2 device hours" in said[1]
    assert "spools: 1 of" in said[3]
    assert [line.partition(": ")[2].split()[0] for line in again[1:]] == ["0", "0", "0"]
    async with own.connect() as db:
        assert (
            await db.fetchval("select count(*) from telemetry where ts < $1", TODAY - timedelta(days=90)) == 0
        )
        sums = await _sums(db, ours.key)
        old_day, late_day = (OLD, 1, 3.0), (LATE, 3, 12.0)
        assert sums["1d"] == [old_day, late_day]
        assert sums["1h"] == [
            (OLD + timedelta(hours=1), 1, 3.0), (LATE, 2, 8.0), (LATE + timedelta(hours=1), 1, 4.0),
        ]  # fmt: skip
        spools = await db.fetch("select device_id from ingest_committed")
        assert [row[0] for row in spools] == [ours.device]
        assert tuple(await db.fetchrow(kept)) == before


async def _refresh_all(db: Any, database: Database, day: datetime) -> None:
    """What policies would have done in their time: below the floor nobody refreshes any more."""
    if database.form == "timescale":
        for level in ("1m", *KEPT):
            await db.execute(
                f"call refresh_continuous_aggregate('telemetry_{level}', timestamptz '{day.isoformat()}',"
                f" timestamptz '{(day + timedelta(days=1)).isoformat()}')"
            )


async def test_history_survives_every_refresh_after_retention(own: Database) -> None:
    async with own.connect() as db:
        ours, others = await a_fleet(db), await a_fleet(db)
        for day in (OLD, LATE - timedelta(days=10), LATE):
            for fleet in (ours, others):
                await add_sample(db, fleet.key, day + timedelta(hours=1), {"active_power_w": 5})
        await refresh(db)
        await _refresh_all(db, own, OLD)
        history = [await _sums(db, fleet.key) for fleet in (ours, others)]
        assert [len(sums["1d"]) for sums in history] == [3, 3]

    await _keep_house(own)
    async with own.connect() as db:
        # By hand: all but the last days.
        await db.fetchval("select drop_telemetry_partitions($1)", (LATE - timedelta(days=5)).date())
        dropped = LATE - timedelta(days=10)
        if own.form == "timescale":
            await db.execute(
                "insert into telemetry (device_key, ts, active_power_w) values ($1, $2, 9)",
                ours.key, dropped + timedelta(hours=1, minutes=1),
            )  # fmt: skip
        for day in (OLD, dropped):
            await db.execute(
                "insert into rollup_dirty (device_key, hour) values ($1, $2)",
                ours.key, day + timedelta(hours=1),
            )  # fmt: skip
    await _keep_house(own, since=OLD)
    async with own.connect() as db:
        if own.form == "timescale":
            jobs = "select job_id from timescaledb_information.jobs where proc_name like 'policy_refresh%'"
            for job in await db.fetch(jobs):
                await db.execute(f"call run_job({job[0]})")

        assert [await _sums(db, fleet.key) for fleet in (ours, others)] == history
        for table in ("rollup_dirty", "rollup_late")[: 2 if own.form == "timescale" else 1]:
            assert await db.fetchval(f"select count(*) from {table}") == 0


async def test_since_a_time_all_rollups_are_made_anew(own: Database) -> None:
    async with own.connect() as db:
        fleet = await a_fleet(db)
        for hour in range(3):
            await add_sample(db, fleet.key, LATE + timedelta(hours=hour), {"active_power_w": 1})
        await db.execute("delete from rollup_dirty")

    said = await _keep_house(own, since=LATE + timedelta(hours=1))

    assert said[1].startswith("marked: ")
    async with own.connect() as db:
        assert [row[0] for row in (await _sums(db, fleet.key))["1h"]] == [
            LATE + timedelta(hours=1), LATE + timedelta(hours=2),
        ]  # fmt: skip


def test_the_command_says_what_it_did_and_what_a_wrong_time_should_be(plain_database: Database) -> None:
    def keep_house(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.ingest", "housekeeping", *arguments],
            cwd=ROOT, env={**os.environ, "DATABASE_URL": plain_database.url}, text=True, capture_output=True,
            check=False,
        )  # fmt: skip

    told, wrong = keep_house("--since", TODAY.date().isoformat()), keep_house("--since", "yesterday")

    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()[-5:]
    assert [line.partition(":")[0] for line in lines] == ["days", "marked", "rollups", "late", "spools"]
    assert wrong.returncode == 2
    assert "'yesterday' is not a time; it must be like 2026-11-01" in wrong.stderr
