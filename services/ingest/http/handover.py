"""Samples handed over to Kafka, and what the writer says of them.

What Kafka gives up on ends the producer, and a new one is made; who waited is told to send again.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, TypeAlias
from uuid import uuid4

from google.protobuf.message import DecodeError

from overwatt import topics
from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import DeadLetter, Outcomes
from services.ingest import metrics
from services.ingest.columns import Columns
from services.ingest.http.waiting import Expected, Waiting
from services.ingest.model import Member, Rejected, Sample
from services.ingest.rejections import Rejections
from services.runtime import clock
from services.runtime.bus import Producer, Record, producer, tail
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.waiting import happens

log = get_logger(__name__)

COUNT_EVERY_S: Final = 10.0
GOODBYE_S: Final = 2.0
REMEMBERED_S: Final = 120.0

_Request: TypeAlias = tuple[bytes, tuple[int, ...]]
"""SHA-256 of the body, and the keys of the devices."""


class Handover:
    """This process's way to the writer and back."""

    def __init__(self, kafka: str, *, most_waiting: int) -> None:
        """`most_waiting` samples at once; more are refused with Full."""
        self.is_listening = asyncio.Event()
        self._kafka = kafka
        self._door = f"http-{uuid4().hex[:12]}"
        self._waiting = Waiting(most_waiting)
        metrics.HTTP_WAITING.set_function(lambda: len(self._waiting))
        self._rejections = Rejections()
        self._given_up: dict[_Request, Expected] = {}
        """Outcomes that somebody stopped waiting for, by what they sent."""
        self._out: Producer | None = None
        self._failed = asyncio.Event()

    async def listen(self) -> None:
        """Hear outcomes, for ever."""
        await tail(self._kafka, topics.OUTCOMES, handle=self._take, ready=self.is_listening)

    async def speak(self) -> None:
        """Keep a producer, for ever; each 10 s the numbers of rejections whose minute is over go out."""
        while True:
            async with producer(self._kafka, name=self._door) as out:
                self._partitions = await out.partitions(topics.TELEMETRY)
                self._out = out
                self._failed.clear()
                try:
                    while not await happens(self._failed, COUNT_EVERY_S):
                        await self._count(everything=False)
                finally:
                    await self._count(everything=True)
                    self._out = None
            log.error("Kafka gave up on records; those who wait are told to send again")

    async def check(self) -> None:
        """Readiness."""
        if self._out is None:
            raise Unavailable("no connection to Kafka yet")

    async def reject(self, rejected: Sequence[Rejected], now_us: int) -> None:
        """What is no row goes where all rejections go. Raises Unavailable."""
        out = self._producer()
        for each in rejected:
            metrics.REJECTIONS.labels(each.reason).inc()
        letters = [letter for each in rejected for letter in self._rejections.letters(each, now_us)]
        with self._giving_up():
            await out.settle([await _bury(out, letter) for letter in letters])

    async def store(
        self, body: bytes, rows: Sequence[tuple[Member, Sample]], now_us: int
    ) -> list[Reason | None]:
        """Hand over, and wait for what became of each row; no reason: committed. No deadline.

        Who stopped waiting and comes again with the same body hears of what was handed over then: else what
        takes longer than anybody waits would never be answered. Raises Full, Unavailable.
        """
        key = sha256(body).digest(), tuple(member.key for member, _ in rows)
        expected = self._given_up.pop(key, None) or await self._hand_over(rows, now_us)
        try:
            await expected.is_settled.wait()
        except asyncio.CancelledError:
            self._given_up[key] = expected
            asyncio.get_running_loop().call_later(REMEMBERED_S, self._forget, key, expected)
            raise
        return expected.verdicts

    async def _hand_over(self, rows: Sequence[tuple[Member, Sample]], now_us: int) -> Expected:
        out, expected = self._producer(), self._waiting.expect(len(rows))
        try:
            with self._giving_up():
                futures = [
                    await out.enqueue(topics.TELEMETRY, "", record, partition=partition)
                    for partition, columns in self._columns(rows, expected, now_us).items()
                    for record in columns.records()
                ]
                await out.settle(futures)
        except BaseException:
            self._waiting.forget(expected)
            raise
        return expected

    def _producer(self) -> Producer:
        if self._out is None or not self.is_listening.is_set():
            raise Unavailable("Kafka cannot be reached")
        return self._out

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            self._failed.set()
            raise

    def _forget(self, key: _Request, expected: Expected) -> None:
        if self._given_up.get(key) is expected:
            del self._given_up[key]
            self._waiting.forget(expected)

    def _columns(
        self, rows: Iterable[tuple[Member, Sample]], expected: Expected, now_us: int
    ) -> dict[int, Columns]:
        by_partition: dict[int, Columns] = {}
        for number, (member, sample) in zip(expected.numbers, rows, strict=True):
            partition = topics.partition_of(member.tenant, member.device, self._partitions)
            columns = by_partition.setdefault(partition, Columns(now_us, door=self._door))
            columns.add(member, Sample(sample.ts_us, number, sample.metrics))
        return by_partition

    async def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                outcomes = Outcomes.FromString(record.value or b"")
            except DecodeError as error:
                metrics.UNUSABLE.labels(topics.OUTCOMES).inc()
                log.warning("outcome not usable", offset=record.offset, error=str(error))
                continue
            for outcome in outcomes.outcomes:
                if outcome.door == self._door:
                    self._waiting.settle(outcome.ack)

    async def _count(self, *, everything: bool) -> None:
        out, now_us = self._out, clock.to_us(clock.now())
        assert out
        try:
            async with asyncio.timeout(GOODBYE_S):
                letters = self._rejections.rest(now_us, everything=everything)
                await out.settle([await _bury(out, letter) for letter in letters])
        except (TimeoutError, Unavailable) as error:
            log.warning("numbers of rejections lost", error=repr(error))


async def _bury(out: Producer, letter: DeadLetter) -> "asyncio.Future[object]":
    name = topics.identity(letter.tenant, letter.device)
    return await out.enqueue(topics.DEAD_LETTERS, name, letter.SerializeToString())
