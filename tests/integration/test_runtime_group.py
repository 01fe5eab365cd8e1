"""A consumer's place in its group: errors that aiokafka looks past, and members that do not go on."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from services.runtime import bus
from services.runtime.bus import Record, consume, consumer, producer
from services.runtime.group import JOIN_WITHIN_S, LOOK_EVERY_S, Stuck, Watch


@pytest.fixture
async def topic(kafka: str) -> str:
    name = f"test-{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        await admin.close()
    return name


async def send(kafka: str, topic: str, *values: bytes) -> None:
    async with producer(kafka, name="test") as out:
        for value in values:
            await out.send(topic, "key", value, partition=0)


@pytest.mark.parametrize("error", [GroupLoadInProgressError, NotCoordinatorForGroupError])
async def test_a_broker_that_still_loads_its_groups_does_not_make_a_consumer_begin_anew(
    kafka: str, topic: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What such a broker answers: no topic, and one error for all of it (Kafka's OffsetFetch from v2 on)."""
    await send(kafka, topic, b"read before")
    async with consumer(kafka, [topic], group=topic) as source:
        [[record]] = (await source.getmany(timeout_ms=20_000)).values()
        await source.commit()
    await send(kafka, topic, b"new")
    answers = [OffsetFetchResponse_v3(0, [], error.errno)] * 2  # type: ignore[attr-defined]
    real = AIOKafkaConsumer.start

    async def start(self: AIOKafkaConsumer) -> None:
        await real(self)
        send_req = self._coordinator._send_req

        async def loading(request: Any) -> Any:
            if isinstance(request, OffsetFetchRequest) and answers:
                return answers.pop()
            return await send_req(request)

        self._coordinator._send_req = loading

    monkeypatch.setattr(AIOKafkaConsumer, "start", start)
    async with consumer(kafka, [topic], group=topic) as source:
        [[record]] = (await source.getmany(timeout_ms=20_000)).values()

    assert record.value == b"new"
    assert answers == []


async def test_a_member_without_a_place_is_stuck_after_a_while(kafka: str, topic: str) -> None:
    async with consumer(kafka, [topic], group=topic) as source:
        await source.position(TopicPartition(topic, 0))
        watch = Watch(source, 0.0)
        await watch.look(JOIN_WITHIN_S)
        source._coordinator._coordination_task.cancel()
        source._coordinator.reset_generation()

        await watch.look(2 * JOIN_WITHIN_S)
        with pytest.raises(Stuck, match="no place"):
            await watch.look(2 * JOIN_WITHIN_S + 1)


async def test_records_that_wait_and_do_not_come_are_noticed_and_those_of_a_paused_partition_are_not(
    kafka: str, topic: str
) -> None:
    await send(kafka, topic, b"waits")
    async with consumer(kafka, [topic], group=topic) as source:
        await source.position(TopicPartition(topic, 0))
        watch, at = Watch(source, 0.0), LOOK_EVERY_S + 1
        source.pause(*source.assignment())
        await watch.look(at)
        await watch.look(2 * at)
        source.resume(*source.assignment())

        await watch.look(3 * at)
        watch.has_read()
        await watch.look(4 * at)
        with pytest.raises(Stuck, match="wait and were not read"):
            await watch.look(5 * at)


async def test_a_stuck_consumer_is_replaced_and_nothing_is_skipped(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck: list[Stuck] = []
    seen: list[bytes] = []
    done = asyncio.Event()

    class StuckOnce(Watch):
        async def look(self, now_s: float) -> None:
            if not stuck:
                stuck.append(Stuck("lost its place"))
                raise stuck[0]

    async def handle(records: Sequence[Record]) -> None:
        seen.extend(record.value for record in records)
        if b"last" in seen:
            done.set()

    monkeypatch.setattr(bus, "Watch", StuckOnce)
    await send(kafka, topic, b"first")
    task = asyncio.create_task(consume(kafka, [topic], group=topic, handle=handle))
    async with asyncio.timeout(30):
        while not stuck:
            await asyncio.sleep(0.1)
        await send(kafka, topic, b"last")
        await done.wait()
    task.cancel()

    assert seen == [b"first", b"last"]


async def test_stopping_a_consumer_whose_broker_is_away_does_not_look_like_a_cancellation() -> None:
    """Its fetch is waiting to be tried again: aiokafka's stop ends in the CancelledError of that."""
    source = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1")

    async def fetch_again_later() -> None:
        await asyncio.sleep(3_600)

    async def stop() -> None:
        fetch = asyncio.create_task(fetch_again_later())
        await asyncio.sleep(0)
        fetch.cancel()
        await fetch

    source.stop = stop
    reached = False

    async with asyncio.TaskGroup() as group:

        async def whoever_called() -> None:
            nonlocal reached
            await bus._stop(source)
            reached = True

        group.create_task(whoever_called())

    assert reached
