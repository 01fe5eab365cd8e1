"""MQTT 5 packets of a client, as bytes. Pure; what a broker must not send raises Malformed.

Only what telemetry needs: QoS 0 and 1, no topic aliases (we allow none), no authentication exchange.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
SUBACK: Final = 0x90
PINGRESP: Final = 0xD0
DISCONNECT: Final = 0xE0

PINGREQ_PACKET: Final = b"\xc0\x00"

CONTENT_TYPE: Final = 0x03
RECEIVE_MAXIMUM: Final = 0x21
FAILURE: Final = 0x80
"""Reason codes from here on are refusals."""
DUPLICATE: Final = 0x08
"""Flag of a PUBLISH that is sent again."""
RETAINED: Final = 0x01
"""Flag of a PUBLISH from before the subscription."""

_SIZES: Final = {  # of properties; those not here are text or binary, with two bytes of length
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_TEXTS: Final = frozenset((0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F))
USUAL_BYTES: Final = 64
"""Of the properties of a message that are remembered."""
_SUBSCRIPTION_ID: Final = 0x0B
_USER_PROPERTY: Final = 0x26


class Malformed(Exception):
    """No MQTT 5, or a part of it that we did not ask for."""


class Published(NamedTuple):
    """An incoming message; `mid` is 0 with QoS 0."""

    topic: str
    payload: bytes
    content_type: str
    qos: int
    mid: int


class Connected(NamedTuple):
    """A CONNACK."""

    reason: int
    session_present: bool
    receive_maximum: int


def connect(
    client_id: str,
    *,
    username: str = "",
    keepalive_s: int,
    clean_start: bool,
    session_expiry_s: int = 0,
    receive_maximum: int = 65_535,
) -> bytes:
    """The first packet."""
    flags = (0x80 if username else 0) | (0x02 if clean_start else 0)
    properties = struct.pack(">BIBH", 0x11, session_expiry_s, RECEIVE_MAXIMUM, receive_maximum)
    body = _text("MQTT") + struct.pack(">BBH", 5, flags, keepalive_s) + _sized(properties) + _text(client_id)
    return _packet(0x10, body + (_text(username) if username else b""))


def subscribe(mid: int, filters: Sequence[tuple[str, int]]) -> bytes:
    """Topic filters with their options: QoS, plus 0x10 for no retained message of an older subscription."""
    body = struct.pack(">HB", mid, 0)
    return _packet(0x82, body + b"".join(_text(name) + bytes([options]) for name, options in filters))


def unsubscribe(mid: int, filters: Sequence[str]) -> bytes:
    """Topic filters, whether or not there are such subscriptions."""
    return _packet(0xA2, struct.pack(">HB", mid, 0) + b"".join(map(_text, filters)))


def disconnect(*, forget: bool = False) -> bytes:
    """The last packet; to be forgotten: the session ends with the connection."""
    return _packet(DISCONNECT, b"\x00" + _sized(struct.pack(">BI", 0x11, 0)) if forget else b"")


def publish(
    topic: str,
    payload: bytes,
    *,
    mid: int = 0,
    retain: bool = False,
    content_type: str = "",
    expiry_s: int = 0,
) -> bytes:
    """QoS 1 with a packet id, QoS 0 without."""
    properties = _sized(_publish_properties(content_type, expiry_s))
    number = struct.pack(">H", mid) if mid else b""
    header = PUBLISH | (0x02 if mid else 0) | (0x01 if retain else 0)
    return _packet(header, b"".join((_text(topic), number, properties, payload)))


def pubacks(mids: Sequence[int]) -> bytes:
    """One PUBACK each, joined."""
    return b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])


def split(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Whole packets as (first byte, rest), and how many bytes they took."""
    packets: list[tuple[int, bytes]] = []
    start, end = 0, len(data)
    while end - start >= 2:
        length, body = data[start + 1], start + 2
        if length >= 0x80:
            length &= 0x7F
            shift = 7
            while True:
                if body == end:
                    return packets, start
                byte = data[body]
                body += 1
                length |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
                if shift > 21:
                    raise Malformed("a length of more than four bytes")
        if body + length > end:
            break
        packets.append((data[start], data[body : body + length]))
        start = body + length
    return packets, start


def read_publish(first: int, body: bytes) -> Published:
    """A PUBLISH."""
    try:
        qos = first >> 1 & 3
        at = 2 + (body[0] << 8 | body[1])
        topic, mid = body[2:at], 0
        if qos:
            mid = body[at] << 8 | body[at + 1]
            at += 2
        size = body[at]
        at += 1
        if size >= 0x80:
            size, at = _varint(body, at - 1)
        content_type = _content_type(body[at : at + size]) if size else ""
        return Published(topic.decode(errors="replace"), body[at + size :], content_type, qos, mid)
    except IndexError as error:
        raise Malformed("a PUBLISH that ends too early") from error


def read_connack(body: bytes) -> Connected:
    """A CONNACK."""
    if len(body) < 3:
        raise Malformed("a CONNACK that ends too early")
    size, at = _varint(body, 2)
    found = _properties(body[at : at + size])
    maximum = int.from_bytes(found.get(RECEIVE_MAXIMUM, b"\xff\xff"), "big")
    return Connected(body[1], bool(body[0] & 1), maximum)


def read_puback(body: bytes) -> tuple[int, int]:
    """Packet id and reason."""
    if len(body) < 2:
        raise Malformed("a PUBACK that ends too early")
    return body[0] << 8 | body[1], body[2] if len(body) > 2 else 0


def read_suback(body: bytes) -> bytes:
    """A reason for each filter."""
    size, at = _varint(body, 2)
    return body[at + size :]


def _content_type(properties: bytes) -> str:
    # Almost always the same few bytes; what is long is a stranger's, and not kept.
    return _usual_type(properties) if len(properties) <= USUAL_BYTES else _type_in(properties)


@lru_cache(maxsize=1024)
def _usual_type(properties: bytes) -> str:
    return _type_in(properties)


def _type_in(properties: bytes) -> str:
    return _properties(properties).get(CONTENT_TYPE, b"").decode(errors="replace")


def _properties(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        name = data[at]
        at += 1
        if name in _SIZES:
            size = _SIZES[name]
        elif name in _TEXTS:
            size = int.from_bytes(data[at : at + 2], "big")
            at += 2
        elif name == _SUBSCRIPTION_ID:
            _, end = _varint(data, at)
            size = end - at
        elif name == _USER_PROPERTY:
            first = int.from_bytes(data[at : at + 2], "big")
            size = 4 + first + int.from_bytes(data[at + 2 + first : at + 4 + first], "big")
        else:
            raise Malformed(f"property 0x{name:02x}")
        found[name] = data[at : at + size]
        at += size
    return found


@lru_cache(maxsize=64)
def _publish_properties(content_type: str, expiry_s: int) -> bytes:
    expiry = struct.pack(">BI", 0x02, expiry_s) if expiry_s else b""
    return expiry + (bytes([CONTENT_TYPE]) + _text(content_type) if content_type else b"")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at == len(data) or shift > 21:
            raise Malformed("a length that does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _sized(data: bytes) -> bytes:
    return _length(len(data)) + data


def _packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + _length(len(body)) + body


def _length(size: int) -> bytes:
    encoded = bytearray()
    while size >= 0x80:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
