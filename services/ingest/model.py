"""What the gateway speaks of: who belongs, what arrived, what became of it."""

from dataclasses import dataclass, field

from overwatt.reasons import Reason
from services.ingest.ranges import Ranges


@dataclass(frozen=True, slots=True)
class Member:
    """A device that is registered."""

    tenant: str
    device: str
    key: int
    state: str = "active"
    site: str = ""
    box: str = ""
    type: str = ""
    assets: frozenset[str] = frozenset()
    mode: str = ""
    mode_epoch: int = 0
    opt_ins: tuple[str, ...] = ()
    wipe: bool = False
    """erased, and its spool is still to be wiped"""


@dataclass(frozen=True, slots=True)
class Message:
    """An MQTT message."""

    topic: str
    payload: bytes
    content_type: str
    received_at_us: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What a simple device measured at one time."""

    ts_us: int
    seq: int
    """0: it sent none"""
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Samples:
    """A simple device's message."""

    member: Member
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """What cannot be used, and why."""

    tenant: str
    device: str
    reason: Reason
    detail: str
    topic: str
    payload: bytes
    asset: str = ""
    epoch: int = 0
    """0: of a simple device"""
    refused: Ranges = field(default_factory=list)
    """Sequence numbers that the sender hears about."""
    retry_after_s: int = 0
    """0: as usual with this reason"""


@dataclass(frozen=True, slots=True)
class AgentBatch:
    """An agent's message: its usable blocks as one Kafka record, and what was not usable."""

    member: Member
    record: bytes
    """empty: nothing is usable"""
    rows: int
    """in the record"""
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """A status, reply or event, as it goes to Kafka."""

    member: Member
    kafka_topic: str
    value: bytes
    asked_us: int = 0
    """of a status: what the answer names"""
