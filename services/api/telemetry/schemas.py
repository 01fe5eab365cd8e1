"""Telemetry as operators see it. Names carry units; power is positive on discharge or generation."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from services.api.telemetry.resolution import Resolution


class LatestValues(BaseModel):
    """The newest value of each metric. A device that has said nothing yet has none."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "asset_id": "7ba7b810-9dad-11d1-80b4-00c04fd430c8",
                "name": "SA-BESS-1",
                "type": "battery",
                "site_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                "at": "2026-11-21T12:00:00Z",
                "is_stale": False,
                "quality": 0,
                "values": {"active_power_w": 7200000.0, "soc_pct": 54.2},
                "values_at": {"active_power_w": "2026-11-21T12:00:00Z", "soc_pct": "2026-11-21T12:00:00Z"},
            }
        }
    )

    asset_id: str
    name: str
    type: str
    site_id: str | None
    at: datetime | None = Field(description="of the newest sample")
    is_stale: bool = Field(description="nothing was heard for 90 s")
    quality: int | None = Field(description="0 good, 1 uncertain, 2 bad")
    values: dict[str, float]
    values_at: dict[str, datetime]


class Point(BaseModel):
    """A sample, or a bucket: mean of a gauge, last of a counter or state; null where nothing was said."""

    at: datetime = Field(description="of a bucket: its beginning")
    values: dict[str, float | None]
    min: dict[str, float | None] | None = Field(default=None, description="of gauges in a bucket")
    max: dict[str, float | None] | None = Field(default=None, description="of gauges in a bucket")


class History(BaseModel):
    """Points in order of time, from `from` on and before `to`."""

    asset_id: str
    resolution: Resolution
    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    points: list[Point]
    next_from: datetime | None = Field(description="ask again from here for what did not fit")
