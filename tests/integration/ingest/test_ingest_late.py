"""Samples older than two hours take a way of their own: exactly once too, and never in front of live ones."""

import asyncio
import signal
from datetime import UTC, datetime

import asyncpg

from overwatt.topics import LATE
from overwatt.v1.telemetry_pb2 import Record
from tests.integration.ingest.conftest import Platform, Spool, a_batch, a_device, now_us

HOUR_US = 3_600_000_000
COUNT = "select count(*) from telemetry where device_key = $1"


async def test_late_rows_are_stored_acknowledged_and_in_the_rollups_of_their_hours(
    platform_path: Platform, tenant: str
) -> None:
    path, agent = platform_path, a_device(tenant, "site-1", type="agent")
    sensor = a_device(tenant, "sensor-001")
    await path.know(agent, sensor)
    noon = (now_us() // HOUR_US - 50) * HOUR_US
    # Two late hours, one of today, all in one batch.
    times = [noon + HOUR_US, noon, noon + 60_000_000, now_us(), noon + HOUR_US + 1]

    with path.device(tenant, "site-1") as wire, path.device(tenant, "sensor-001") as simple:
        batch = a_batch(epoch=9, first_seq=1, times_us=times, power=[1, 2, 4, 8, 16])
        wire.send(batch)
        simple.send({"metrics": {"temp_c": 7}, "ts": noon / 1e6, "seq": 5})
        wire.committed(9, 1, 5)
        assert simple.answer(5)["committed"] == [[5, 5]]
        wire.got.clear()
        wire.send(batch)
        wire.committed(9, 1, 5)

    query = "select ts, active_power_w from telemetry where device_key = $1"
    rows = {row[0]: row[1] for row in await path.fetch(query, agent.device_key)}
    stored = {
        datetime.fromtimestamp(at / 1e6, UTC): power
        for at, power in zip(times, [1, 2, 4, 8, 16], strict=True)
    }
    assert rows == stored
    sums = "select array_agg(active_power_w_sum order by bucket) from telemetry_1h where device_key = $1"
    await path.until(sums, agent.device_key, is_true=lambda found: found == [6, 17, 8])
    days = "select temp_c_sum from telemetry_1d where device_key = $1"
    await path.until(days, sensor.device_key, is_true=lambda found: found == 7)
    late = [Record.FromString(one.value) for one in await path.kafka(LATE, partitions=4)]
    mine = [sum(len(block.ts_us) // 8 for block in one.blocks) for one in late if one.tenant == tenant]
    assert mine == [4, 4]  # never the live row, and the second time all were known


async def test_no_late_row_is_lost_or_doubled_when_the_writer_is_killed(
    platform_path: Platform, tenant: str
) -> None:
    path, agent = platform_path, a_device(tenant, "site-1", type="agent")
    await path.know(agent)

    with path.device(tenant, "site-1") as wire:
        spool = Spool(wire, epoch=5, batches=60, rows=50, ago_us=3 * HOUR_US)
        await spool.send(20)
        sending = asyncio.create_task(spool.send())
        await path.until(COUNT, agent.device_key)
        await asyncio.to_thread(path.stack.kill_part, "ingest-writer", signal.SIGKILL)
        await sending
        await asyncio.to_thread(path.stack.start, "ingest-writer")
        await spool.until_empty()

    [found] = await path.fetch(
        "select count(*) n, count(distinct ts) keys, sum(active_power_w) total from telemetry"
        " where device_key = $1",
        agent.device_key,
    )
    assert (found["n"], found["keys"], found["total"]) == (3_000, 3_000, 3_000 * 2_999 / 2)
    offsets = "select count(*) from ingest_offset where topic = 'telemetry.late' and next_offset > 0"
    assert (await path.fetch(offsets))[0][0] > 0


async def test_live_rows_do_not_wait_for_late_ones(platform_path: Platform, tenant: str) -> None:
    path, agent = platform_path, a_device(tenant, "site-1", type="agent")
    await path.know(agent)
    stuck = await asyncpg.connect(path.url)

    with path.device(tenant, "site-1") as wire:
        async with stuck.transaction():
            await stuck.execute("select from ingest_offset where topic = 'telemetry.late' for update")
            late = Spool(wire, epoch=5, batches=10, rows=50, ago_us=3 * HOUR_US)
            await late.send()
            wire.send(a_batch(epoch=6, first_seq=1, times_us=[now_us()], power=[1]))
            wire.committed(6, 1, 1)
            assert wire.seqs(5) == set()
        await late.until_empty()
    await stuck.close()
