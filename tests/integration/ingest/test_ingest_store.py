"""One flush on real PostgreSQL, as the role of the service: fenced, merged, bisected, exactly once."""

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from overwatt.quantities import BY_NAME
from overwatt.topics import TELEMETRY
from overwatt.v1.telemetry_pb2 import Ack, Block, Column, Record
from services.ingest import store
from services.ingest.flush import Fenced, Flush, Taken
from services.runtime.clock import to_us
from services.runtime.postgres import Pool, connect_pool, transaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
AT_US = to_us(NOW) - 60_000_000
NAN = float("nan")


def a_record(
    columns: dict[str, Sequence[float]],
    *,
    key: int = 1,
    first_seq: int = 1,
    epoch: int = 9,
    at_us: int = AT_US,
) -> Record:
    """A second between rows."""
    rows = len(next(iter(columns.values())))
    made = []
    for name, values in columns.items():
        data = struct.pack(f"<{rows}d", *values)
        known = BY_NAME.get(name)
        made.append(Column(quantity=known.number, values=data) if known else Column(metric=name, values=data))
    block = Block(
        asset="bat-1",
        device_key=key,
        ts_us=struct.pack(f"<{rows}q", *(at_us + i * 1_000_000 for i in range(rows))),
        seq_offset=struct.pack(f"<{rows}I", *range(rows)),
        columns=made,
    )
    return Record(tenant="t", device="agent", epoch=epoch, first_seq=first_seq, blocks=[block])


class Bench:
    """A writer's flushes without its Kafka: offsets count up by themselves."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.flush = self.another()
        self.offset = 0

    def another(self) -> Flush:
        """A flush as a writer that was just started makes it."""
        return Flush(pool=self.pool, owner=uuid4(), retention_days=90)

    async def begin(self) -> None:
        async with transaction(self.pool) as db:
            await store.set_offset(db, TELEMETRY, 0, 0, uuid4())

    async def write(self, *records: Record, now: datetime = NOW) -> Ack:
        """What the agent is told."""
        taken = Taken(records, [(0, self.offset, self.offset + 1)])
        outcomes = await self.flush.store(taken, now)
        self.offset += 1
        return outcomes[0].ack

    async def fetch(self, query: str) -> list[Any]:
        async with self.pool.acquire() as db:
            return list(await db.fetch(query))


@pytest.fixture
async def bench(role_url: Callable[[str], str]) -> AsyncIterator[Bench]:
    async with connect_pool(role_url("ingest"), name="test") as pool:
        bench = Bench(pool)
        await bench.begin()
        yield bench


def committed(ack: Ack) -> list[tuple[int, int]]:
    return [(span.first, span.last) for span in ack.committed]


def refused(ack: Ack) -> dict[str, list[tuple[int, int]]]:
    return {each.reason: [(span.first, span.last) for span in each.ranges] for each in ack.refused}


async def test_rows_of_any_columns_are_stored_with_their_gaps(bench: Bench) -> None:
    ack = await bench.write(
        a_record({"temp_c": [1, NAN, 3], "soc_pct": [NAN, NAN, 9], "door": [NAN, 1, 0]}),
        a_record({"door": [5]}, key=2, first_seq=4),
    )

    assert committed(ack) == [(1, 4)]
    rows = await bench.fetch("select device_key, temp_c, soc_pct from telemetry order by device_key, ts")
    assert [tuple(row) for row in rows] == [(1, 1, None), (1, None, None), (1, 3, 9), (2, None, None)]
    other = "select device_key, metric, value from telemetry_other join telemetry_series using (series_id)"
    assert sorted(map(tuple, await bench.fetch(other))) == [(1, "door", 0), (1, "door", 1), (2, "door", 5)]


async def test_who_does_not_hold_the_offset_stores_nothing(bench: Bench) -> None:
    zombie = bench.another()
    await bench.write(a_record({"temp_c": [1]}))

    with pytest.raises(Fenced):
        await zombie.store(Taken([a_record({"temp_c": [2]}, key=7)], [(0, 0, 1)]), NOW)

    assert await bench.fetch("select 1 from telemetry where device_key = 7") == []
    assert (await bench.fetch("select next_offset from ingest_offset"))[0][0] == 1


async def test_what_is_committed_is_acknowledged_again_and_not_stored_again(bench: Bench) -> None:
    await bench.write(a_record({"temp_c": [1, 2, 3]}))

    # Other values under numbers that are known: the numbers decide, before any row is looked at.
    ack = await bench.write(a_record({"temp_c": [7, 8, 9, 10]}))

    assert committed(ack) == [(1, 4)]
    rows = await bench.fetch("select temp_c from telemetry order by ts")
    assert [row[0] for row in rows] == [1, 2, 3, 10]
    assert (await bench.fetch("select ranges::text from ingest_committed"))[0][0] == "{[1,5)}"


@pytest.mark.parametrize("in_one_flush", [True, False])
async def test_the_same_key_from_another_epoch_merges_or_is_refused(bench: Bench, in_one_flush: bool) -> None:
    first = a_record({"temp_c": [1, 2, NAN, 4], "door": [NAN, 1, 1, 1]})
    again = a_record({"temp_c": [1, 7, 3, 4], "soc_pct": [5, 6, NAN, NAN], "door": [0, 1, 1, 2]}, epoch=10)

    if in_one_flush:
        await bench.write(first, again)
    else:
        await bench.write(first)
        ack = await bench.write(again)
        assert committed(ack) == [(1, 1), (3, 3)]
        assert refused(ack) == {"CONFLICTING_SAMPLE": [(2, 2), (4, 4)]}

    rows = await bench.fetch("select temp_c, soc_pct from telemetry order by ts")
    assert [tuple(row) for row in rows] == [(1, 5), (2, None), (3, None), (4, None)]
    other = await bench.fetch("select value from telemetry_other order by ts")
    assert [row[0] for row in other] == [0, 1, 1, 1]
    rejections = await bench.fetch("select reason, detail, payload from rejection order by id")
    assert [row["reason"] for row in rejections] == ["CONFLICTING_SAMPLE"] * 2
    assert b'"temp_c": 7' in rejections[0]["payload"]


async def test_a_row_that_the_database_refuses_is_found_and_the_others_land(
    bench: Bench, database_url: str
) -> None:
    await bench.write(a_record({"temp_c": [1]}, key=2))  # the day's partition is there
    owner = await asyncpg.connect(database_url)
    await owner.execute("alter table telemetry add constraint warm check (temp_c < 1000)")
    await owner.close()

    values = [float(i) for i in range(50)]
    values[17] = values[18] = 5_000
    ack = await bench.write(a_record({"temp_c": values}, epoch=10))

    assert refused(ack) == {"UNSTORABLE": [(18, 19)]}
    assert (await bench.fetch("select count(*) from telemetry where device_key = 1"))[0][0] == 48
    rejections = await bench.fetch("select * from rejection order by id")
    assert [row["reason"] for row in rejections] == ["UNSTORABLE"] * 2
    assert "warm" in rejections[0]["detail"]
    assert (rejections[0]["tenant_id"], rejections[0]["device_id"], rejections[0]["asset_id"]) == (
        "t", "agent", "bat-1",
    )  # fmt: skip


LIMIT = """
create function too_many() returns trigger language plpgsql as $$
begin
  if (select count(*) from rows) > 8 then
    raise 'tuple decompression limit exceeded by operation' using errcode = '53400';
  end if;
  return null;
end $$;
create trigger too_many after insert on telemetry referencing new table as rows
  for each statement execute function too_many()"""


async def test_a_statement_that_touches_more_than_the_database_allows_is_split_and_nothing_is_refused(
    bench: Bench, database_url: str
) -> None:
    """SQLSTATE 53400, as TimescaleDB raises it for late rows of compressed chunks."""
    await bench.write(a_record({"temp_c": [1]}, key=2))  # the day's partition is there
    owner = await asyncpg.connect(database_url)
    await owner.execute(LIMIT)
    await owner.close()

    ack = await bench.write(a_record({"temp_c": [float(i) for i in range(50)]}, epoch=10))

    assert refused(ack) == {}
    assert committed(ack) == [(1, 50)]
    assert (await bench.fetch("select count(*) from telemetry where device_key = 1"))[0][0] == 50


async def test_a_final_refusal_is_settled_and_a_later_one_is_asked_again(bench: Bench) -> None:
    ahead = a_record({"temp_c": [1]}, first_seq=1, at_us=AT_US + 3_600_000_000)
    infinite = a_record({"temp_c": [float("inf")]}, first_seq=2)
    old = a_record({"temp_c": [1]}, first_seq=3, at_us=AT_US - 81 * 86_400_000_000)

    ack = await bench.write(ahead, infinite, old)
    assert refused(ack) == {"NOT_A_NUMBER": [(2, 2)], "TIME_TOO_OLD": [(3, 3)], "TIME_IN_FUTURE": [(1, 1)]}
    later = await bench.write(ahead, infinite, old, now=NOW + timedelta(hours=1))

    assert committed(later) == [(1, 3)]
    assert len(await bench.fetch("select 1 from rejection")) == 3
    assert len(await bench.fetch("select 1 from telemetry")) == 1


async def test_many_refused_rows_are_ten_with_payload_and_a_number(bench: Bench) -> None:
    await bench.write(a_record({"temp_c": [float("inf")] * 25}))

    rows = await bench.fetch("select count, payload is not null as kept from rejection order by id")
    assert [tuple(row) for row in rows] == [(1, True)] * 10 + [(15, False)]


async def test_ten_a_minute_are_told_in_full_over_all_flushes(bench: Bench) -> None:
    told = "select count, payload is not null as kept from rejection order by id desc limit 4"

    def endless(first_seq: int, rows: int) -> Record:
        return a_record({"temp_c": [float("inf")] * rows}, first_seq=first_seq)

    await bench.write(endless(1, 8))
    await bench.write(endless(9, 4))
    assert [tuple(row) for row in await bench.fetch(told)][:3] == [(2, False), (1, True), (1, True)]
    await bench.write(endless(13, 3))
    assert tuple((await bench.fetch(told))[0]) == (3, False)

    await bench.write(endless(16, 1), now=NOW + timedelta(minutes=1))
    assert tuple((await bench.fetch(told))[0]) == (1, True)


async def test_hours_that_were_written_are_marked_for_the_rollups(bench: Bench) -> None:
    await bench.write(a_record({"temp_c": [1, 2]}, at_us=to_us(datetime(2026, 5, 1, 10, 59, 59, tzinfo=UTC))))

    rows = await bench.fetch("select * from rollup_dirty order by hour")
    assert [
        (row["device_key"], row["hour"].hour, row["first_minute"], row["last_minute"]) for row in rows
    ] == [
        (1, 10, 59, 59),
        (1, 11, 0, 0),
    ]


async def test_a_row_of_a_day_that_was_dropped_is_refused_alone(bench: Bench) -> None:
    async with transaction(bench.pool) as db:
        await store.drop_old(db, (NOW - timedelta(days=5)).date(), NOW)

    ack = await bench.write(
        a_record({"temp_c": [1]}, at_us=AT_US - 6 * 86_400_000_000), a_record({"temp_c": [2]}, first_seq=2)
    )

    assert (committed(ack), refused(ack)) == ([(2, 2)], {"UNSTORABLE": [(1, 1)]})
