"""Names of identities, MQTT topics and Kafka topics: built and read in one place.

One namespace: a device is `<tenant>/<device>`, and that is also its MQTT user name and client id. It may
publish on `devices/<tenant>/<device>/{telemetry,status,reply,event}` and read `{cmd,ack,config}` below
the same prefix, and nothing else.
"""

import hashlib
import re
import zlib
from functools import lru_cache
from typing import Final, NamedTuple

TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,25}")
DEVICE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,35}")
UP: Final = ("telemetry", "status", "reply", "event")
DOWN: Final = ("cmd", "ack", "config")

PROTOBUF: Final = "application/x-protobuf"
"""MQTT 5 content type of everything an agent sends; JSON has none or application/json."""

MAX_JSON_BYTES: Final = 16_384
MAX_BATCH_BYTES: Final = 65_536

GATEWAYS: Final = 4
"""Replicas at most: their names stand in Mosquitto's rules, which know no pattern of user names."""
BEATS: Final = "gateways/+"
"""MQTT topics on which gateways tell each other that they live."""

# Kafka. Partitions are chosen by `partition_of`, so that one device stays in order.
TELEMETRY: Final = "telemetry"
LATE: Final = "telemetry.late"
OUTCOMES: Final = "telemetry.outcomes"
DEAD_LETTERS: Final = "telemetry.dead"
AGENT_STATUS: Final = "agent.status"
AGENT_REPLY: Final = "agent.reply"
AGENT_EVENT: Final = "agent.event"
COMMANDS: Final = "commands"
REGISTRY: Final = "registry"
ALERT_EVENTS: Final = "alert.events"
AUDIT_HEAD: Final = "audit.head"

TOMBSTONE: Final = "sha256:"


class Address(NamedTuple):
    """An MQTT topic, taken apart."""

    tenant: str
    device: str
    channel: str


def is_tenant(text: str) -> bool:
    """`[a-z0-9][a-z0-9_-]{0,25}`: never a wildcard, a slash or a control character."""
    return TENANT.fullmatch(text) is not None


def is_device(text: str) -> bool:
    """`[a-z0-9][a-z0-9_-]{0,35}`: a UUID fits."""
    return DEVICE.fullmatch(text) is not None


def topic(tenant: str, device: str, channel: str) -> str:
    """`devices/<tenant>/<device>/<channel>`; raises ValueError for a name that may not stand in a topic."""
    if not is_tenant(tenant):
        raise ValueError(f"tenant {tenant!r} must match {TENANT.pattern}")
    if not is_device(device):
        raise ValueError(f"device {device!r} must match {DEVICE.pattern}")
    if channel not in UP and channel not in DOWN:
        raise ValueError(f"channel {channel!r} must be one of {', '.join(UP + DOWN)}")
    return f"devices/{tenant}/{device}/{channel}"


def parse(name: str) -> Address | None:
    """The parts of a device's topic, or None for any other name."""
    return _parse(name) if len(name) <= LONGEST else None


LONGEST: Final = len("devices/") + 26 + len("/") + 36 + len("/telemetry")
"""Of a topic; what is longer is no device's, and not worth remembering."""


@lru_cache(maxsize=65_536)
def _parse(name: str) -> Address | None:
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "devices" or not is_tenant(parts[1]) or not is_device(parts[2]):
        return None
    if parts[3] not in UP and parts[3] not in DOWN:
        return None
    return Address(parts[1], parts[2], parts[3])


def beat(gateway: int) -> str:
    """`gateways/<number>`: who serves this session says so there."""
    return f"gateways/{gateway}"


def beating(topic: str) -> int | None:
    """The gateway that a beat is about; None: it is no beat."""
    place, _, number = topic.partition("/")
    return int(number) if place == "gateways" and number.isascii() and number.isdigit() else None


def identity(tenant: str, device: str) -> str:
    """`<tenant>/<device>`: MQTT user name, client id, certificate CN and Kafka key."""
    return f"{tenant}/{device}"


def partition_of(tenant: str, device: str, partitions: int) -> int:
    """The Kafka partition of a device: CRC-32 of its identity, equal in every process and release."""
    return zlib.crc32(identity(tenant, device).encode()) % partitions


def tombstone_of(identity_sha256: bytes) -> str:
    """Key of the registry record that says of an identity, known by its hash alone, that it is erased."""
    return f"{TOMBSTONE}{identity_sha256.hex()}"


def identity_hash(tenant: str, device: str) -> bytes:
    """SHA-256 of an identity."""
    return hashlib.sha256(identity(tenant, device).encode()).digest()
