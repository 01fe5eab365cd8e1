"""MQTT: takes messages in bulk, acknowledges them when told to, publishes. All of paho stands here.

paho has a thread of its own. It appends to a list and wakes the event loop once for whatever has gathered.
The broker sends at most `receive_maximum` unacknowledged QoS 1 messages and keeps the rest; QoS 0 messages
beyond it, which promise nothing, are dropped and counted.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from services.ingest import metrics
from services.ingest.model import Message
from services.ingest.receipts import Receipt, Receipts
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger

log = get_logger(__name__)

FOREVER: Final = 0xFFFFFFFF
"""Session expiry: the broker keeps what comes while we are away."""
KEEPALIVE_S: Final = 15
MOST_OUT: Final = 1_000
"""Of our own QoS 1 messages on their way to the broker."""
ARRIVAL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a mutual TLS connection."""

    ca: Path
    certificate: Path
    key: Path


class Arrived(NamedTuple):
    """A message and what to settle when it is safe; None with QoS 0."""

    message: Message
    receipt: Receipt | None


class _Raw(NamedTuple):
    connection: int
    mid: int
    qos: int
    message: Message


class MqttSource:
    """One persistent MQTT session."""

    def __init__(
        self, *, client_id: str, host: str, port: int, receive_maximum: int, tls: Tls | None = None
    ) -> None:
        self._where = f"{host}:{port}"
        self._host, self._port = host, port
        self._limit = receive_maximum
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._connection = 0
        self._inbox: list[_Raw] = []
        self._arrival = asyncio.Event()
        self._ring = Receipts(0)
        self._open = 0
        self._last: paho.MQTTMessageInfo | None = None
        self._on_connected: list[Callable[[], None]] = []
        self.is_connected = False

        client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, manual_ack=True)
        client.username = client_id
        client.max_inflight_messages = MOST_OUT
        client.reconnect_delay_set(1, 5)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._arrived
        if tls:
            context = ssl.create_default_context(cafile=str(tls.ca))
            client.tls_set_context(context)
            # At each connect: a certificate that was renewed meanwhile is the one that counts.
            client.on_pre_connect = lambda *_: context.load_cert_chain(tls.certificate, tls.key)
            context.load_cert_chain(tls.certificate, tls.key)
        self._client = client

    def on_connected(self, call: Callable[[], None]) -> None:
        """Call in the event loop after every connect."""
        self._on_connected.append(call)

    def start(self) -> None:
        """Connect, now and again for ever."""
        properties = _made(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = FOREVER
        properties.ReceiveMaximum = self._limit
        self._client.connect_async(
            self._host, self._port, KEEPALIVE_S, clean_start=False, properties=properties
        )
        self._client.loop_start()

    async def stop(self) -> None:
        """Leave; the broker keeps the session and what is not acknowledged."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        metrics.CONNECTED.set(0)

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
        with self._lock:
            raws, self._inbox = self._inbox, []
        arrived = [Arrived(raw.message, self._receipt(raw)) for raw in raws]
        self._count(len(raws))
        return arrived

    def settle(self, arrived: list[Arrived]) -> None:
        """These are safe: acknowledge what may be acknowledged, in order, on its own connection."""
        for receipt in (each.receipt for each in arrived):
            if receipt and (mids := receipt.ring.settle(receipt)):
                self._acknowledge(receipt.ring.connection, mids)
        self._count(-len(arrived))

    def put_again(self, message: Message) -> None:
        """As if it had just arrived; there is nothing to acknowledge."""
        with self._lock:
            self._inbox.append(_Raw(self._connection, 0, 0, message))
        self._arrival.set()

    def publish(
        self, topic: str, payload: bytes, *, content_type: str = "", retain: bool = False, qos: int = 1
    ) -> bool:
        """Hand over to paho; False without a connection, when nothing is kept."""
        if not self.is_connected:
            return False
        self._last = self._client.publish(
            topic, payload, qos=qos, retain=retain, properties=_properties(content_type)
        )
        return True

    async def arrived(self) -> None:
        """Wait until the broker has what was published last, or the connection does not live."""
        with suppress(RuntimeError, ValueError):
            while self._last and self.is_connected and not self._last.is_published():
                await asyncio.to_thread(self._last.wait_for_publish, ARRIVAL_S)

    async def publish_now(
        self, topic: str, payload: bytes, *, content_type: str, expiry_s: int, within_s: float
    ) -> None:
        """QoS 0; returns when the bytes are on the socket. Else drops the connection unsent: Unavailable."""
        if not self.is_connected:
            raise Unavailable(f"no MQTT connection to {self._where}")
        info = self._client.publish(topic, payload, qos=0, properties=_properties(content_type, expiry_s))
        with suppress(RuntimeError, ValueError):
            await asyncio.to_thread(info.wait_for_publish, within_s)
        if info.rc != paho.MQTT_ERR_SUCCESS or not info.is_published():
            self._drop()
            raise Unavailable(f"MQTT: {topic} was not on the socket within {within_s:g} s")

    def _drop(self) -> None:
        # The thread finds the socket shut, forgets what was queued with QoS 0, and connects anew.
        found = self._client.socket()
        if isinstance(found, socket.socket):
            with suppress(OSError):
                # Not SSLSocket.shutdown: it forgets its TLS first, and the thread would write in clear.
                socket.socket.shutdown(found, socket.SHUT_RDWR)

    def _receipt(self, raw: _Raw) -> Receipt | None:
        if raw.qos == 0:
            return None
        if raw.connection != self._ring.connection:
            self._ring = Receipts(raw.connection)
        return self._ring.add(raw.mid)

    def _acknowledge(self, connection: int, mids: list[int]) -> None:
        with self._lock:
            if connection != self._connection:
                metrics.STALE_ACKS.inc(len(mids))
                return
            for mid in mids:
                self._client.ack(mid, 1)

    def _count(self, change: int) -> None:
        before, self._open = self._open, self._open + change
        metrics.QUEUE_DEPTH.set(self._open)
        if before < self._limit <= self._open:
            metrics.PAUSES.inc()
            metrics.PAUSED.set(1)
            log.warning("queue is full: the broker keeps the rest", messages=self._open)
        elif self._open < self._limit <= before:
            metrics.PAUSED.set(0)

    # Below: paho's thread.

    def _connected(
        self, client: paho.Client, userdata: Any, flags: paho.ConnectFlags, reason: ReasonCode, _: Any
    ) -> None:
        if reason.is_failure:
            log.error("MQTT broker refused the connection", broker=self._where, reason=str(reason))
            return
        with self._lock:
            self._connection += 1
        # Statuses are retained: each connect hears them again. Telemetry that somebody retained is old.
        client.subscribe(
            [
                (f"devices/+/+/{channel}", SubscribeOptions(qos=1, retainHandling=handling))
                for channel, handling in (("telemetry", 2), ("reply", 2), ("event", 2), ("status", 0))
            ]
        )
        log.info("MQTT connected", broker=self._where, session_present=flags.session_present)
        self._in_loop(self._tell_connected)

    def _disconnected(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, _: Any) -> None:
        with self._lock:
            self._connection += 1
        self.is_connected = False
        metrics.CONNECTED.set(0)
        log.warning("MQTT disconnected", broker=self._where, reason=str(reason))

    def _arrived(self, client: paho.Client, userdata: Any, packet: paho.MQTTMessage) -> None:
        if packet.qos == 0 and self._open + len(self._inbox) >= self._limit:
            metrics.MESSAGES.labels("dropped").inc()
            return
        content_type = getattr(packet.properties, "ContentType", "")
        message = Message(packet.topic, bytes(packet.payload), content_type, time.time_ns() // 1_000)
        with self._lock:
            was_empty = not self._inbox
            self._inbox.append(_Raw(self._connection, packet.mid, packet.qos, message))
        if was_empty:
            self._in_loop(self._arrival.set)

    def _in_loop(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(call)

    def _tell_connected(self) -> None:
        self.is_connected = True
        metrics.CONNECTED.set(1)
        for call in self._on_connected:
            call()


@asynccontextmanager
async def connected(source: MqttSource) -> AsyncIterator[MqttSource]:
    """The source, connecting while this lasts."""
    source.start()
    try:
        yield source
    finally:
        await source.stop()


def _properties(content_type: str, expiry_s: int = 0) -> Properties | None:
    if not content_type and not expiry_s:
        return None
    properties = _made(PacketTypes.PUBLISH)
    if content_type:
        properties.ContentType = content_type
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    return properties


def _made(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]
