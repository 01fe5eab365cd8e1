"""The stream side: samples and heartbeats become changes of alerts, at least once.

Telemetry is shared between replicas by partition; `agent.status` is small and every replica reads all of
it, since an agent's words and its samples may be read by different replicas. A silence is judged by who
reads the device's telemetry partition, and only once everything that Kafka had at that moment was read.
After a start, and after Kafka was away, nobody is called silent until a full stale time has been listened.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from google.protobuf.message import DecodeError

from overwatt.topics import AGENT_STATUS, TELEMETRY, partition_of
from overwatt.v1 import agent_pb2, telemetry_pb2
from services.escalation import metrics, store
from services.escalation.bookmark import Bookmark
from services.escalation.escalate import CLOSED, OPENED
from services.escalation.evaluator import OLDEST_S, Case, Evaluator
from services.escalation.events import Events
from services.escalation.model import Alert, Change, Key
from services.escalation.samples import senders, series
from services.runtime import bus
from services.runtime.clock import now, to_us
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

GROUP: Final = "escalation"
STATUS_LOOK_BACK_S: Final = 3_600
"""How far back `agent.status` is read at a start."""
MAX_RECORDS: Final = 500


class Stream:
    """Reads, judges and writes. One lock: a batch is judged and written before the next."""

    def __init__(
        self, evaluator: Evaluator, pool: Pool, events: Events, on_change: Callable[[], None], stale_s: float
    ) -> None:
        self._evaluator = evaluator
        self._pool = pool
        self._events = events
        self._on_change = on_change
        self._stale_s = stale_s
        self._lock = asyncio.Lock()
        self._telemetry: AIOKafkaConsumer | None = None
        self._status: AIOKafkaConsumer | None = None
        self._read_to: dict[TopicPartition, int] = {}
        self._bookmarks: dict[TopicPartition, Bookmark] = {}
        self._progress = asyncio.Condition()
        self._look = asyncio.Event()
        self._deaf_until_us = to_us(now()) + int(stale_s * 1_000_000)

    def reconsider(self) -> None:
        """Rules have changed: those who are silent may matter now."""
        self._evaluator.heartbeats.reconsider()
        self._look.set()

    # --- telemetry

    async def read_telemetry(self, bootstrap: str) -> None:
        """Judge telemetry for ever."""
        await until_available("read telemetry", lambda: self._read_telemetry(bootstrap))

    async def _read_telemetry(self, bootstrap: str) -> None:
        async with bus.consumer(bootstrap, [], group=GROUP) as source:
            source.subscribe([TELEMETRY], listener=_Assigned(self._take_over))
            self._telemetry = source
            try:
                while True:
                    batches = await source.getmany(timeout_ms=1_000, max_records=MAX_RECORDS)
                    await self._read_batches(source, batches)
            except KafkaError as error:
                raise Unavailable(f"Kafka: {error!r}") from error
            finally:
                self._telemetry = None

    async def _read_batches(
        self, source: AIOKafkaConsumer, batches: dict[TopicPartition, list[bus.Record]]
    ) -> None:
        for partition, batch in batches.items():
            self._read_to.setdefault(partition, batch[0].offset)
        for partition, batch in batches.items():
            if batch:
                await self._judge(partition.partition, batch)
                await self._has_read(partition, batch[-1].offset + 1)
        if not batches:
            for partition in source.assignment():
                await self._has_read(partition, await source.position(partition))
        await self._commit(source, batches)

    async def _judge(self, partition: int, batch: Sequence[bus.Record]) -> None:
        cases: list[Case] = []
        heard: dict[Key, int] = {}
        oldest_us = to_us(now()) - OLDEST_S * 1_000_000
        for raw in batch:
            try:
                record = telemetry_pb2.Record.FromString(raw.value or b"")
                found = list(series(record, self._evaluator.watched, oldest_us))
            except (DecodeError, ValueError, IndexError) as error:
                metrics.UNUSABLE.labels(TELEMETRY).inc()
                log.warning("telemetry record not usable", offset=raw.offset, error=str(error))
                continue
            cases.extend(self._evaluator.cases(partition, found))
            heard.update(dict.fromkeys(senders(record), record.received_at_us))
        metrics.RECORDS.labels(TELEMETRY).inc(len(batch))
        async with self._lock:
            changes = await self._hear(heard)
            strangers = self._evaluator.strangers(cases)
            changes += self._evaluator.judge(cases, await self._open(strangers))
            await self._write(changes)

    async def _commit(
        self, source: AIOKafkaConsumer, batches: dict[TopicPartition, list[bus.Record]]
    ) -> None:
        window_s = max(self._stale_s, min(self._evaluator.rules.longest_window_s(), OLDEST_S))
        offsets = {
            partition: self._bookmarks.setdefault(partition, Bookmark()).read(
                batch[0].offset, batch[0].timestamp, int(window_s * 1_000)
            )
            for partition, batch in batches.items()
            if batch and partition in source.assignment()
        }
        if not offsets:
            return
        try:
            await source.commit(offsets)
        except KafkaError as error:
            log.warning("offsets not committed; the batch may come again", error=repr(error))

    def _take_over(self, assigned: Iterable[TopicPartition]) -> None:
        mine = set(assigned)
        self._read_to = {p: offset for p, offset in self._read_to.items() if p.topic != TELEMETRY}
        self._bookmarks = {p: mark for p, mark in self._bookmarks.items() if p in mine}
        self._evaluator.keep_only({partition.partition for partition in mine})
        log.info("partitions assigned", partitions=sorted(partition.partition for partition in mine))
        self.reconsider()

    # --- agent.status

    async def read_status(self, bootstrap: str) -> None:
        """Hear agents for ever."""
        await until_available("read agent.status", lambda: self._read_status(bootstrap))

    async def _read_status(self, bootstrap: str) -> None:
        async with bus.consumer(bootstrap, [], group=None) as source:
            partition = TopicPartition(AGENT_STATUS, 0)
            source.assign([partition])
            try:
                since_ms = to_us(now()) // 1_000 - STATUS_LOOK_BACK_S * 1_000
                found = (await source.offsets_for_times({partition: since_ms}))[partition]
                if found is None:
                    await source.seek_to_end(partition)
                else:
                    source.seek(partition, found.offset)
                await self._has_read(partition, await source.position(partition))
                self._status = source
                while True:
                    batches = await source.getmany(timeout_ms=1_000, max_records=MAX_RECORDS)
                    for batch in batches.values():
                        await self._hear_agents(batch)
                        await self._has_read(partition, batch[-1].offset + 1)
            except KafkaError as error:
                raise Unavailable(f"Kafka: {error!r}") from error
            finally:
                self._status = None

    async def _hear_agents(self, batch: Sequence[bus.Record]) -> None:
        heard: dict[Key, int] = {}
        for raw in batch:
            try:
                status = agent_pb2.AgentStatus.FromString(raw.value or b"")
            except DecodeError:
                metrics.UNUSABLE.labels(AGENT_STATUS).inc()
                continue
            # A last will is the broker's word, not the agent's.
            if status.status.kind != agent_pb2.Status.GONE:
                heard[(status.tenant, status.device)] = status.received_at_us
        metrics.RECORDS.labels(AGENT_STATUS).inc(len(batch))
        async with self._lock:
            await self._write(await self._hear(heard))

    async def _hear(self, heard: dict[Key, int]) -> list[Change]:
        beats = self._evaluator.heartbeats
        was_idle = beats.next_due_us() is None
        new = self._evaluator.silence_keys(key for key in heard if not beats.knows(key))
        for alert_key, since_us in (await self._open(list(new))).items():
            beats.was_silent(new[alert_key], since_us)
        changes = [change for key, at_us in heard.items() for change in self._evaluator.heard(key, at_us)]
        if was_idle:
            self._look.set()
        return changes

    # --- silence

    async def judge_silence(self) -> None:
        """Sleep until somebody can have gone stale, and judge; for ever."""
        beats = self._evaluator.heartbeats
        while True:
            self._look.clear()
            due_us = beats.next_due_us()
            if due_us is None:
                await self._look.wait()
                continue
            due_us = max(due_us, self._deaf_until_us)
            if (delay_us := due_us - to_us(now())) > 0:
                await happens(self._look, delay_us / 1_000_000)
            else:
                await self._judge_silence(to_us(now()))

    async def _judge_silence(self, now_us: int) -> None:
        if not await self._has_caught_up():
            self._deaf_until_us = to_us(now()) + int(self._stale_s * 1_000_000)
            return
        async with self._lock:
            changes = [
                change
                for key, since_us in self._evaluator.heartbeats.due(now_us)
                if self._is_mine(key)
                for change in self._evaluator.silence(key, since_us, self._stale_s)
            ]
            metrics.SILENT.set(sum(1 for _ in self._evaluator.heartbeats.silent()))
            await self._write(changes)

    async def _has_caught_up(self) -> bool:
        """Whether all that Kafka has at this moment gets read; False when Kafka does not answer."""
        if self._telemetry is None or self._status is None:
            return False
        try:
            async with asyncio.timeout(self._stale_s):
                ends: dict[TopicPartition, int] = {
                    **await self._telemetry.end_offsets(list(self._telemetry.assignment())),
                    **await self._status.end_offsets(list(self._status.assignment())),
                }
                async with self._progress:
                    await self._progress.wait_for(
                        lambda: all(self._read_to.get(p, -1) >= end for p, end in ends.items())
                    )
        except (KafkaError, TimeoutError) as error:
            log.warning("cannot judge silence: Kafka is away or far ahead", error=repr(error))
            return False
        return True

    def _is_mine(self, key: Key) -> bool:
        if self._telemetry is None:
            return False
        count = len(self._telemetry.partitions_for_topic(TELEMETRY) or ())
        mine = {partition.partition for partition in self._telemetry.assignment()}
        return count > 0 and partition_of(*key, count) in mine

    # --- the database

    async def _open(self, keys: list[Key]) -> dict[Key, int]:
        if not keys:
            return {}

        async def read() -> dict[Key, int]:
            async with transaction(self._pool) as db:
                return await store.read_open(db, keys)

        return await until_available("read open alerts", read)

    async def _write(self, changes: list[Change]) -> None:
        if not changes:
            return

        async def write() -> tuple[list[Alert], list[Alert]]:
            async with transaction(self._pool) as db:
                opened, closed = await store.apply_changes(db, changes)
                return await store.read_alerts(db, opened), await store.read_alerts(db, closed)

        opened, closed = await until_available("write alerts", write)
        at = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._events.tell(opened, OPENED, at)
        self._events.tell(closed, CLOSED, at)
        for alert in opened:
            metrics.ALERTS_OPENED.labels(str(alert.severity)).inc()
        metrics.ALERTS_CLOSED.inc(len(closed))
        if opened or closed:
            self._on_change()

    async def _has_read(self, partition: TopicPartition, offset: int) -> None:
        async with self._progress:
            self._read_to[partition] = offset
            self._progress.notify_all()


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, take_over: Callable[[Iterable[TopicPartition]], None]) -> None:
        self._take_over = take_over

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing: what is kept goes once it is known who has what now."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Forget what others read now."""
        self._take_over(assigned)
