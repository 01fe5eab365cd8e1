"""Every part of the path is killed under load: what was spooled is in the database exactly once."""

import asyncio
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from overwatt.topics import AGENT_EVENT
from scripts.local.ports import HOST, Ports
from services.runtime import bus
from services.runtime.bus import Record
from services.runtime.group import Stuck, Watch
from tests.integration.ingest.conftest import (
    WITHIN_S,
    Platform,
    Spool,
    Wire,
    a_device,
    metric,
    until_metric,
)

BATCHES, ROWS_EACH = 120, 50
ONCE = """
select count(*) n, count(distinct ts) keys, sum(active_power_w) total from telemetry where device_key = $1"""


async def assert_exactly_once(path: Platform, key: int, rows: int) -> None:
    """Every sample that was spooled, and no other: the sample number n has the value n."""
    [found] = await path.fetch(ONCE, key)
    assert (found["n"], found["keys"]) == (rows, rows)
    assert found["total"] == rows * (rows - 1) / 2


async def test_the_checker_notices_a_row_that_was_removed_by_hand(
    platform_path: Platform, tenant: str
) -> None:
    path, agent = platform_path, a_device(tenant, "site-1", type="agent")
    await path.know(agent)
    with path.device(tenant, "site-1") as wire:
        await Spool(wire, epoch=5, batches=4, rows=10).until_empty()
    await assert_exactly_once(path, agent.device_key, 40)

    await path.fetch("delete from telemetry where device_key = $1 and active_power_w = 17", agent.device_key)

    with pytest.raises(AssertionError):
        await assert_exactly_once(path, agent.device_key, 40)


@pytest.mark.parametrize("part", ["ingest-writer", "ingest-gateway", "mosquitto", "kafka", "postgres"])
async def test_nothing_is_lost_or_doubled_when_a_part_is_killed(
    platform_path: Platform, tenant: str, part: str
) -> None:
    path, agent = platform_path, a_device(tenant, "site-1", type="agent")
    await path.know(agent)

    with path.device(tenant, "site-1") as wire:
        spool = Spool(wire, epoch=5, batches=BATCHES, rows=ROWS_EACH)
        await spool.send(BATCHES // 3)
        wire.committed(5, 1, ROWS_EACH)  # the path is at work
        sending = asyncio.create_task(spool.send())
        await asyncio.to_thread(path.stack.kill_part, part, signal.SIGKILL)
        await sending
        await asyncio.to_thread(path.stack.start, part)
        await spool.until_empty()

    await assert_exactly_once(path, agent.device_key, BATCHES * ROWS_EACH)


async def test_a_simple_devices_messages_wait_in_the_broker_while_kafka_is_away(
    platform_path: Platform, tenant: str
) -> None:  # P-045
    path, sensor = platform_path, a_device(tenant, "sensor-001")
    await path.know(sensor)
    messages = QUEUE_SIZE * 3
    paused = await metric(path.stack.ports.gateway_health, "ingest_pauses_total")

    with path.device(tenant, "sensor-001") as wire:
        await asyncio.to_thread(path.stack.kill_part, "kafka", signal.SIGKILL)
        for number in range(messages):
            wire.send({"metrics": {"temp_c": number}})
        await until_metric(path.stack.ports.gateway_health, "ingest_queue_depth", QUEUE_SIZE)
        assert await metric(path.stack.ports.gateway_health, "ingest_pauses_total") == paused + 1
        await asyncio.to_thread(path.stack.start, "kafka")

    query = "select count(distinct temp_c) from telemetry where device_key = $1"
    await path.until(query, sensor.device_key, is_true=lambda count: count == messages)


async def test_a_writer_that_slept_through_a_rebalance_writes_nothing_twice(
    platform_path: Platform, tenant: str
) -> None:
    path, agent = platform_path, a_device(tenant, "site-1", type="agent")
    await path.know(agent)
    path.stack.stop_part("ingest-writer")

    async with another(
        path, "writer", "ingest-writer", TIMESCALE_FLUSH_INTERVAL_MS="5000", TIMESCALE_BATCH_SIZE="100000"
    ) as (zombie, health):
        await until_ready(health)
        with path.device(tenant, "site-1") as wire:
            spool = Spool(wire, epoch=5, batches=20, rows=50)
            await spool.send()
            await until_metric(health, "ingest_buffered_rows", 1_000)
            os.kill(zombie, signal.SIGSTOP)
            await asyncio.to_thread(path.stack.start, "ingest-writer")
            await committed(wire, 1_000)
            os.kill(zombie, signal.SIGCONT)
            # Awake again, it has to find out that what it holds is not its own any more.
            await until_metric(health, "ingest_buffered_rows", 0)
            await spool.until_empty()

    await assert_exactly_once(path, agent.device_key, 1_000)


async def test_a_consumer_that_is_replaced_while_kafka_is_away_reads_on_when_it_is_back(
    platform_path: Platform, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kafka = platform_path, platform_path.stack.env()["KAFKA_BOOTSTRAP"]
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    gone, replaced = asyncio.Event(), asyncio.Event()

    class StuckWhileGone(Watch):
        async def look(self, now_s: float) -> None:
            if gone.is_set() and not replaced.is_set():
                replaced.set()
                raise Stuck("Kafka is away")

    async def keep(records: Sequence[Record]) -> None:
        for record in records:
            arrived.put_nowait(record.value)

    monkeypatch.setattr(bus, "Watch", StuckWhileGone)
    async with asyncio.timeout(3 * WITHIN_S), asyncio.TaskGroup() as group:
        consuming = group.create_task(bus.consume(kafka, [AGENT_EVENT], group=tenant, handle=keep))
        await path.produce(AGENT_EVENT, tenant, b"before")
        while await arrived.get() != b"before":
            pass
        await asyncio.to_thread(path.stack.kill_part, "kafka", signal.SIGKILL)
        gone.set()
        await replaced.wait()
        await asyncio.to_thread(path.stack.start, "kafka")
        await path.produce(AGENT_EVENT, tenant, b"after")
        while await arrived.get() != b"after":
            pass
        assert not consuming.done()
        consuming.cancel()


QUEUE_SIZE = 50
"""INGEST_QUEUE_SIZE of these tests."""


async def committed(wire: Wire, last: int) -> None:
    await asyncio.to_thread(wire.committed, 5, 1, last)


@asynccontextmanager
async def another(path: Platform, process: str, like: str, **settings: str) -> AsyncIterator[tuple[int, int]]:
    """One more process of ingest: its pid and the port of its metrics."""
    health = Ports.free().writer_health
    environment = path.stack.service_env(like) | settings | {"HEALTH_PORT": str(health)}
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ingest", process,
        env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield started.pid, health
    finally:
        started.kill()
        await started.wait()


async def until_ready(port: int) -> None:
    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    async with asyncio.timeout(WITHIN_S):
        while not await asyncio.to_thread(is_ready):
            await asyncio.sleep(0.1)
