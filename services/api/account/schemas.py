"""What people ask about their own boxes, and are told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Capability = Literal["battery", "pv", "ev_charger", "heat_pump", "load"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewName(_Strict):
    """Another name for a site; `box_id` says which, where somebody has several."""

    site_name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    box_id: Annotated[str, Field(max_length=64)] | None = None


class OwnBox(BaseModel):
    """A box of the caller's."""

    box_id: str
    name: str
    site_id: str | None
    site_name: str
    state: str
    mode: str
    mode_changed_at: datetime
    enrolled_at: datetime | None


class Account(BaseModel):
    """Who the caller is, and what is theirs."""

    user_id: str
    tenant: str
    role: str
    site_name: str | None = Field(description="where there is one site only")
    boxes: list[OwnBox]


class Switch(BaseModel):
    """A capability: whether the platform may act on it."""

    capability: Capability
    enabled: bool


class NewSwitch(_Strict):
    """Open or close one capability; `box_id` says of which box, where somebody has several."""

    capability: Capability
    enabled: bool
    box_id: Annotated[str, Field(max_length=64)] | None = None


class Control(BaseModel):
    """A box's switches; locked, and none, while it observes."""

    box_id: str
    site_name: str
    mode: str
    locked: bool
    capabilities: list[Switch]


class Controls(BaseModel):
    """All boxes of the caller."""

    boxes: list[Control]
