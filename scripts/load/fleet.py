"""Many senders in one process, at a pace or as fast as the database takes it.

A sender is an agent or a simple device with a connection of its own. An agent keeps what is not acknowledged;
while `window` messages are not, it only remembers what it has to say, repeats the oldest now and then, and
after an acknowledgement sends live data before what it remembers.
"""

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from overwatt.topics import topic
from overwatt.v1.telemetry_pb2 import Ack
from scripts.load.client import Client
from scripts.load.shapes import Shape
from services.ingest.link import Tls

OPENING: Final = 64
"""Connections that are opened at the same time."""
PING_S: Final = 20.0
PROBE_S: Final = 5.0
PROBE_MOST_S: Final = 60.0
RECONNECT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a fleet sends."""

    host: str
    port: int
    shape: Shape
    tenant: str = "load"
    interval_s: float = 0.0
    """between two messages of a sender; 0: as fast as it is acknowledged"""
    jitter: float = 0.1
    """of the interval, to either side"""
    window: int = 30
    """messages of an agent that may be without an acknowledgement"""
    ahead_rows: int = 400_000
    """of all agents together without an acknowledgement, at full speed"""
    late: float = 0.0
    """share of messages with times three hours back"""
    repeated: float = 0.0
    """share of messages that are sent twice"""
    outage_every_s: float = 0.0
    """a sender is cut off once in so many seconds, on average; 0: never"""
    outage_s: float = 10.0
    start_us: int = 0
    """first time of the data; 0: so that a device's data end now"""
    tls: Tls | None = None
    """the root, and the directories of `<sender>.pem` and `<sender>.key`"""


class Delay(NamedTuple):
    """A live message that was acknowledged."""

    at_s: float
    """monotonic"""
    delay_s: float
    rows: int


@dataclass(slots=True)
class Counts:
    """Since the start of the fleet."""

    connected: int = 0
    sent_rows: int = 0
    sent_messages: int = 0
    settled_rows: int = 0
    """acknowledged as committed"""
    refused_rows: int = 0
    late_rows: int = 0
    repeated_rows: int = 0
    resent: int = 0
    lost_connections: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class Sender:
    """One connection and what it has to say."""

    def __init__(self, fleet: "Fleet", name: str, devices: Sequence[str], seed: int) -> None:
        plan = fleet.plan
        self._fleet = fleet
        self._topic = topic(plan.tenant, name, "telemetry")
        self._epoch = random.getrandbits(62) | 1
        start_us = plan.start_us or time.time_ns() // 1_000
        self._speaker = plan.shape.speaker(devices, self._epoch, start_us, seed)
        self._random = random.Random(seed)
        self._number = 0
        self._late = 0
        self._waiting: dict[int, tuple[float, int, bool]] = {}
        """by first seq: when it became due, its number, whether it counts as live"""
        self._backlog: deque[tuple[int, float]] = deque()
        self._hold_until_s = 0.0
        self._probe_at_s = 0.0
        self._probe_s = PROBE_S
        self.client = Client(
            f"{plan.tenant}/{name}",
            on_ack=self._acknowledged,
            on_lost=self._lost,
            hears_acks=plan.shape.is_agent,
        )

    @property
    def remembered(self) -> int:
        """Messages that wait for the window."""
        return len(self._backlog)

    @property
    def has_room(self) -> bool:
        """Whether the window is open."""
        return len(self._waiting) < self._fleet.plan.window and time.monotonic() >= self._hold_until_s

    def due(self, now_s: float) -> None:
        """One more message has come to be."""
        number, self._number = self._number, self._number + 1
        if self.client.is_connected and self.has_room:
            self._send(number, now_s, is_live=True)
            self.catch_up()
        else:
            self._backlog.append((number, now_s))
            self._probe(now_s)

    def catch_up(self) -> None:
        """Send of what was remembered as much as the window lets through."""
        while self._backlog and self.client.is_connected and self.has_room:
            number, due_s = self._backlog.popleft()
            self._send(number, due_s, is_live=False)

    def _send(self, number: int, due_s: float, *, is_live: bool) -> None:
        plan, counts = self._fleet.plan, self._fleet.counts
        is_late = self._random.random() < plan.late
        said = self._speaker.say(number, is_late=is_late)
        self.client.publish(self._topic, said.payload, said.content_type)
        counts.sent_messages += 1
        counts.sent_rows += said.rows
        counts.late_rows += said.rows * is_late
        # Late rows take another way and are acknowledged when they are stored, so nobody waits for them.
        if not is_late:
            self._fleet.waiting_rows += said.rows
        if plan.shape.is_agent:
            if not is_late:
                self._waiting[number * said.rows + 1] = (due_s, number, is_live)
            if self._random.random() < plan.repeated:
                self.client.publish(self._topic, said.payload, said.content_type)
                counts.repeated_rows += said.rows

    def _probe(self, now_s: float) -> None:
        if not self._waiting or now_s < self._probe_at_s or not self.client.is_connected:
            return
        if self._probe_at_s:
            _, number, _ = next(iter(self._waiting.values()))
            said = self._speaker.say(number)
            self.client.publish(self._topic, said.payload, said.content_type)
            self._fleet.counts.resent += 1
            self._probe_s = min(2 * self._probe_s, PROBE_MOST_S)
        self._probe_at_s = now_s + self._probe_s * self._random.uniform(0.75, 1.25)

    def _acknowledged(self, payload: bytes, content_type: str) -> None:
        ack, now_s = Ack.FromString(payload), time.monotonic()
        fleet, rows = self._fleet, self._fleet.plan.shape.rows
        if ack.epoch != self._epoch:
            return
        for span in ack.committed:
            fleet.counts.settled_rows += span.last - span.first + 1
            for first_seq in range(span.first, span.last + 1, rows):
                if waited := self._waiting.pop(first_seq, None):
                    due_s, _, is_live = waited
                    fleet.waiting_rows -= rows
                    if is_live:
                        fleet.delays.append(Delay(now_s, now_s - due_s, rows))
        for refusal in ack.refused:
            refused = sum(span.last - span.first + 1 for span in refusal.ranges)
            fleet.counts.refused_rows += refused
            if not refusal.final:
                self._hold_until_s = now_s + refusal.retry_after_s
            fleet.counts.reasons[refusal.reason] = fleet.counts.reasons.get(refusal.reason, 0) + refused
            for span in refusal.ranges:
                for first_seq in range(span.first, span.last + 1, rows):
                    if waited := self._waiting.pop(first_seq, None):
                        fleet.waiting_rows -= rows
                        if not refusal.final:
                            self._backlog.append((waited[1], waited[0]))
        self._probe_at_s, self._probe_s = 0.0, PROBE_S
        self.catch_up()
        fleet.room.set()

    def _lost(self, reason: str) -> None:
        self._fleet.counts.connected -= 1
        self._fleet.counts.lost_connections += 1
        self._fleet.reconnect(self)


class Fleet:
    """Senders of one process: `names` to their devices."""

    def __init__(self, plan: Plan, names: dict[str, list[str]], *, seed: int = 0) -> None:
        self.plan = plan
        self.counts = Counts()
        self.delays: deque[Delay] = deque()
        self.waiting_rows = 0
        self.room = asyncio.Event()
        self._offline: set[Sender] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(OPENING)
        self._random = random.Random(seed)
        self.senders = [
            Sender(self, name, devices, seed * 1_000_003 + place)
            for place, (name, devices) in enumerate(names.items())
        ]

    async def connect(self) -> None:
        """All of them; raises OSError."""
        await asyncio.gather(*map(self._connect, self.senders))

    async def run(self) -> None:
        """Send for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pings())
            group.create_task(self._paced() if self.plan.interval_s else self._flood())
            if self.plan.outage_every_s:
                group.create_task(self._outages())

    @property
    def remembered(self) -> int:
        """Messages of all that wait for their windows."""
        return sum(sender.remembered for sender in self.senders)

    def stored(self, rows: int) -> None:
        """Simple devices hear of no commit: somebody who knows says how many of their rows are stored."""
        self.waiting_rows = self.counts.sent_rows - rows
        self.room.set()

    def close(self) -> None:
        """Cut all connections."""
        self._offline.update(self.senders)
        for sender in self.senders:
            sender.client.close()
        for task in self._tasks:
            task.cancel()

    def reconnect(self, sender: Sender) -> None:
        """Soon, unless it is meant to be cut off."""
        if sender not in self._offline:
            self._spawn(self._come_back(sender))

    async def _connect(self, sender: Sender) -> None:
        async with self._gate:
            await sender.client.connect(self.plan.host, self.plan.port, self._tls_of(sender))
        self.counts.connected += 1

    def _tls_of(self, sender: Sender) -> Tls | None:
        if not self.plan.tls:
            return None
        name = sender.client.name.rpartition("/")[2]
        ca, certificates, keys = self.plan.tls
        return Tls(ca, certificates / f"{name}.pem", keys / f"{name}.key")

    async def _come_back(self, sender: Sender) -> None:
        while not sender.client.is_connected and sender not in self._offline:
            await asyncio.sleep(RECONNECT_S * (0.5 + self._random.random()))
            with suppress(OSError):
                await self._connect(sender)
        sender.catch_up()

    async def _paced(self) -> None:
        """Each at its own time; the first messages are spread over one interval."""
        plan, start_s = self.plan, time.monotonic()
        due = [
            (start_s + self._random.random() * plan.interval_s, place) for place in range(len(self.senders))
        ]
        heapq.heapify(due)
        while True:
            now_s = time.monotonic()
            while due[0][0] <= now_s:
                at_s, place = due[0]
                self.senders[place].due(at_s)
                again_s = at_s + plan.interval_s * (1 + self._random.uniform(-plan.jitter, plan.jitter))
                heapq.heapreplace(due, (again_s, place))
            await asyncio.sleep(min(0.05, max(0.0, due[0][0] - now_s)))

    async def _flood(self) -> None:
        """In turn, as long as few enough are without an acknowledgement."""
        while True:
            for sender in self.senders:
                while self.waiting_rows >= self.plan.ahead_rows:
                    self.room.clear()
                    await self.room.wait()
                if sender.has_room and sender.client.is_connected:
                    sender.due(time.monotonic())
            # The socket's turn, also when every window is shut.
            await asyncio.sleep(0.001)

    async def _pings(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            for sender in self.senders:
                sender.client.ping()

    async def _outages(self) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(len(self.senders) / self.plan.outage_every_s))
            sender = self._random.choice(self.senders)
            if sender not in self._offline and sender.client.is_connected:
                self._offline.add(sender)
                sender.client.close()
                self._spawn(self._end_outage(sender))

    async def _end_outage(self, sender: Sender) -> None:
        await asyncio.sleep(self.plan.outage_s)
        self._offline.discard(sender)
        await self._come_back(sender)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
