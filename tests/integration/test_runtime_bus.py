"""The bus on real Kafka: nothing is committed before its effect, and a compacted topic reads into a dict."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.runtime.bus import Record, consume, consumer, follow, producer
from services.runtime.errors import Unavailable
from services.runtime.topics import create_topics


@pytest.fixture
async def topic(kafka: str) -> str:
    name = f"test-{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
    finally:
        await admin.close()
    return name


async def test_topics_are_created_once(kafka: str) -> None:
    await create_topics(kafka)
    assert await create_topics(kafka) == []


async def test_a_batch_whose_handling_failed_is_handed_over_again_before_anything_later(
    kafka: str, topic: str
) -> None:
    seen: list[bytes] = []
    failures = [Unavailable("database away"), Unavailable("database away")]
    enough = asyncio.Event()

    async def handle(records: Sequence[Record]) -> None:
        if failures:
            raise failures.pop()
        seen.extend(record.value for record in records)
        if len(seen) == 5:
            enough.set()

    async with producer(kafka, name="test") as bus:
        for number in range(5):
            await bus.send(topic, "key", str(number).encode(), partition=0)
    task = asyncio.create_task(consume(kafka, [topic], group=topic, handle=handle))
    await asyncio.wait_for(enough.wait(), 30)
    task.cancel()

    assert seen == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_producer_that_kafka_refuses_for_a_gap_in_its_numbers_is_replaced(
    kafka: str, topic: str
) -> None:
    """What Kafka could not write, for want of a disk, leaves such a gap: all that follows is refused."""
    async with producer(kafka, name="test") as bus:
        await bus.send(topic, "key", b"0", partition=0)
        numbers = bus._inner._txn_manager
        numbers.increment_sequence_number(TopicPartition(topic, 0), 3)
        with pytest.raises(Unavailable, match="OutOfOrderSequenceNumber"):
            await bus.send(topic, "key", b"refused", partition=0)

        await bus.send(topic, "key", b"1", partition=0)
        await asyncio.gather(*[bus.send(topic, "key", b"2", partition=0) for _ in range(3)])

    values: list[bytes] = []
    async with consumer(kafka, [topic], group=None) as source:
        while len(values) < 5:
            for records in (await source.getmany(timeout_ms=500)).values():
                values += [record.value for record in records]
    assert values == [b"0", b"1", b"2", b"2", b"2"]


async def test_a_consumer_that_died_before_its_commit_gets_the_batch_again(kafka: str, topic: str) -> None:
    async with producer(kafka, name="test") as bus:
        await bus.send(topic, "key", b"once", partition=0)

    async def die(records: Sequence[Record]) -> None:
        raise RuntimeError("killed in the middle")

    with pytest.raises(RuntimeError):
        await asyncio.wait_for(consume(kafka, [topic], group=topic, handle=die), 30)
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(records: Sequence[Record]) -> None:
        for record in records:
            arrived.put_nowait(record.value)

    task = asyncio.create_task(consume(kafka, [topic], group=topic, handle=keep))
    assert await asyncio.wait_for(arrived.get(), 30) == b"once"
    task.cancel()


async def test_a_followed_topic_is_loaded_to_its_end_and_then_stays_live(kafka: str, topic: str) -> None:
    table: dict[bytes, bytes] = {}
    changed = asyncio.Event()
    loaded = asyncio.Event()

    def apply(record: Record) -> None:
        if record.value is None:
            table.pop(record.key, None)
        else:
            table[record.key] = record.value
        changed.set()

    async with producer(kafka, name="test") as bus:
        await bus.send(topic, "a", b"1", partition=0)
        await bus.send(topic, "b", b"2", partition=1)
        task = asyncio.create_task(follow(kafka, topic, apply=apply, loaded=loaded))
        await asyncio.wait_for(loaded.wait(), 30)
        assert table == {b"a": b"1", b"b": b"2"}

        changed.clear()
        await bus.send(topic, "a", None, partition=0)
        await asyncio.wait_for(changed.wait(), 30)
        assert table == {b"b": b"2"}
        task.cancel()


async def test_an_empty_topic_is_loaded_too(kafka: str, topic: str) -> None:
    loaded = asyncio.Event()
    task = asyncio.create_task(follow(kafka, topic, apply=lambda _: None, loaded=loaded))
    await asyncio.wait_for(loaded.wait(), 30)
    task.cancel()
