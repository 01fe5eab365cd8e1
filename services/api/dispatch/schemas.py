"""What operators ask for, and what they are told about it. Power is in MW, positive on discharge."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class NewDispatch(BaseModel):
    """Power for one asset, or for a site, which shares it by capacity. With both ids it is the asset's."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"site_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "mw": 12},
                {"asset_id": "7ba7b810-9dad-11d1-80b4-00c04fd430c8", "mw": 5, "duration_s": 900},
            ]
        },
    )

    asset_id: Annotated[str, Field(max_length=64)] | None = None
    site_id: Annotated[str, Field(max_length=64)] | None = None
    mw: Annotated[Finite, Field(ge=-1e6, le=1e6, description="positive on discharge, negative on charge")]
    duration_s: Annotated[Finite, Field(gt=0, le=366 * 86_400)] | None = Field(
        default=None, description="after it the setpoint returns to 0; without it, it stays until the next"
    )
    ttl_s: Annotated[Finite, Field(gt=0, le=86_400)] = Field(
        default=60, description="not applied later than this many seconds from now"
    )

    @model_validator(mode="after")
    def _names_a_target(self) -> "NewDispatch":
        if not self.asset_id and not self.site_id:
            raise ValueError("asset_id and site_id are both missing; name one of them")
        return self


class Accepted(BaseModel):
    """The dispatch is in the database and on its way; /dispatch/{dispatch_id} follows it."""

    model_config = ConfigDict(extra="allow")

    dispatch_id: str
    state: str
    asset_id: str | None
    site_id: str | None
    mw: float
    allocations: list[dict[str, Any]] = Field(
        description="the expected split; the agent's is the one of record"
    )
    expires_at: datetime


class Refused(BaseModel):
    """Known, but not to be written to now."""

    detail: str
    reason: str | None = Field(default=None, examples=["MODE_OBSERVE", "CAPABILITY_CLOSED"])
    box: str | None = None
    capability: str | None = None
    request_id: str


class Dispatch(BaseModel):
    """A dispatch and what became of it."""

    dispatch_id: str
    asset_id: str | None
    site_id: str | None
    mw: float
    duration_s: float | None
    state: str = Field(
        description="accepted, delivered, applied, verified, not_following, rejected, expired or superseded"
    )
    reason: str | None
    requested_by: str
    source: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    split_by: str | None = Field(description="controller: expected; agent: of record, with what was measured")
    allocations: list[dict[str, Any]] = Field(
        description="per asset: raw, clamped, residual, mw, limited_by, and of the agent `measured`"
    )
    unplaced_mw: float = 0.0
    unplaced_why: str = ""
