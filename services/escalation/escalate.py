"""Whom to tell about an alert now. In this version the first level is every enabled channel of the tenant.

An alert that closed is told to those who were told that it opened, and to nobody else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from services.escalation.model import SEVERITIES, Alert, Page

OPENED = "alert.opened"
CLOSED = "alert.closed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a due alert; nobody is due after the first level until policies exist."""

    alert: Alert
    level: int
    pages: tuple[Page, ...]


def decide(alert: Alert, channels: Sequence[UUID], told: Iterable[UUID], now: str) -> Decision:
    """The pages that are due, and the level reached. A level that reaches nobody is not reached."""
    if alert.status == "CLOSED":
        pages = tuple(_page(alert, CLOSED, "closed", channel, now) for channel in sorted(told))
        return Decision(alert, alert.escalation_level, pages)
    if alert.status == "ACKNOWLEDGED" or not channels:
        return Decision(alert, alert.escalation_level, ())
    level = alert.escalation_level + 1
    return Decision(alert, level, tuple(_page(alert, OPENED, str(level), c, now) for c in sorted(channels)))


def _page(alert: Alert, kind: str, step: str, channel_id: UUID, now: str) -> Page:
    idem = f"{alert.tenant_id}:{alert.alert_id}:{alert.epoch}:{step}:{channel_id}"
    return Page(idem, alert, channel_id, payload(alert, kind, now))


def payload(alert: Alert, kind: str, now: str) -> bytes:
    """The exact bytes that are stored, signed and sent."""
    return msgspec.json.encode(
        {
            "type": kind,
            "timestamp": now,
            "data": {
                "schema": 1,
                "alert_id": str(alert.alert_id),
                "dedup_key": alert.fingerprint,
                "tenant": alert.tenant_id,
                "site": alert.site_id,
                "box": alert.box_id,
                "device": alert.device_id,
                "rule_id": str(alert.rule_id) if alert.rule_id else None,
                "severity": alert.severity,
                "severity_label": SEVERITIES[alert.severity],
                "status": alert.status,
                "summary": alert.summary,
                "details": alert.details,
                "opened_at": alert.opened_at,
                "closed_at": alert.closed_at,
            },
        }
    )
