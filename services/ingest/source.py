"""MQTT: takes messages in bulk, acknowledges them when told to, publishes.

A reader of our own on the event loop: paho costs 200 µs a message, most of it for what we do not need, and
a thread that shares the interpreter with ours. The broker sends at most `receive_maximum` unacknowledged
QoS 1 messages and keeps the rest; QoS 0 messages beyond it, which promise nothing, are dropped and counted.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import socket
from typing import Final, NamedTuple

from overwatt import topics
from services.ingest import metrics, mqtt_packets
from services.ingest.link import Link, Tls, open_socket
from services.ingest.model import Message
from services.ingest.mqtt_packets import DUPLICATE, FAILURE
from services.ingest.receipts import Receipt, Receipts
from services.ingest.replicas import ALL, Beat, Filters
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.retry import Backoff
from services.runtime.waiting import happens

log = get_logger(__name__)

FOREVER: Final = 0xFFFFFFFF
"""Session expiry: the broker keeps what comes while we are away."""
KEEPALIVE_S: Final = 15
PING_S: Final = 5.0
QUIET_PINGS: Final = 3
"""Without an answer: the connection is taken for dead."""
MOST_OUT: Final = 1_000
"""Of our own QoS 1 messages on their way to the broker."""
RECONNECT: Final = Backoff(first_s=1.0, longest_s=5.0)


class Arrived(NamedTuple):
    """A message and what to settle when it is safe; None with QoS 0."""

    message: Message
    receipt: Receipt | None


@dataclass(slots=True)
class _Out:
    """A QoS 1 message of ours until the broker has it."""

    topic: str
    payload: bytes
    content_type: str
    retain: bool
    mid: int = 0
    is_there: bool = False

    def packet(self) -> bytes:
        return mqtt_packets.publish(
            self.topic, self.payload, mid=self.mid, retain=self.retain, content_type=self.content_type
        )


class MqttSource:
    """One persistent MQTT session."""

    def __init__(
        self,
        *,
        client_id: str,
        host: str,
        port: int,
        receive_maximum: int,
        tls: Tls | None = None,
        filters: Filters = ALL,
        on_beat: Callable[[Beat], None] = lambda beat: None,
        reconnects: bool = True,
    ) -> None:
        """`on_beat` hears other gateways. Without `reconnects` it ends with its first connection."""
        self._where = f"{host}:{port}"
        self._client_id, self._host, self._port, self._tls = client_id, host, port, tls
        self._limit = receive_maximum
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._inbox: list[Arrived] = []
        self._arrival = asyncio.Event()
        self._ring = Receipts(0)
        self._open = 0
        self._on_the_way: dict[int, _Out] = {}
        self._queued: deque[_Out] = deque()
        self._window = MOST_OUT
        self._mid = 0
        self._last: _Out | None = None
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self._filters, self._on_beat, self._reconnects = filters, on_beat, reconnects
        self._on_connected: list[Callable[[], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._forget = False
        self.is_connected = False
        self.was_present = False
        """Whether the broker knew this session at the last connect."""
        self.taken = 0
        """Messages handed out by `take`."""

    def on_connected(self, call: Callable[[], None]) -> None:
        """Call after every connect."""
        self._on_connected.append(call)

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call when a connection has ended, or could not be made."""
        self._on_lost.append(call)

    def start(self) -> None:
        """Connect, now and again for ever."""
        self._task = asyncio.create_task(self._stay_connected(), name="mqtt")

    @property
    def is_settled(self) -> bool:
        """Whether everything that has arrived is acknowledged."""
        return not self._open and not self._inbox

    def forget(self) -> None:
        """The broker is not to keep this session beyond `stop`."""
        self._forget = True

    async def stop(self) -> None:
        """Leave; the broker keeps the session and what is not acknowledged."""
        if self._link:
            self._link.write(mqtt_packets.disconnect(forget=self._forget))
            await self._link.flushed(1.0)
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._count(-self._open)

    async def check(self) -> None:
        """Readiness."""
        if not self.is_connected:
            raise Unavailable(f"no MQTT connection to {self._where}")

    @property
    def is_full(self) -> bool:
        """Whether the broker may send no more, and so may keep messages back."""
        return self._open >= self._limit

    async def take(self) -> list[Arrived]:
        """Wait, then everything that has arrived."""
        await self._arrival.wait()
        self._arrival.clear()
        arrived, self._inbox = self._inbox, []
        self.taken += len(arrived)
        self._count(len(arrived))
        return arrived

    def settle(self, arrived: list[Arrived]) -> None:
        """These are safe: acknowledge what may be acknowledged, in order, on its own connection."""
        mids: list[int] = []
        for _, receipt in arrived:
            if receipt:
                ready = receipt.ring.settle(receipt)
                if receipt.ring is self._ring and self.is_connected:
                    mids += ready
                else:
                    metrics.STALE_ACKS.inc(len(ready))
        if mids and self._link:
            self._link.write(mqtt_packets.pubacks(mids))
        self._count(-len(arrived))

    def put_again(self, message: Message) -> None:
        """As if it had just arrived; there is nothing to acknowledge."""
        self._inbox.append(Arrived(message, None))
        self._arrival.set()

    def publish(self, topic: str, payload: bytes, *, content_type: str = "", retain: bool = False) -> bool:
        """Send with QoS 1, over reconnects too; False without a connection, when nothing is kept."""
        if not self.is_connected:
            return False
        self._last = _Out(topic, payload, content_type, retain)
        self._queued.append(self._last)
        self._send_queued()
        return True

    def beat(self, index: int, payload: bytes) -> None:
        """Say that this session is served; nothing: that it ends for good. QoS 0, retained."""
        if self._link and self.is_connected:
            self._link.write(mqtt_packets.publish(topics.beat(index), payload, retain=True))

    async def arrived(self) -> None:
        """Wait until the broker has what was published last, or the connection does not live."""
        last = self._last
        while last and not last.is_there and self.is_connected:
            self._news.clear()
            await self._news.wait()

    async def publish_now(
        self, topic: str, payload: bytes, *, content_type: str, expiry_s: int, within_s: float
    ) -> None:
        """QoS 0; returns when the bytes are on the socket. Else drops the connection unsent: Unavailable."""
        link = self._link
        if not (link and self.is_connected):
            raise Unavailable(f"no MQTT connection to {self._where}")
        link.write(mqtt_packets.publish(topic, payload, content_type=content_type, expiry_s=expiry_s))
        if not await link.flushed(within_s):
            link.end(f"{topic} could not be sent")
            raise Unavailable(f"MQTT: {topic} was not on the socket within {within_s:g} s")

    async def _stay_connected(self) -> None:
        attempt = 0
        while True:
            try:
                connection = await self._connect()
            except OSError as error:
                log.warning("MQTT broker not reached", broker=self._where, error=str(error))
                self._tell(self._on_lost)
            else:
                if await self._converse(connection):
                    attempt = 0
            if not self._reconnects:
                return
            await asyncio.sleep(RECONNECT.delay_s(attempt, random.random()))
            attempt += 1

    async def _connect(self) -> socket:
        opening = asyncio.ensure_future(asyncio.to_thread(open_socket, self._host, self._port, self._tls))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)
            raise

    async def _converse(self, connection: socket) -> bool:
        """Until the connection ends; whether the broker had accepted it."""
        self._gone.clear()
        link = self._link = Link(connection, on_packet=self._packet, on_end=self._ended)
        link.write(
            mqtt_packets.connect(
                self._client_id,
                username=self._client_id,
                keepalive_s=KEEPALIVE_S,
                clean_start=False,
                session_expiry_s=FOREVER,
                receive_maximum=self._limit,
            )
        )
        connections = self._ring.connection
        try:
            # Counted in pings, not in seconds: when this process could not run, the broker is not to blame.
            quiet = 0
            while not await happens(self._gone, PING_S):
                quiet = 0 if link.heard() else quiet + 1
                if quiet == QUIET_PINGS:
                    link.end("the broker does not answer")
                elif self.is_connected:
                    link.write(mqtt_packets.PINGREQ_PACKET)
        finally:
            link.end("the gateway ends")
        return self._ring.connection > connections

    def _ended(self, reason: str) -> None:
        self._link, self.is_connected = None, False
        metrics.CONNECTED.labels(self._client_id).set(0)
        self._news.set()
        self._gone.set()
        log.warning("MQTT disconnected", broker=self._where, session=self._client_id, reason=reason)
        self._tell(self._on_lost)

    def _packet(self, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == mqtt_packets.PUBLISH:
            self._message(first, body)
        elif kind == mqtt_packets.PUBACK:
            self._acknowledged(*mqtt_packets.read_puback(body))
        elif kind == mqtt_packets.CONNACK:
            self._connected(mqtt_packets.read_connack(body))
        elif kind == mqtt_packets.SUBACK:
            refused = [reason for reason in mqtt_packets.read_suback(body) if reason >= FAILURE]
            if refused:
                log.error("MQTT broker refused a subscription", broker=self._where, reasons=refused)
        elif kind == mqtt_packets.DISCONNECT and self._link:
            self._link.end(f"the broker says reason 0x{body[0] if body else 0:02x}")

    def _message(self, first: int, body: bytes) -> None:
        topic, payload, content_type, qos, mid = mqtt_packets.read_publish(first, body)
        if qos == 0 and (index := topics.beating(topic)) is not None:
            self._on_beat(Beat(index, is_retained=bool(first & mqtt_packets.RETAINED), is_last=not payload))
            return
        if qos == 0 and self._open + len(self._inbox) >= self._limit:
            metrics.MESSAGES.labels("dropped").inc()
            return
        message = Message(topic, payload, content_type, time.time_ns() // 1_000)
        self._inbox.append(Arrived(message, self._ring.add(mid) if qos else None))
        self._arrival.set()

    def _connected(self, answer: mqtt_packets.Connected) -> None:
        assert self._link
        if answer.reason >= FAILURE:
            log.error("MQTT broker refused the connection", broker=self._where, reason=answer.reason)
            self._link.end(f"refused with reason 0x{answer.reason:02x}")
            return
        self._ring = Receipts(self._ring.connection + 1)
        self._window = min(MOST_OUT, answer.receive_maximum)
        # First what an earlier one of this name left behind: no message is to come twice.
        if self._filters.unwanted:
            self._link.write(mqtt_packets.unsubscribe(self._next_mid(), self._filters.unwanted))
        if self._filters.wanted:
            self._link.write(mqtt_packets.subscribe(self._next_mid(), self._filters.wanted))
        for out in self._on_the_way.values():
            packet = out.packet()
            again = DUPLICATE if answer.session_present else 0
            self._link.write(bytes([packet[0] | again]) + packet[1:])
        self.is_connected, self.was_present = True, answer.session_present
        metrics.CONNECTED.labels(self._client_id).set(1)
        log.info(
            "MQTT connected",
            broker=self._where,
            session=self._client_id,
            session_present=answer.session_present,
        )
        self._send_queued()
        self._tell(self._on_connected)

    def _tell(self, calls: list[Callable[[], None]]) -> None:
        for call in calls:
            call()

    def _acknowledged(self, mid: int, reason: int) -> None:
        if out := self._on_the_way.pop(mid, None):
            out.is_there = True
            if reason >= FAILURE:
                log.warning("MQTT broker refused a message", topic=out.topic, reason=reason)
            self._news.set()
            self._send_queued()

    def _send_queued(self) -> None:
        while self._link and self._queued and len(self._on_the_way) < self._window:
            out = self._queued.popleft()
            out.mid = self._next_mid()
            self._on_the_way[out.mid] = out
            self._link.write(out.packet())

    def _next_mid(self) -> int:
        self._mid = self._mid % 65_535 + 1
        while self._mid in self._on_the_way:
            self._mid = self._mid % 65_535 + 1
        return self._mid

    def _count(self, change: int) -> None:
        before, self._open = self._open, self._open + change
        metrics.QUEUE_DEPTH.inc(change)
        if before < self._limit <= self._open:
            metrics.PAUSES.inc()
            metrics.PAUSED.set(1)
            log.warning("queue is full: the broker keeps the rest", messages=self._open)
        elif self._open < self._limit <= before:
            metrics.PAUSED.set(0)


def _close(opening: "asyncio.Task[socket]") -> None:
    if not opening.exception():
        opening.result().close()


@asynccontextmanager
async def connected(source: MqttSource) -> AsyncIterator[MqttSource]:
    """The source, connecting while this lasts."""
    source.start()
    try:
        yield source
    finally:
        await source.stop()
