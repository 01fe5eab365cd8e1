"""What only plain PostgreSQL needs: day partitions, retention by days, the refresh of rollups."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from db.files import read_migrations
from db.migrate import run
from db.settings import Settings
from tests.integration.db.builders import a_fleet, add_sample, refresh
from tests.integration.db.conftest import Database

DAY: Final = datetime(2026, 3, 1, tzinfo=UTC)
ROLLUPS: Final = ("telemetry_1m", "telemetry_15m", "telemetry_1h", "telemetry_1d")


@pytest.fixture
async def plain(empty_database: str) -> AsyncIterator[Any]:
    """An owner's connection to a database of its own: retention forgets for everybody in it."""
    assert await run(Settings(database_url=empty_database), read_migrations()) == 0
    connection = await asyncpg.connect(empty_database)
    yield connection
    await connection.close()


async def _days(connection: Any) -> list[str]:
    rows = await connection.fetch(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'telemetry'::regclass order by 1"
    )
    return [row["relname"].removeprefix("telemetry_p") for row in rows]


async def test_ingest_makes_the_partition_of_a_day_once(plain: Any) -> None:
    await plain.execute("set timezone = 'Asia/Tokyo'; set role ingest")
    for _ in range(2):
        await plain.execute("select ensure_telemetry_partition('2026-03-01')")

    await plain.execute("insert into telemetry (device_key, ts) values (1, '2026-03-01 23:59:59.999999+00')")

    await plain.execute("reset role")
    assert await _days(plain) == ["20260301"]


async def test_two_writers_may_ask_for_the_same_day_at_once(plain_database: Database) -> None:
    async def ask() -> None:
        async with plain_database.connect("ingest") as connection:
            await connection.execute("select ensure_telemetry_partition('2026-02-01')")

    await asyncio.gather(*(ask() for _ in range(5)))


async def test_a_partition_is_made_while_readers_read(plain_database: Database) -> None:
    async with plain_database.connect() as reader, plain_database.connect("ingest") as writer:
        async with reader.transaction():
            await reader.fetch("select count(*) from telemetry")
            await writer.execute("set lock_timeout = '200ms'")

            await writer.execute("select ensure_telemetry_partition('2026-02-02')")


async def test_retention_drops_whole_days_and_their_rollups_stay(plain: Any) -> None:
    # P-053, P-054
    fleet = await a_fleet(plain)
    for offset in range(3):
        await add_sample(plain, fleet.key, DAY + timedelta(days=offset, hours=1), {"active_power_w": 1})
    await refresh(plain)

    assert await plain.fetchval("select drop_telemetry_partitions('2026-03-03')") == 2

    assert await _days(plain) == ["20260303"]
    assert await plain.fetchval("select count(*) from telemetry_1d") == 3


async def test_a_refresh_never_touches_history_whose_raw_data_are_gone(plain: Any) -> None:
    fleet = await a_fleet(plain)
    await add_sample(plain, fleet.key, DAY + timedelta(hours=1), {"active_power_w": 7})
    await refresh(plain)
    await plain.execute("select drop_telemetry_partitions($1)", date(2026, 3, 2))

    await plain.execute(
        "insert into rollup_dirty (device_key, hour) values ($1, $2)", fleet.key, DAY + timedelta(hours=1)
    )
    await refresh(plain)

    assert await plain.fetchval("select active_power_w_sum from telemetry_1d") == 7
    assert await plain.fetchval("select count(*) from rollup_dirty") == 0


async def test_a_day_that_retention_dropped_is_not_made_again(plain: Any) -> None:
    await plain.execute("select drop_telemetry_partitions('2026-03-02')")

    with pytest.raises(
        asyncpg.CheckViolationError, match="was dropped by retention, 2026-03-01 is not kept any more"
    ):
        await plain.execute("select ensure_telemetry_partition('2026-03-01')")


async def test_data_that_commit_during_a_refresh_stay_dirty(plain: Any, empty_database: str) -> None:
    fleet = await a_fleet(plain)
    await add_sample(plain, fleet.key, DAY, {"active_power_w": 1})
    writer = await asyncpg.connect(empty_database)
    transaction = writer.transaction()
    await transaction.start()
    await add_sample(writer, fleet.key, DAY + timedelta(seconds=1), {"active_power_w": 2})

    await refresh(plain)
    await transaction.commit()
    await writer.close()
    await refresh(plain)

    assert await plain.fetchval("select active_power_w_sum from telemetry_1h") == 3


async def test_a_refresh_takes_no_more_than_its_limit_and_one_runs_at_a_time(
    plain: Any, empty_database: str
) -> None:
    fleet = await a_fleet(plain)
    for hour in range(3):
        for second in range(2):
            await add_sample(
                plain, fleet.key, DAY + timedelta(hours=hour, seconds=second), {"active_power_w": 1}
            )

    async with plain.transaction():
        assert await plain.fetchval("select refresh_rollups(2)") == 2
        other = await asyncpg.connect(empty_database)
        assert await other.fetchval("select refresh_rollups(2)") == 0
        await other.close()
    assert await plain.fetchval("select refresh_rollups(2)") == 1


async def test_ingest_may_refresh(plain: Any) -> None:
    fleet = await a_fleet(plain)
    await add_sample(plain, fleet.key, DAY, {"active_power_w": 1})
    await plain.execute("set role ingest")

    await refresh(plain)

    assert await plain.fetchval("select count(*) from telemetry_1d") == 1


async def test_rollups_of_the_minutes_that_were_written_equal_those_of_whole_hours(plain: Any) -> None:
    fleet, chance = await a_fleet(plain), random.Random(7)
    await plain.execute("select ensure_telemetry_partition($1)", DAY.date())
    quantities = ("active_power_w", "soc_pct", "energy_import_wh", "operating_state")
    for _ in range(40):
        minute = chance.randrange(180)
        for second in sorted(chance.sample(range(60), 3)):
            at = DAY + timedelta(minutes=minute, seconds=second)
            filled = chance.sample(quantities, chance.randint(1, 4))
            await plain.execute(
                f"insert into telemetry (device_key, ts, quality, {', '.join(filled)}) values ($1, $2, $3, "
                + ", ".join(str(chance.randrange(100)) for _ in filled)
                + ") on conflict do nothing",
                fleet.key,
                at,
                chance.choice((0, 0, 0, 2)),
            )
        await plain.execute(
            "insert into rollup_dirty (device_key, hour, first_minute, last_minute) values ($1, $2, $3, $3)",
            fleet.key,
            DAY + timedelta(hours=minute // 60),
            minute % 60,
        )
        await plain.fetchval("select refresh_rollups(10)")
    piece_by_piece = [await plain.fetch(f"select * from {name} order by 1, 2") for name in ROLLUPS]
    resets = await plain.fetch("select * from counter_reset order by 1, 2, 3")

    await plain.execute(
        "update telemetry_1m set n = -1, active_power_w_last = -1, energy_import_wh_first = -1"
    )
    for hour in range(3):
        await plain.execute(
            "insert into rollup_dirty (device_key, hour) values ($1, $2)",
            fleet.key,
            DAY + timedelta(hours=hour),
        )
    await refresh(plain)

    assert piece_by_piece == [await plain.fetch(f"select * from {name} order by 1, 2") for name in ROLLUPS]
    assert len(resets) > 5
    assert resets == await plain.fetch("select * from counter_reset order by 1, 2, 3")
    for picked, order in (("first", "ts"), ("last", "ts desc")):
        stored = await plain.fetch(
            f"select bucket, energy_import_wh_{picked} as v from telemetry_1m"
            f" where energy_import_wh_{picked} is not null order by 1"
        )
        assert stored == await plain.fetch(
            "select distinct on (date_trunc('minute', ts)) date_trunc('minute', ts) as bucket,"
            " energy_import_wh as v from telemetry where energy_import_wh is not null and quality < 2"
            f" order by 1, {order}"
        )
