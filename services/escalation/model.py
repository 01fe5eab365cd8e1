"""The words of this service. Instants of the field (`*_us`) are microseconds since 1970-01-01 UTC."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import UUID

SEVERITIES: Final = {1: "LOW", 2: "MEDIUM", 3: "HIGH", 4: "CRITICAL"}
"""Of alerts, 4 is worst (U-P16, X12). Incidents count the other way round: sev 1 is worst."""
EVENT_SEVERITIES: Final = {"info": 1, "warning": 2, "alarm": 3, "critical": 4}
"""What a device's own word means as a severity (X12)."""

THRESHOLD: Final = "threshold"
NO_HEARTBEAT: Final = "no_heartbeat"

Key: TypeAlias = tuple[str, str]
"""Tenant and device."""


class Comparison(enum.StrEnum):
    """How a value breaches a threshold."""

    GT = "GT"
    LT = "LT"
    GTE = "GTE"
    LTE = "LTE"

    @property
    def is_upwards(self) -> bool:
        """Whether high values are the bad ones."""
        return self in (Comparison.GT, Comparison.GTE)


SIGNS: Final = {Comparison.GT: ">", Comparison.LT: "<", Comparison.GTE: ">=", Comparison.LTE: "<="}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A row of alert_rules."""

    rule_id: UUID
    tenant_id: str
    name: str
    kind: str
    severity: int
    metric: str = ""
    comparison: Comparison = Comparison.GT
    threshold: float = 0.0
    clear_threshold: float | None = None
    """Hysteresis: where the alert closes; None closes it as soon as the threshold is no longer breached."""
    for_s: int = 0
    device_id: str | None = None
    """None: every device of the tenant."""


@dataclass(frozen=True, slots=True)
class Device:
    """Whom a sample is about."""

    tenant_id: str
    device_id: str
    site_id: str
    box_id: str
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """An alert's cause was seen: opens the alert, or counts up the open one."""

    rule: Rule
    device: Device
    at_us: int
    summary: str
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """An alert's cause is over."""

    rule: Rule
    device: Device
    at_us: int
    details: Mapping[str, object] = field(default_factory=dict)


Change: TypeAlias = Raise | Clear


def fingerprint(rule_id: UUID, device_id: str) -> str:
    """What makes two alerts of a tenant the same."""
    return f"{rule_id}:{device_id}"


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of alerts, as far as an escalation needs it."""

    alert_id: UUID
    tenant_id: str
    fingerprint: str
    rule_id: UUID | None
    device_id: str | None
    site_id: str | None
    box_id: str | None
    severity: int
    status: str
    summary: str
    details: Mapping[str, object]
    opened_at: str
    closed_at: str | None
    epoch: int
    escalation_level: int


@dataclass(frozen=True, slots=True)
class Page:
    """Something to deliver to one channel; `idem` makes a second insert harmless."""

    idem: str
    alert: Alert
    channel_id: UUID
    payload: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery under lease."""

    delivery_id: UUID
    tenant_id: str
    alert_id: UUID
    channel_id: UUID
    payload: bytes
    attempts: int
    """that ended before this one"""
    lease_token: UUID
    config: Mapping[str, object] | None
    """of the channel; None when it is gone or disabled"""
