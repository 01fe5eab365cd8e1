"""The gateway's MQTT reader: its packets, judged by paho's, and its session against a broker on a string."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from services.ingest import mqtt_packets, source
from services.ingest.metrics import MESSAGES, STALE_ACKS
from services.ingest.mqtt_packets import Malformed
from services.ingest.source import MqttSource, connected
from tests.fakes.agent_cloud import until

CONNECT, SUBSCRIBE, PUBACK = 0x10, 0x82, 0x40
CONNACK = b"\x20\x03\x00\x00\x00"
CONNACK_AGAIN = b"\x20\x03\x01\x00\x00"
"""the session is there"""


@given(
    st.binary(max_size=400),
    st.text(max_size=40),
    st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3),
    st.integers(0, 1),
)
def test_a_message_is_read_as_paho_writes_it(
    payload: bytes, content_type: str, users: list[tuple[str, str]], qos: int
) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = 5
    properties.CorrelationData = b"\x00\xff"
    properties.ContentType = content_type
    if users:
        properties.UserProperty = users
    topic = b"devices/t/d/telemetry"
    number = struct.pack(">H", 7) if qos else b""
    body = struct.pack(">H", len(topic)) + topic + number + properties.pack() + payload

    read = mqtt_packets.read_publish(mqtt_packets.PUBLISH | qos << 1, body)

    assert read == ("devices/t/d/telemetry", payload, content_type, qos, 7 if qos else 0)


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=8), st.data())
def test_what_is_published_is_read_back_however_it_is_cut(
    messages: list[tuple[bytes, bool]], data: st.DataObject
) -> None:
    stream = b"".join(
        mqtt_packets.publish("a/b", payload, mid=9 if is_safe else 0, content_type="x", expiry_s=3)
        for payload, is_safe in messages
    )
    cut = data.draw(st.integers(0, len(stream)))

    first, used = mqtt_packets.split(stream[:cut])
    second, rest = mqtt_packets.split(stream[used:])

    assert used <= cut
    assert used + rest == len(stream)
    read = [mqtt_packets.read_publish(*packet) for packet in first + second]
    assert [(each.payload, each.qos == 1, each.content_type) for each in read] == [
        (payload, is_safe, "x") for payload, is_safe in messages
    ]


@given(st.binary(max_size=60))
def test_any_bytes_are_packets_or_malformed(noise: bytes) -> None:
    try:
        packets, used = mqtt_packets.split(noise)
        assert used <= len(noise)
        for first, body in packets:
            mqtt_packets.read_publish(first, body)
            mqtt_packets.read_connack(body)
            mqtt_packets.read_puback(body)
            mqtt_packets.read_suback(body)
    except Malformed:
        pass


class Peer:
    """One connection as the broker sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._got = b""

    def send(self, *packets: bytes) -> None:
        self._writer.write(b"".join(packets))

    def close(self) -> None:
        self._writer.close()

    async def packet(self, kind: int) -> bytes:
        """The next packet of this kind."""
        while True:
            packets, used = mqtt_packets.split(self._got)
            for place, (first, body) in enumerate(packets):
                if first & 0xF0 == kind & 0xF0:
                    rest = packets[place + 1 :]
                    self._got = b"".join(map(_whole, rest)) + self._got[used:]
                    return body
            self._got = self._got[used:] + await asyncio.wait_for(self._reader.read(65_536), 5)


def _whole(packet: tuple[int, bytes]) -> bytes:
    assert len(packet[1]) < 128
    return bytes([packet[0], len(packet[1])]) + packet[1]


def a_message(mid: int, qos: int = 1) -> bytes:
    return mqtt_packets.publish("devices/t/d/telemetry", b"{}", mid=mid if qos else 0)


@asynccontextmanager
async def a_session(limit: int = 10) -> AsyncIterator[tuple[MqttSource, "asyncio.Queue[Peer]"]]:
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.put_nowait(Peer(reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader = MqttSource(client_id="svc-ingest-0", host="127.0.0.1", port=port, receive_maximum=limit)
    async with connected(reader):
        yield reader, peers
    server.close()


async def accepted(peers: "asyncio.Queue[Peer]", answer: bytes = CONNACK) -> Peer:
    peer = await asyncio.wait_for(peers.get(), 10)
    await peer.packet(CONNECT)
    peer.send(answer)
    await peer.packet(SUBSCRIBE)
    return peer


async def test_it_keeps_its_session_and_says_how_much_it_takes() -> None:  # P-045
    async with a_session(limit=321) as (_, peers):
        peer = await asyncio.wait_for(peers.get(), 10)
        body = await peer.packet(CONNECT)
        assert body[:7] == b"\x00\x04MQTT\x05"
        assert body[7] == 0x80  # a user name, no clean start
        assert b"\x11\xff\xff\xff\xff\x21" + struct.pack(">H", 321) in body


async def test_messages_are_acknowledged_in_order_and_only_when_told_to() -> None:
    async with a_session() as (reader, peers):
        peer = await accepted(peers)
        peer.send(*(a_message(mid) for mid in (5, 6, 7)))
        taken = []
        while len(taken) < 3:
            taken += await reader.take()
        reader.settle(taken[1:])
        reader.settle(taken[:1])
        assert [await peer.packet(PUBACK) for _ in range(3)] == [b"\x00\x05", b"\x00\x06", b"\x00\x07"]


async def test_an_acknowledgement_of_an_earlier_connection_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "RECONNECT", source.Backoff(0.01, 0.01))
    before = STALE_ACKS._value.get()
    async with a_session() as (reader, peers):
        first = await accepted(peers)
        first.send(a_message(1), a_message(2))
        taken = []
        while len(taken) < 2:
            taken += await reader.take()
        reader.settle(taken[:1])
        assert await first.packet(PUBACK) == b"\x00\x01"
        first.close()

        second = await accepted(peers, CONNACK_AGAIN)
        second.send(a_message(1))  # the packet ids start over
        again = await reader.take()
        reader.settle(taken[1:])
        assert STALE_ACKS._value.get() == before + 1
        reader.settle(again)
        assert await second.packet(PUBACK) == b"\x00\x01"


async def test_qos_0_beyond_the_queue_is_dropped_and_counted() -> None:  # P-045
    before = MESSAGES.labels("dropped")._value.get()
    async with a_session(limit=3) as (reader, peers):
        peer = await accepted(peers)
        peer.send(*(a_message(0, qos=0) for _ in range(5)))
        await until(lambda: MESSAGES.labels("dropped")._value.get() == before + 2)
        assert len(await reader.take()) == 3


async def test_what_the_broker_has_not_acknowledged_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RECONNECT", source.Backoff(0.01, 0.01))
    async with a_session() as (reader, peers):
        assert not reader.publish("devices/t/d/ack", b"lost")  # not connected: nothing is kept
        first = await accepted(peers)
        await until(lambda: reader.is_connected)
        assert reader.publish("devices/t/d/config", b"mine", retain=True)
        sent = await first.packet(0x30)
        first.close()

        second = await accepted(peers, CONNACK_AGAIN)
        again = await second.packet(0x30)
        assert again == sent
        waiting = asyncio.ensure_future(reader.arrived())
        mid = mqtt_packets.read_publish(0x32, again).mid
        second.send(mqtt_packets.pubacks([mid]))
        await asyncio.wait_for(waiting, 5)


async def test_a_broker_that_speaks_something_else_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RECONNECT", source.Backoff(0.01, 0.01))
    async with a_session() as (reader, peers):
        first = await accepted(peers)
        first.send(b"\x30\xff\xff\xff\xff\xff")
        await accepted(peers)
        await until(lambda: reader.is_connected)


async def test_a_broker_that_is_silent_is_left_and_one_that_answers_pings_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "RECONNECT", source.Backoff(0.01, 0.01))
    monkeypatch.setattr(source, "PING_S", 0.05)
    async with a_session() as (_, peers):
        first = await accepted(peers)
        for _ in range(5):
            await first.packet(0xC0)
            first.send(b"\xd0\x00")
        assert peers.empty()

        await accepted(peers)  # nobody answers the first one's pings any more
