"""Kafka, as the services use it: at least once, in order per key, nothing committed before its effect.

aiokafka does the talking. What stands here is the policy: idempotent producer, acks from all replicas,
a deadline on each send (with idempotence aiokafka itself waits for ever), explicit commits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.runtime.errors import Unavailable
from services.runtime.group import Stuck, Watch, give_up, heed_errors, join
from services.runtime.log import get_logger
from services.runtime.retry import until_available

log = get_logger(__name__)

SEND_DEADLINE_S: Final = 30.0
GOODBYE_S: Final = 3.0
COMMIT_WITHIN_S: Final = 30.0
STARTS_OVER_S: Final = 1.0
MAX_RECORD_BYTES: Final = 1_048_576

Record: TypeAlias = ConsumerRecord


class Producer:
    """Sends records and says when they are safe."""

    def __init__(self, make: Callable[[], AIOKafkaProducer], bootstrap: str) -> None:
        self._make = make
        self._bootstrap = bootstrap
        self._inner = make()
        self._is_spent = False
        self._renewing = asyncio.Lock()

    async def start(self) -> None:
        """Raises Unavailable."""
        await _start(self._inner, self._bootstrap)

    async def stop(self) -> None:
        """What is not safe within seconds never is."""
        await _stop(self._inner)

    async def enqueue(
        self, topic: str, key: str, value: bytes | None, *, partition: int | None = None
    ) -> "asyncio.Future[object]":
        """Hand a record over; the future is done when all replicas have it. Raises Unavailable."""
        if self._is_spent:
            await self._renew()
        inner = self._inner
        try:
            future: asyncio.Future[object] = await inner.send(
                topic, value, key=key.encode(), partition=partition
            )
        except KafkaError as error:
            raise Unavailable(f"Kafka: cannot send to {topic}: {error!r}") from error
        future.add_done_callback(partial(self._heed, inner))
        return future

    def _heed(self, inner: AIOKafkaProducer, future: "asyncio.Future[object]") -> None:
        # A record that Kafka refused (its disk was full) leaves a gap in the numbers of its partition: all
        # that this producer sends there from now on is refused as out of order, for ever.
        if inner is self._inner and not future.cancelled() and future.exception():
            self._is_spent = True

    async def _renew(self) -> None:
        async with self._renewing:
            if not self._is_spent:
                return
            log.warning("producer starts over: Kafka refused a record")
            await _stop(self._inner)
            inner = self._make()
            try:
                await _start(inner, self._bootstrap)
            except BaseException:
                await _stop(inner)
                raise
            self._inner, self._is_spent = inner, False

    async def send(self, topic: str, key: str, value: bytes | None, *, partition: int | None = None) -> None:
        """Send a record and wait until it is safe. Raises Unavailable; the record may then still arrive."""
        await self.settle([await self.enqueue(topic, key, value, partition=partition)])

    async def partitions(self, topic: str) -> int:
        """How many a topic has; waits until it exists."""

        async def ask() -> int:
            try:
                return len(await self._inner.partitions_for(topic))
            except KafkaError as error:
                raise Unavailable(f"Kafka has no topic {topic}: {error!r}") from error

        return await until_available(f"count the partitions of {topic}", ask)

    async def settle(self, futures: Sequence["asyncio.Future[object]"]) -> None:
        """Wait until all these records are safe. Raises Unavailable; some may then still arrive."""
        if not futures:
            return
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.gather(*futures)), SEND_DEADLINE_S)
        except (KafkaError, TimeoutError) as error:
            raise Unavailable(f"Kafka did not take the records: {error!r}") from error


@asynccontextmanager
async def producer(bootstrap: str, *, name: str, linger_ms: int = 3) -> AsyncIterator[Producer]:
    """A producer; waits until Kafka can be reached."""

    def make() -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=name,
            enable_idempotence=True,
            linger_ms=linger_ms,
            max_batch_size=262_144,
            max_request_size=MAX_RECORD_BYTES,
            retry_backoff_ms=200,
        )

    out = Producer(make, bootstrap)
    await until_available("connect to Kafka", out.start)
    try:
        yield out
    finally:
        await out.stop()


async def consume(
    bootstrap: str,
    topics: Sequence[str],
    *,
    group: str,
    handle: Callable[[Sequence[Record]], Awaitable[None]],
    from_latest: bool = False,
    max_records: int = 500,
    ready: asyncio.Event | None = None,
) -> None:
    """Hand batches of records to `handle` for ever and commit after it has returned.

    A batch whose handling raises Unavailable is handed over again after a pause. `handle` must bear being
    given the same record twice, and must put aside what it can never use. A consumer that lost its place
    in the group for good is replaced.
    """
    while True:
        try:
            async with consumer(bootstrap, topics, group=group, from_latest=from_latest) as source:
                if ready:
                    ready.set()
                await _hand_over(source, topics, handle, max_records)
        except (KafkaError, Stuck) as error:
            log.error("consumer starts over", topics=topics, group=group, error=repr(error))
            await asyncio.sleep(STARTS_OVER_S)


async def _hand_over(
    source: AIOKafkaConsumer,
    topics: Sequence[str],
    handle: Callable[[Sequence[Record]], Awaitable[None]],
    max_records: int,
) -> None:
    now_s = asyncio.get_running_loop().time
    watch = Watch(source, now_s())
    while True:
        batches = await source.getmany(timeout_ms=1_000, max_records=max_records)
        records = [record for batch in batches.values() for record in batch]
        if not records:
            await watch.look(now_s())
            continue
        watch.has_read()
        await until_available(f"handle {', '.join(topics)}", lambda records=records: handle(records))  # type: ignore[misc]
        try:
            # It repeats by itself while the coordinator is away, for ever.
            async with asyncio.timeout(COMMIT_WITHIN_S):
                await source.commit(
                    {partition: batch[-1].offset + 1 for partition, batch in batches.items() if batch}
                )
        except (KafkaError, TimeoutError) as error:
            log.warning("offsets not committed; the batch may come again", topics=topics, error=repr(error))


async def follow(
    bootstrap: str, topic: str, *, apply: Callable[[Record], None], loaded: asyncio.Event
) -> None:
    """Read a compacted topic from its beginning and stay with it; `loaded` is set once at its end."""
    async with consumer(bootstrap, [], group=None) as source:
        partitions = await until_available(f"find topic {topic}", lambda: _partitions(source, topic))
        source.assign(partitions)
        ends = await until_available("read the end offsets", lambda: _end_offsets(source, partitions))
        await source.seek_to_beginning(*partitions)
        while True:
            if not loaded.is_set() and await _is_at(source, ends):
                loaded.set()
            batches = await source.getmany(timeout_ms=500 if loaded.is_set() else 100)
            for batch in batches.values():
                for record in batch:
                    apply(record)


async def tail(
    bootstrap: str,
    topic: str,
    *,
    handle: Callable[[Sequence[Record]], Awaitable[None]],
    ready: asyncio.Event,
) -> None:
    """Hear all that is said on a topic from now on, without a group; once `ready` nothing is missed."""
    async with consumer(bootstrap, [], group=None) as source:
        partitions = await until_available(f"find topic {topic}", lambda: _partitions(source, topic))
        source.assign(partitions)
        ends = await until_available("read the end offsets", lambda: _end_offsets(source, partitions))
        for partition, end in ends.items():
            source.seek(partition, end)
        ready.set()
        while True:
            for batch in (await source.getmany(timeout_ms=1_000)).values():
                await handle(batch)


async def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Behind the last record of each partition. Waits until Kafka can be reached."""
    async with consumer(bootstrap, [], group=None) as source:
        partitions = await until_available(f"find topic {topic}", lambda: _partitions(source, topic))
        ends = await until_available("read the end offsets", lambda: _end_offsets(source, partitions))
    return {partition.partition: end for partition, end in ends.items()}


@asynccontextmanager
async def consumer(
    bootstrap: str, topics: Sequence[str], *, group: str | None, from_latest: bool = False
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that commits nothing by itself; waits until Kafka can be reached, and has given it its
    partitions if there are topics. Raises Stuck or KafkaError when that fails."""
    inner = AIOKafkaConsumer(
        *([] if group else topics),
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="latest" if from_latest else "earliest",
        fetch_max_wait_ms=500,
        max_partition_fetch_bytes=4 * MAX_RECORD_BYTES,
        session_timeout_ms=10_000,
        heartbeat_interval_ms=2_000,
        max_poll_interval_ms=300_000,
        # A member that was killed in the middle of a rebalance holds the others up no longer than this.
        rebalance_timeout_ms=30_000,
        retry_backoff_ms=200,
    )
    await until_available("connect to Kafka", lambda: _start(inner, bootstrap))
    try:
        if group:
            heed_errors(inner._coordinator)
            if topics:
                await join(inner, topics)
        yield inner
    finally:
        await _stop(inner)
        if group:
            give_up(inner._coordinator)


async def _start(client: AIOKafkaProducer | AIOKafkaConsumer, bootstrap: str) -> None:
    try:
        await client.start()
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {bootstrap}: {error!r}") from error


async def _stop(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    # With Kafka away an idempotent producer waits for ever to flush: what was not safe was not acknowledged.
    # A task of its own: with Kafka away stopping a consumer ends in a CancelledError of aiokafka's inside,
    # and a task group would take whoever called for cancelled, and never miss it.
    stopping = asyncio.ensure_future(client.stop())
    try:
        await asyncio.wait([stopping], timeout=GOODBYE_S)
    finally:
        stopping.cancel()
    await asyncio.wait([stopping], timeout=GOODBYE_S)
    if not stopping.done() or stopping.cancelled() or stopping.exception():
        log.warning("Kafka client left without a goodbye")
        connections = client.client if isinstance(client, AIOKafkaProducer) else client._client
        await asyncio.wait([asyncio.ensure_future(connections.close())], timeout=GOODBYE_S)


async def _partitions(source: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    try:
        await source._client.force_metadata_update()
        found = source.partitions_for_topic(topic)
        if not found:
            cluster = await source._client.fetch_all_metadata()
            found = cluster.partitions_for_topic(topic)
    except KafkaError as error:
        raise Unavailable(f"Kafka: {error!r}") from error
    if not found:
        raise Unavailable(f"Kafka has no topic {topic}; run `python -m services.runtime.topics`")
    return [TopicPartition(topic, number) for number in sorted(found)]


async def _end_offsets(
    source: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    try:
        ends: dict[TopicPartition, int] = await source.end_offsets(partitions)
    except KafkaError as error:
        raise Unavailable(f"Kafka: {error!r}") from error
    return ends


async def _is_at(source: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        if await source.position(partition) < end:
            return False
    return True
