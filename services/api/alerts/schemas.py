"""An alert as operators see it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field


class Status(StrEnum):
    """Which alerts."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    CLOSED = "CLOSED"
    ALL = "ALL"


class Alert(BaseModel):
    """One thing that is wrong; while it is not closed, the same thing again only raises `count`."""

    alert_id: str
    severity: int = Field(description="1 low, 2 medium, 3 high, 4 critical")
    status: Status
    summary: str
    device_id: str | None
    site_id: str | None
    rule_id: str | None
    opened_at: datetime
    last_seen_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    closed_at: datetime | None
    count: int
    escalation_level: int
    details: dict[str, Any]
