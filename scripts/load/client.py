"""One MQTT connection of a sender: QoS 1 out, acknowledgements in; what the broker lacks is sent again."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from services.ingest import mqtt_packets
from services.ingest.link import Link, Tls, open_socket

KEEPALIVE_S: Final = 60
MOST_ON_THE_WAY: Final = 1_000
ANSWER_S: Final = 30.0


class Client:
    """Connects when told to; `on_ack` hears payload and content type, `on_lost` why the connection ended."""

    def __init__(
        self,
        name: str,
        *,
        on_ack: Callable[[bytes, str], None],
        on_lost: Callable[[str], None],
        hears_acks: bool,
    ) -> None:
        """`name` is `<tenant>/<device>`."""
        self.name = name
        self._on_ack = on_ack
        self._on_lost = on_lost
        self._hears_acks = hears_acks
        self._link: Link | None = None
        self._on_the_way: dict[int, bytes] = {}
        self._queued: deque[tuple[str, bytes, str]] = deque()
        self._mid = 0
        self._ready = asyncio.Event()
        self.is_connected = False

    async def connect(self, host: str, port: int, tls: Tls | None = None) -> None:
        """Raises OSError; returns when messages may be sent."""
        self._ready.clear()
        connection = await asyncio.to_thread(open_socket, host, port, tls)
        link = self._link = Link(connection, on_packet=self._packet, on_end=self._ended)
        link.write(
            mqtt_packets.connect(
                self.name, username="" if tls else self.name, keepalive_s=KEEPALIVE_S, clean_start=True
            )
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._ready.wait()
        except TimeoutError:
            link.end("no answer")
        if not self.is_connected:
            raise ConnectionError(f"{self.name}: the broker did not accept the connection")
        for packet in self._on_the_way.values():
            link.write(packet)
        self._send_queued()

    def publish(self, topic: str, payload: bytes, content_type: str) -> None:
        """Sent at once or after a reconnect."""
        self._queued.append((topic, payload, content_type))
        self._send_queued()

    def ping(self) -> None:
        """Keep the connection."""
        if self._link:
            self._link.write(mqtt_packets.PINGREQ_PACKET)

    def close(self) -> None:
        """Leave without a word."""
        if self._link:
            self._link.end("closed")

    def _packet(self, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == mqtt_packets.PUBACK:
            self._on_the_way.pop(mqtt_packets.read_puback(body)[0], None)
            self._send_queued()
        elif kind == mqtt_packets.PUBLISH:
            message = mqtt_packets.read_publish(first, body)
            self._on_ack(message.payload, message.content_type)
        elif kind == mqtt_packets.CONNACK and self._link:
            if mqtt_packets.read_connack(body).reason >= mqtt_packets.FAILURE:
                self._link.end("refused")
            elif self._hears_acks:
                self._link.write(mqtt_packets.subscribe(1, [(f"devices/{self.name}/ack", 0)]))
            else:
                self._set_ready()
        elif kind == mqtt_packets.SUBACK:
            self._set_ready()

    def _set_ready(self) -> None:
        self.is_connected = True
        self._ready.set()

    def _ended(self, reason: str) -> None:
        self._link, was_connected, self.is_connected = None, self.is_connected, False
        self._ready.set()
        if was_connected:
            self._on_lost(reason)

    def _send_queued(self) -> None:
        while self.is_connected and self._link and self._queued and len(self._on_the_way) < MOST_ON_THE_WAY:
            topic, payload, content_type = self._queued.popleft()
            self._mid = self._mid % 65_535 + 1
            packet = mqtt_packets.publish(topic, payload, mid=self._mid, content_type=content_type)
            self._on_the_way[self._mid] = packet
            self._link.write(packet)
