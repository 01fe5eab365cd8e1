"""The writer: Kafka to PostgreSQL, exactly once.

    read (decode) --> buffer --> flush: rows and offsets in one transaction --> outcomes
        ^ paused when full          | fenced: another writer has the partition; leave, join again
                                    + database away: again and again, nothing grows

Where to read from stands in the database. The group only shares out partitions; what it has committed is
for people who watch the lag.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from google.protobuf.message import DecodeError

from overwatt.reasons import Reason
from overwatt.topics import DEAD_LETTERS, OUTCOMES, TELEMETRY, identity
from overwatt.v1.telemetry_pb2 import DeadLetter, Outcome, Outcomes, Record
from services.ingest import metrics, store
from services.ingest.buffer import Buffer, due_in_s
from services.ingest.flush import Fenced, Flush, Taken
from services.ingest.gather import Misfit, count_rows, fault_of
from services.ingest.rejections import MOST_PAYLOAD
from services.runtime import clock
from services.runtime.bus import Producer, consumer
from services.runtime.bus import Record as Message
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

GROUP: Final = "writer"
MOST_BATCHES: Final = 50
"""Rows that may wait, in batch sizes."""
FEWEST_WAITING: Final = 50_000
LAST_FLUSH_S: Final = 10.0
"""How long a rebalance waits for the flush under way."""
OUTCOMES_A_RECORD: Final = 500


class Writer:
    """One writer; its twins share the partitions."""

    def __init__(
        self,
        *,
        kafka: str,
        pool: Pool,
        flush: Flush,
        producer: Producer,
        owner: UUID,
        batch_size: int,
        interval_s: float,
        on_commit: Callable[[], None],
    ) -> None:
        self._kafka = kafka
        self._pool = pool
        self._flush = flush
        self._producer = producer
        self._owner = owner
        self._batch_size = batch_size
        self._most_rows = max(batch_size * MOST_BATCHES, FEWEST_WAITING)
        self._interval_s = interval_s
        self._on_commit = on_commit
        self.assigned = asyncio.Event()

    async def run(self) -> None:
        """Write for ever; after being fenced, join the group again."""
        while True:
            try:
                await self._membership()
            except ExceptionGroup as failures:
                _, others = failures.split(Fenced)
                if others:
                    raise
                metrics.FENCED.inc()
                log.warning("fenced: another writer has a partition of mine; joining again")

    async def _membership(self) -> None:
        async with consumer(self._kafka, [], group=GROUP) as source, asyncio.TaskGroup() as group:
            member = _Member(self, source, group)
            source.subscribe([TELEMETRY], listener=member)
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

    async def read(self) -> None:
        """Fetch and decode; stop fetching while the buffer is full."""
        while True:
            # With everything paused this waits for nothing, but keeps the place in the group.
            batches = await self._source.getmany(timeout_ms=1_000, max_records=500)
            now_s = asyncio.get_running_loop().time()
            for partition, records in batches.items():
                for message in records:
                    if self._buffer.wants(partition.partition, message.offset):
                        record = self._decode(message)
                        rows = count_rows(record) if record else 0
                        self._buffer.add(partition.partition, message.offset, record, rows, now_s)
                if partition in self._source.assignment():
                    behind = (self._source.highwater(partition) or 0) - records[-1].offset - 1
                    metrics.LAG.labels(str(partition.partition)).set(max(0, behind))
            metrics.BUFFERED.set(self._buffer.rows)
            if batches:
                self._arrived.set()
            if self._buffer.rows >= self._writer._most_rows and not self._source.paused():
                self._source.pause(*self._source.assignment())

    async def write(self) -> None:
        """Flush whenever it is due."""
        while True:
            await self._wait_until_due()
            taken, assignment = self._buffer.take(), self._assignment
            if paused := self._source.paused():
                self._source.resume(*paused)
            self._idle.clear()
            try:
                outcomes = await until_available(
                    "flush", lambda taken=taken, number=assignment: self._store(taken, number),  # type: ignore[misc]
                    on_retry=lambda: metrics.PAUSED.set(1),
                )  # fmt: skip
            finally:
                self._idle.set()
            metrics.PAUSED.set(0)
            if outcomes is not None:
                self._after(taken, outcomes)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let the flush under way come to its end; what waits will be read again by whoever gets it."""
        if not await happens(self._idle, LAST_FLUSH_S):
            log.warning("rebalance did not wait for the flush under way; it is fenced if it comes too late")
        self._assignment += 1
        self._buffer.assign({})

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Read from where the database stands."""
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
            wait_s = due_in_s(
                rows=buffer.rows,
                is_empty=buffer.is_empty,
                age_s=now_s - buffer.first_at_s,
                batch_size=self._writer._batch_size,
                interval_s=self._writer._interval_s,
            )
            if wait_s == 0:
                return
            self._arrived.clear()
            await happens(self._arrived, wait_s)

    async def _store(self, taken: Taken, assignment: int) -> list[Outcome] | None:
        """None: the partitions were taken away meanwhile."""
        if assignment != self._assignment:
            return None
        await self._bury()
        try:
            return await self._writer._flush.store(taken, clock.now())
        except Misfit:
            fitting = [record for record in taken.records if self._fits(record)]
            if len(fitting) == len(taken.records):
                raise
            await self._bury()
            return await self._writer._flush.store(replace(taken, records=fitting), clock.now())

    def _decode(self, message: Message) -> Record | None:
        try:
            return Record.FromString(message.value or b"")
        except DecodeError as error:
            tenant, _, device = (message.key or b"").decode(errors="replace").partition("/")
            fault = f"partition {message.partition} offset {message.offset}: {error}"
            self._letters.append(_dead_letter(tenant, device, fault, message.value or b""))
            return None

    def _fits(self, record: Record) -> bool:
        if fault := fault_of(record):
            payload = record.SerializeToString()
            self._letters.append(_dead_letter(record.tenant, record.device, fault, payload))
        return fault is None

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
            await self._source.commit({TopicPartition(TELEMETRY, p): end for p, _, end in taken.moves})
        except (Unavailable, KafkaError) as error:
            log.warning("outcomes or lag not told", error=repr(error))

    async def _find_offsets(self, assigned: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        try:
            first: dict[TopicPartition, int] = await self._source.beginning_offsets(list(assigned))
            last: dict[TopicPartition, int] = await self._source.end_offsets(list(assigned))
        except KafkaError as error:
            raise Unavailable(f"Kafka: {error!r}") from error
        async with transaction(self._writer._pool) as db:
            stored = await store.read_offsets(db, TELEMETRY)
            for partition in sorted(assigned):
                number = partition.partition
                if number not in stored or stored[number] > last[partition]:
                    if number in stored:
                        log.error("topic is younger than the database: reading it from its beginning",
                                  partition=number, stored=stored[number], end=last[partition])  # fmt: skip
                    stored[number] = first[partition]
                    await store.set_offset(db, TELEMETRY, number, first[partition], self._writer._owner)
        for partition in assigned:
            lost = first[partition] - stored[partition.partition]
            if lost > 0:
                metrics.LOST_OFFSETS.inc(lost)
                log.error("records were deleted before they were written",
                          partition=partition.partition, records=lost)  # fmt: skip
        return {partition: stored[partition.partition] for partition in assigned}


def _dead_letter(tenant: str, device: str, fault: str, payload: bytes) -> DeadLetter:
    metrics.UNUSABLE.labels(TELEMETRY).inc()
    log.error("record not usable; the gateway should not have let it pass", device=device, error=fault)
    return DeadLetter(
        tenant=tenant,
        device=device,
        reason=Reason.MALFORMED,
        detail=f"Kafka topic {TELEMETRY}: {fault}",
        payload=payload[:MOST_PAYLOAD],
        count=1,
        at_us=clock.to_us(clock.now()),
    )
