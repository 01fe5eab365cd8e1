"""What only TimescaleDB's community features do, and that both forms give the same answers."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from db.columns import rollup_columns
from db.files import migration, read_migrations
from db.migrate import migrate, run
from db.settings import Settings
from overwatt.quantities import COLUMNS
from tests.integration.db.builders import a_fleet, add_other, add_sample, refresh
from tests.integration.db.conftest import Database, timescale_server

DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)
LEVELS: Final = ("1m", "15m", "1h", "1d")


def _samples() -> Iterator[tuple[datetime, dict[str, float | None], int]]:
    """Two days of partly filled rows, some bad; eighths, so that sums are exact in any order."""
    chance = random.Random(7)
    for hour in (0, 1, 23, 24, 40):
        for _ in range(12):
            at = DAY + timedelta(hours=hour, microseconds=chance.randrange(3_600_000_000))
            values = {
                name: chance.randrange(-8000, 8000) / 8 if chance.random() < 0.6 else None for name in COLUMNS
            }
            yield at, values, chance.choice([0, 0, 0, 1, 2])


async def _rollups(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """The answer of each level to the same question, on the same data."""
    columns = ", ".join(("bucket", "n", *rollup_columns()))
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        for at, values, quality in _samples():
            await add_sample(connection, fleet.key, at, values, quality=quality)
        await refresh(connection)
        async with connection.transaction():
            await connection.execute("set local role api")
            await connection.execute("select set_config('app.tenant', $1, true)", fleet.tenant)
            return {
                level: [
                    tuple(row)
                    for row in await connection.fetch(
                        f"select {columns} from v_telemetry_{level} order by bucket"
                    )
                ]
                for level in LEVELS
            }


async def test_both_forms_give_the_same_answer_at_every_level_in_every_column(
    plain_database: Database, timescale_database: Database
) -> None:
    plain, timescale = await _rollups(plain_database), await _rollups(timescale_database)

    assert {level: len(rows) for level, rows in plain.items()}["1d"] == 2
    for level in LEVELS:
        assert plain[level] == timescale[level], level


async def test_a_second_run_of_the_migrations_changes_nothing(timescale_database: Database) -> None:
    # P-009, T-048: every file again by itself, not only "nothing is pending"
    def relations() -> str:
        return (
            "select array_agg(distinct c.oid::regclass::text || c.relkind::text) from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname in ('public', 'monitoring', 'fleet')"
        )

    jobs = "select count(*) from timescaledb_information.jobs"
    async with timescale_database.connect() as connection:
        before = await connection.fetchval(relations()), await connection.fetchval(jobs)
        for _ in range(2):
            assert await migrate(connection, read_migrations()) == 0
            for each in read_migrations():
                if each.requires != "plain" and each.requires != "timescaledb":
                    async with connection.transaction():
                        await connection.execute(each.sql)
            # 012 asks for the views again, in case that it has converted tables.
            await connection.execute("delete from schema_migrations where name like '01%views.sql'")
            await migrate(connection, read_migrations())

        assert (await connection.fetchval(relations()), await connection.fetchval(jobs)) == before


async def test_policies_keep_and_compress_for_as_long_as_was_asked(timescale_database: Database) -> None:
    # P-053, P-054, P-055
    async with timescale_database.connect() as connection:
        rows = await connection.fetch(
            "select hypertable_name, proc_name,"
            " coalesce(config ->> 'drop_after', config ->> 'compress_after') as after"
            " from timescaledb_information.jobs where proc_name in ('policy_retention', 'policy_compression')"
            " and hypertable_schema = 'public'"
        )

    assert {tuple(row) for row in rows if not row["hypertable_name"].startswith("telemetry_1")} >= {
        (table, policy, after)
        for table in ("telemetry", "telemetry_other", "system_metrics")
        for policy, after in (("policy_retention", "90 days"), ("policy_compression", "7 days"))
    }


async def test_no_refresh_window_reaches_what_retention_of_its_source_drops(
    timescale_database: Database,
) -> None:
    offset = (
        "select hypertable_name::text as name, (config ->> '{0}')::interval as span"
        " from timescaledb_information.jobs where proc_name = '{1}' and hypertable_schema = 'public'"
    )
    async with timescale_database.connect() as connection:
        refreshes = await connection.fetch(
            offset.format("start_offset", "policy_refresh_continuous_aggregate")
        )
        retentions = await connection.fetch(offset.format("drop_after", "policy_retention"))
    starts = {row["name"]: row["span"] for row in refreshes}
    drops = {row["name"]: row["span"] for row in retentions}
    chunk = timedelta(days=10)

    source = "telemetry"
    for level in LEVELS:
        assert starts.pop(f"telemetry_{level}") + chunk < drops[source], level
        source = f"telemetry_{level}"
    assert starts == {}


async def test_the_policies_themselves_fill_the_hierarchy(timescale_database: Database) -> None:
    recent = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=50)
    async with timescale_database.connect() as connection:
        fleet = await a_fleet(connection)
        for seconds in range(0, 120, 30):
            await add_sample(connection, fleet.key, recent + timedelta(seconds=seconds), {"soc_pct": 50})
        for level in ("1m", "15m"):
            job = await connection.fetchval(
                "select job_id from timescaledb_information.jobs"
                " where proc_name = 'policy_refresh_continuous_aggregate' and hypertable_name = $1::text",
                f"telemetry_{level}",
            )
            await connection.execute(f"call run_job({job})")

            count = f"select sum(n)::bigint from telemetry_{level} where device_key = $1"
            assert await connection.fetchval(count, fleet.key) == 4, level


async def test_compressed_days_answer_through_the_views_take_late_rows_and_can_be_deleted(
    timescale_database: Database,
) -> None:
    async with timescale_database.connect() as connection:
        ours, theirs = await a_fleet(connection), await a_fleet(connection)
        old = DAY - timedelta(days=10)
        for fleet in (ours, theirs):
            for seconds in range(3):
                await add_sample(
                    connection, fleet.key, old + timedelta(seconds=seconds), {"soc_pct": seconds}
                )
        await connection.fetch(
            "select compress_chunk(c) from show_chunks('telemetry', older_than => $1::timestamptz) c",
            old + timedelta(days=2),
        )

        await add_sample(connection, ours.key, old + timedelta(seconds=9), {"soc_pct": 9})
        with pytest.raises(asyncpg.UniqueViolationError):
            await add_sample(connection, ours.key, old, {"soc_pct": 1})
        async with connection.transaction():
            await connection.execute("set local role api")
            await connection.execute("select set_config('app.tenant', $1, true)", ours.tenant)
            rows = await connection.fetch("select device_id, soc_pct from v_telemetry order by ts")
        assert [tuple(row) for row in rows] == [(ours.device, soc) for soc in (0, 1, 2, 9)]

        await connection.execute("delete from metrics where box_id = $1", ours.box)
        count = "select count(*) from telemetry where device_key = $1"
        assert await connection.fetchval(count, ours.key) == 0
        assert await connection.fetchval(count, theirs.key) == 3


async def test_late_windows_never_start_before_the_oldest_raw_data(timescale_database: Database) -> None:
    async with timescale_database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, DAY, {"soc_pct": 50})
        await connection.execute(
            "insert into rollup_dirty (device_key, hour) values ($1, '2020-01-01 05:00+00')", fleet.key
        )
        while await connection.fetchval("select refresh_rollups()"):
            pass

        windows = await connection.fetch("select * from late_rollup_windows(1000)")

        assert [w["rollup"] for w in windows if w["starts_at"].year == 2020] == [None]
        rollups = [w["rollup"] for w in windows if w["rollup"]]
        assert rollups == sorted(rollups, key=[f"telemetry_{level}" for level in LEVELS].index)
        await refresh(connection)
        assert await connection.fetchval("select count(*) from rollup_late") == 0


async def test_a_plain_database_with_rows_is_converted_when_the_server_has_learned_timescaledb() -> None:
    # T-063, X24
    extension = "007_timescaledb.sql"
    without = [each for each in read_migrations() if each.name != extension]
    with timescale_server() as url:
        assert await run(Settings(database_url=url), without) == 0
        async with Database(url, "plain").connect() as connection:
            fleet = await a_fleet(connection)
            for minute in (0, 1, 90):
                at = DAY + timedelta(minutes=minute)
                await add_sample(connection, fleet.key, at, {"soc_pct": 50, "energy_import_wh": 100 - minute})
                await add_other(connection, fleet.key, at, "fan_rpm", 1200)
            await refresh(connection)
            # History whose raw data are gone must survive, too.
            await connection.execute("delete from telemetry where ts < $1", DAY + timedelta(hours=1))
            before = await _everything(connection)
            assert before["kinds"] == "prr"

        assert await run(Settings(database_url=url), read_migrations()) == 0

        async with Database(url, "timescale").connect() as connection:
            after = await _everything(connection)
            assert after.pop("kinds") == "rvv"
            before.pop("kinds")
            assert after == before
            late = DAY + timedelta(minutes=91)
            await add_sample(connection, fleet.key, late, {"soc_pct": 70, "energy_import_wh": 11})
            await refresh(connection)
            assert (
                await connection.fetchval("select soc_pct_max from telemetry_1h where bucket > $1", DAY) == 70
            )


async def _everything(connection: Any) -> dict[str, Any]:
    """Whatever a conversion must keep."""
    answers: dict[str, Any] = {
        "kinds": await connection.fetchval(
            "select string_agg(relkind::text, '' order by relname) from pg_class"
            " where oid in ('telemetry'::regclass, 'telemetry_1h'::regclass, 'telemetry_1m'::regclass)"
        )
    }
    for level in LEVELS:
        answers[level] = await connection.fetch(
            f"select * from telemetry_{level} order by device_key, bucket"
        )
    for name in ("telemetry", "telemetry_other", "metrics"):
        answers[name] = await connection.fetch(f"select * from {name} order by ts, 1, 2, 3, 4")
    return {
        name: [tuple(row) for row in rows] if isinstance(rows, list) else rows
        for name, rows in answers.items()
    }


async def test_a_table_with_rows_that_never_was_partitioned_is_converted_in_place() -> None:
    # T-063
    with timescale_server() as url:
        async with Database(url, "timescale").connect() as connection:
            columns = ", ".join(f"{name} double precision" for name in COLUMNS)
            old = migration(
                "000_old.sql",
                f"create table telemetry (device_key int not null, ts timestamptz not null, {columns},"
                " quality smallint not null default 0);"
                " insert into telemetry (device_key, ts, soc_pct)"
                " values (1, now() - interval '3 days', 5), (1, now(), 6);",
            )
            await migrate(connection, [old, *read_migrations()])

            assert await connection.fetchval("select sum(soc_pct) from telemetry") == 11
            assert await connection.fetchval("select count(*) from show_chunks('telemetry')") == 2
