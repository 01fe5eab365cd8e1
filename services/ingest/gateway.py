"""The gateway: MQTT to Kafka, and acknowledged only then.

    source -> inbox of a worker, by device -> decode -> Kafka -> settle
                                                           +---> Ack.refused to the sender

Workers do not wait for Kafka before they take the next bulk: Kafka keeps the order of what was handed over,
and unacknowledged messages are bounded by the receive maximum. When Kafka is away nothing is acknowledged,
and the broker holds the rest. What Kafka gives up on ends the session: the next one gets it again from the
broker.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import KafkaError

from overwatt import topics
from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import Ack, DeadLetter
from services.ingest import acks, metrics
from services.ingest.columns import Columns
from services.ingest.decode import decode
from services.ingest.inbox import Inbox
from services.ingest.limits import Limits
from services.ingest.model import AgentBatch, Member, Message, Rejected, Said, Samples
from services.ingest.registry import Registry
from services.ingest.rejections import Rejections
from services.ingest.source import Arrived, MqttSource
from services.runtime import clock
from services.runtime.bus import Producer
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.retry import until_available

log = get_logger(__name__)

COUNT_EVERY_S: Final = 10.0
MOST_UNHEARD: Final = 10_000
# Looking a label up costs four times what counting does.
ACCEPTED: Final = metrics.MESSAGES.labels("accepted")
REJECTED: Final = metrics.MESSAGES.labels("rejected")


@dataclass(slots=True)
class _Bulk:
    """What one bulk of messages came to."""

    arrived: list[Arrived]
    futures: "list[asyncio.Future[object]]" = field(default_factory=list)
    answers: list[tuple[str, str, Ack]] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)


class Gateway:
    """One session with the broker and Kafka."""

    def __init__(
        self,
        *,
        source: MqttSource,
        producer: Producer,
        registry: Registry,
        rejections: Rejections,
        limits: Limits,
        answer: Callable[[str, str, Ack], None],
        partitions: int,
        workers: int,
    ) -> None:
        self._source = source
        self._producer = producer
        self._registry = registry
        self._rejections = rejections
        self._limits = limits
        self._answer = answer
        self._partitions = partitions
        self._inboxes = [Inbox[Arrived]() for _ in range(workers)]
        self._unheard: dict[str, Message] = {}

    async def run(self) -> None:
        """Forward until something gives up: then Unavailable."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._distribute(), name="distribute")
                group.create_task(self._count(), name="count")
                for number, inbox in enumerate(self._inboxes):
                    group.create_task(self._work(inbox, group), name=f"worker-{number}")
        except ExceptionGroup as failures:
            _, others = failures.split((Unavailable, KafkaError))
            if others:
                raise
            raise Unavailable(f"Kafka gave up: {failures.exceptions[0]!r}") from failures

    def registered(self, name: str, member: Member | None) -> None:
        """A device whose birth came too early is heard now: it will not be said again for long."""
        message = self._unheard.pop(name, None) if member else None
        if message:
            self._source.put_again(message)

    async def flush_counts(self) -> None:
        """Before the end: numbers of the running minute."""
        now_us = clock.to_us(clock.now())
        letters = list(self._rejections.rest(now_us, everything=True))
        await self._producer.settle([await self._hand_over_letter(letter) for letter in letters])

    async def _distribute(self) -> None:
        while True:
            shares: list[list[Arrived]] = [[] for _ in self._inboxes]
            for arrived in await self._source.take():
                shares[_worker_of(arrived.message.topic, len(shares))].append(arrived)
            if self._source.is_full:
                self._limits.is_behind(time.monotonic())
            for inbox, share in zip(self._inboxes, shares, strict=True):
                if share:
                    inbox.put(share)

    async def _work(self, inbox: Inbox[Arrived], group: asyncio.TaskGroup) -> None:
        while True:
            bulk = _Bulk(await inbox.take())
            await self._forward(bulk)
            group.create_task(self._finish(bulk))

    async def _forward(self, bulk: _Bulk) -> None:
        """Decode and hand over to Kafka, in order."""
        columns: dict[int, Columns] = {}
        now_s = time.monotonic()
        bad = 0
        for message, _ in bulk.arrived:
            rejected: Iterable[Rejected] = ()
            meaning = decode(message, self._registry)
            if not isinstance(meaning, Rejected):
                meaning = self._limits.check(message, meaning, now_s) or meaning
            match meaning:
                case Samples(member, samples):
                    partition = topics.partition_of(member.tenant, member.device, self._partitions)
                    rows = columns.setdefault(partition, Columns(message.received_at_us))
                    for sample in samples:
                        rows.add(member, sample)
                case AgentBatch(member, record, _, rejected):
                    if record:
                        await self._record(bulk, member, record)
                case Said(member, kafka_topic, value, asked_us):
                    name = topics.identity(member.tenant, member.device)
                    bulk.futures.append(await self._hand_over(kafka_topic, name, value))
                    if kafka_topic == topics.AGENT_STATUS:
                        answer = acks.time_of_day(clock.to_us(clock.now()), asked_us)
                        bulk.answers.append((member.tenant, member.device, answer))
                case Rejected():
                    rejected = (meaning,)
                    self._remember(meaning, message)
            bad += bool(rejected)
            for each in rejected:
                await self._reject(bulk, each, message.received_at_us)
        ACCEPTED.inc(len(bulk.arrived) - bad)
        REJECTED.inc(bad)
        for partition, rows in columns.items():
            for record in rows.records():
                bulk.futures.append(await self._hand_over(topics.TELEMETRY, "", record, partition))

    async def _record(self, bulk: _Bulk, member: Member, record: bytes) -> None:
        name = topics.identity(member.tenant, member.device)
        partition = topics.partition_of(member.tenant, member.device, self._partitions)
        bulk.futures.append(await self._hand_over(topics.TELEMETRY, name, record, partition))

    async def _reject(self, bulk: _Bulk, rejected: Rejected, now_us: int) -> None:
        metrics.REJECTIONS.labels(rejected.reason).inc()
        for letter in self._rejections.letters(rejected, now_us):
            bulk.futures.append(await self._hand_over_letter(letter))
        if rejected.refused:
            bulk.refused.append(rejected)

    async def _finish(self, bulk: _Bulk) -> None:
        """When Kafka has all of it: acknowledge, and answer what was refused."""
        with metrics.PRODUCE_SECONDS.time():
            # No deadline: an idempotent producer repeats by itself until Kafka is back.
            await asyncio.gather(*bulk.futures)
        self._source.settle(bulk.arrived)
        for tenant, device, ack in bulk.answers:
            self._answer(tenant, device, ack)
        for outcome in acks.acks_of(bulk.refused, clock.to_us(clock.now())):
            self._answer(outcome.tenant, outcome.device, outcome.ack)

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            for letter in self._rejections.rest(clock.to_us(clock.now())):
                await self._hand_over_letter(letter)

    async def _hand_over_letter(self, letter: DeadLetter) -> "asyncio.Future[object]":
        name = topics.identity(letter.tenant, letter.device)
        return await self._hand_over(topics.DEAD_LETTERS, name, letter.SerializeToString())

    async def _hand_over(
        self, topic: str, key: str, value: bytes, partition: int | None = None
    ) -> "asyncio.Future[object]":
        return await until_available(
            f"hand over to Kafka {topic}",
            lambda: self._producer.enqueue(topic, key, value, partition=partition),
        )

    def _remember(self, rejected: Rejected, message: Message) -> None:
        is_early = rejected.reason == Reason.DEVICE_UNKNOWN and message.topic.endswith("/status")
        if is_early and len(self._unheard) < MOST_UNHEARD:
            self._unheard[topics.identity(rejected.tenant, rejected.device)] = message


def _worker_of(topic: str, workers: int) -> int:
    """The same for all that a device says, so that it stays in order."""
    return zlib.crc32(topic.rpartition("/")[0].encode()) % workers
