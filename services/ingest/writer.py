"""The writer: Kafka to PostgreSQL, exactly once.

    read (decode) --> buffer --> sort out --> flush: rows and offsets in one transaction --> outcomes
        ^ paused when full                      | fenced: another writer has the partition; leave, join again
                                                + database away: again and again, nothing grows

Two of them run in a process. The live one sorts late rows out into a topic of their own (sorting.py), whose
loop stores them hour by hour. Offsets, acknowledgements and fences are each loop's own; what is committed
of an agent's spool is common to both.

Where to read from stands in the database. The group only shares out partitions; what it has committed is
for people who watch the lag.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from google.protobuf.message import DecodeError

from overwatt.reasons import Reason
from overwatt.topics import DEAD_LETTERS, OUTCOMES, identity
from overwatt.v1.telemetry_pb2 import DeadLetter, Outcome, Outcomes, Record
from services.ingest import metrics, store
from services.ingest.buffer import Buffer, Due
from services.ingest.flush import Fenced, Flush, Taken
from services.ingest.gather import Misfit, count_rows, fault_of, gather
from services.ingest.rejections import MOST_PAYLOAD
from services.runtime import clock
from services.runtime.bus import STARTS_OVER_S, Producer, consumer
from services.runtime.bus import Record as Message
from services.runtime.errors import Unavailable
from services.runtime.group import Stuck, Watch
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

MOST_BATCHES: Final = 50
"""Rows that may wait, in batch sizes."""
FEWEST_WAITING: Final = 50_000
LAST_FLUSH_S: Final = 10.0
"""How long a rebalance waits for the flush under way."""
YIELDS_S: Final = 5.0
"""The longest that a late flush waits for live ones: agents wait 30 s for an answer."""
OUTCOMES_A_RECORD: Final = 500

SortOut: TypeAlias = Callable[[Taken, datetime], Awaitable[list[Taken]]]
"""Makes what was taken, gathered, into flushes; the last one moves the offsets. Raises Unavailable."""


class Writer:
    """One writer; its twins share the partitions."""

    def __init__(
        self,
        *,
        topic: str,
        group: str,
        kafka: str,
        pool: Pool,
        flush: Flush,
        producer: Producer,
        owner: UUID,
        due: Due,
        sort_out: SortOut,
        on_commit: Callable[[], None],
        yields_to: "Writer | None" = None,
    ) -> None:
        self._topic = topic
        self._group = group
        self._kafka = kafka
        self._pool = pool
        self._flush = flush
        self._producer = producer
        self._owner = owner
        self._due = due
        self._sort_out = sort_out
        self._most_rows = max(due.batch_size * MOST_BATCHES, FEWEST_WAITING)
        self._on_commit = on_commit
        self._yields_to = yields_to
        self.assigned = asyncio.Event()
        self.is_at_ease = asyncio.Event()
        """No flush is due. Whoever yields to this writer gets in between two of its flushes."""
        self.is_at_ease.set()

    async def run(self) -> None:
        """Write for ever; after being fenced, join the group again."""
        while True:
            try:
                await self._membership()
            except ExceptionGroup as failures:
                _, others = failures.split((Fenced, KafkaError, Stuck))
                if others:
                    raise
                if not failures.subgroup(Fenced):
                    log.error("consumer starts over", group=self._group, error=repr(failures.exceptions[0]))
                    await asyncio.sleep(STARTS_OVER_S)
                    continue
                metrics.FENCED.inc()
                log.warning("fenced: another writer has a partition of mine; joining again")

    async def _membership(self) -> None:
        async with consumer(self._kafka, [], group=self._group) as source, asyncio.TaskGroup() as group:
            member = _Member(self, source, group)
            source.subscribe([self._topic], listener=member)
            group.create_task(member.read(), name="read")
            group.create_task(member.write(), name="write")


class _Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """One membership of the group."""

    def __init__(self, writer: Writer, source: AIOKafkaConsumer, group: asyncio.TaskGroup) -> None:
        self._writer = writer
        self._source = source
        self._group = group
        self._buffer = Buffer()
        self._letters: list[DeadLetter] = []
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._assignment = 0
        self._watch = Watch(source, asyncio.get_running_loop().time())

    async def read(self) -> None:
        """Fetch and decode; stop fetching while the buffer is full."""
        while True:
            # With everything paused this waits for nothing, but keeps the place in the group.
            batches = await self._source.getmany(timeout_ms=1_000, max_records=500)
            now_s = asyncio.get_running_loop().time()
            if batches:
                self._watch.has_read()
            else:
                await self._watch.look(now_s)
            for partition, records in batches.items():
                for message in records:
                    if self._buffer.wants(partition.partition, message.offset):
                        record = self._decode(message)
                        rows = count_rows(record) if record else 0
                        self._buffer.add(partition.partition, message.offset, record, rows, now_s)
                if partition in self._source.assignment():
                    behind = (self._source.highwater(partition) or 0) - records[-1].offset - 1
                    metrics.LAG.labels(*map(str, partition)).set(max(0, behind))
            metrics.BUFFERED.labels(self._writer._topic).set(self._buffer.rows)
            if self._buffer.rows >= self._writer._due.batch_size:
                self._writer.is_at_ease.clear()
            if batches:
                self._arrived.set()
            if self._buffer.rows >= self._writer._most_rows and not self._source.paused():
                self._source.pause(*self._source.assignment())

    async def write(self) -> None:
        """Flush whenever it is due."""
        while True:
            await self._wait_until_due()
            taken, number = self._buffer.take(), self._assignment
            self._writer.is_at_ease.set()
            if paused := self._source.paused():
                self._source.resume(*paused)
            self._idle.clear()
            try:
                sort_out = partial(self._sort_out, taken)
                for flush in await until_available("sort out", sort_out, on_retry=_pausing):
                    store_it = partial(self._store, flush, number)
                    outcomes = await until_available("flush", store_it, on_retry=_pausing)
                    if outcomes is None:
                        break
                    self._after(flush, outcomes)
            finally:
                self._idle.set()
            metrics.PAUSED.set(0)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let the flush under way come to its end; what waits will be read again by whoever gets it."""
        if not await happens(self._idle, LAST_FLUSH_S):
            log.warning("rebalance did not wait for the flush under way; it is fenced if it comes too late")
        self._assignment += 1
        self._buffer.assign({})
        self._writer.is_at_ease.set()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Read from where the database stands."""
        try:
            await self._take_up(assigned)
        except Exception as error:
            # aiokafka only logs what a listener raises, and would read on with nobody to want it.
            self._group.create_task(_fail(error))

    async def _take_up(self, assigned: Collection[TopicPartition]) -> None:
        expected = await until_available("read offsets", lambda: self._find_offsets(assigned))
        self._assignment += 1
        self._buffer.assign({partition.partition: offset for partition, offset in expected.items()})
        for partition, offset in expected.items():
            self._source.seek(partition, offset)
        log.info("partitions", **{str(partition.partition): offset for partition, offset in expected.items()})
        self._writer.assigned.set()

    async def _wait_until_due(self) -> None:
        while True:
            buffer, now_s = self._buffer, asyncio.get_running_loop().time()
            wait_s = None if buffer.is_empty else self._writer._due.in_s(
                rows=buffer.rows, age_s=now_s - buffer.first_at_s, idle_s=now_s - buffer.last_at_s
            )  # fmt: skip
            if wait_s == 0:
                return
            self._arrived.clear()
            await happens(self._arrived, wait_s)

    async def _store(self, taken: Taken, assignment: int) -> list[Outcome] | None:
        """None: the partitions were taken away meanwhile."""
        if first := self._writer._yields_to:
            await happens(first.is_at_ease, YIELDS_S)
        if assignment != self._assignment:
            return None
        return await self._writer._flush.store(taken, clock.now())

    async def _sort_out(self, taken: Taken) -> list[Taken]:
        """Gathered, without what cannot be rows."""
        await self._bury()
        try:
            batch = gather(taken.records)
        except Misfit:
            fitting = [record for record in taken.records if self._fits(record)]
            if len(fitting) == len(taken.records):
                raise
            await self._bury()
            taken = replace(taken, records=fitting)
            batch = gather(fitting)
        return await self._writer._sort_out(replace(taken, batch=batch), clock.now())

    def _decode(self, message: Message) -> Record | None:
        try:
            return Record.FromString(message.value or b"")
        except DecodeError as error:
            tenant, _, device = (message.key or b"").decode(errors="replace").partition("/")
            fault = f"partition {message.partition} offset {message.offset}: {error}"
            self._letters.append(self._dead_letter(tenant, device, fault, message.value or b""))
            return None

    def _fits(self, record: Record) -> bool:
        if fault := fault_of(record):
            payload = record.SerializeToString()
            self._letters.append(self._dead_letter(record.tenant, record.device, fault, payload))
        return fault is None

    def _dead_letter(self, tenant: str, device: str, fault: str, payload: bytes) -> DeadLetter:
        topic = self._writer._topic
        metrics.UNUSABLE.labels(topic).inc()
        log.error("record not usable; the gateway should not have let it pass", device=device, error=fault)
        return DeadLetter(
            tenant=tenant,
            device=device,
            reason=Reason.MALFORMED,
            detail=f"Kafka topic {topic}: {fault}",
            payload=payload[:MOST_PAYLOAD],
            count=1,
            at_us=clock.to_us(clock.now()),
        )

    async def _bury(self) -> None:
        """What cannot be used is a dead letter before the offset moves past it."""
        while self._letters:
            letter = self._letters[0]
            name = identity(letter.tenant, letter.device)
            await self._writer._producer.send(DEAD_LETTERS, name, letter.SerializeToString())
            self._letters.pop(0)

    def _after(self, taken: Taken, outcomes: list[Outcome]) -> None:
        metrics.LAST_COMMIT.set(clock.now().timestamp())
        self._writer._on_commit()
        self._group.create_task(self._tell(taken, outcomes))

    async def _tell(self, taken: Taken, outcomes: list[Outcome]) -> None:
        """What gets lost here is told again when the sender repeats its samples."""
        try:
            for start in range(0, len(outcomes), OUTCOMES_A_RECORD):
                some = outcomes[start : start + OUTCOMES_A_RECORD]
                name = identity(some[0].tenant, some[0].device)
                await self._writer._producer.send(OUTCOMES, name, Outcomes(outcomes=some).SerializeToString())
            await self._source.commit(
                {TopicPartition(self._writer._topic, p): end for p, _, end in taken.moves}
            )
        except (Unavailable, KafkaError) as error:
            log.warning("outcomes or lag not told", error=repr(error))

    async def _find_offsets(self, assigned: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        try:
            first: dict[TopicPartition, int] = await self._source.beginning_offsets(list(assigned))
            last: dict[TopicPartition, int] = await self._source.end_offsets(list(assigned))
        except KafkaError as error:
            raise Unavailable(f"Kafka: {error!r}") from error
        async with transaction(self._writer._pool) as db:
            stored = await store.read_offsets(db, self._writer._topic)
            for partition in sorted(assigned):
                number = partition.partition
                if number not in stored or stored[number] > last[partition]:
                    if number in stored:
                        log.error("topic is younger than the database: reading it from its beginning",
                                  partition=number, stored=stored[number], end=last[partition])  # fmt: skip
                    stored[number] = first[partition]
                    await store.set_offset(
                        db, self._writer._topic, number, first[partition], self._writer._owner
                    )
        for partition in assigned:
            lost = first[partition] - stored[partition.partition]
            if lost > 0:
                metrics.LOST_OFFSETS.inc(lost)
                log.error("records were deleted before they were written",
                          partition=partition.partition, records=lost)  # fmt: skip
        return {partition: stored[partition.partition] for partition in assigned}


async def _fail(error: Exception) -> None:
    raise Stuck(f"partitions not taken up: {error!r}") from error


def _pausing() -> None:
    metrics.PAUSED.set(1)
