"""The values that the controller decides on. Power is in MW, positive on discharge or export."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from overwatt.split import AssetState, Split
from services.runtime.errors import Invalid


class Unknown(Invalid):
    """No such asset or site in this tenant."""


class Refused(Invalid):
    """Known, but not to be written to now; says which box and which capability stand in the way."""

    def __init__(
        self, message: str, *, reason: str, box: str | None = None, capability: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.box = box
        self.capability = capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of an agent's process, as the platform saw it."""

    session_id: str
    """the agent's boot_id"""
    tenant_id: str
    device_id: str
    site_id: str | None = None
    site_name: str = ""
    agent_mode: str = ""
    version: str = ""
    features: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    connected_at: datetime
    """when the gateway received the birth of the present connection: rises only on reconnect (D-021)"""
    birth_at_us: int
    """the agent's own time of that birth; the same again is a repeat"""
    last_seen_at: datetime
    disconnected_at: datetime | None = None
    close_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A dispatch as it was asked for; with an asset the site does not count (D-027)."""

    tenant_id: str
    asset_id: str | None
    site_id: str | None
    power_mw: float
    duration_s: float | None
    ttl_s: float
    requested_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An asset of the registry with the mode of the box that governs it, as the database has it now."""

    asset_id: str
    site_id: str | None
    type: str
    device_state: str
    capacity_mwh: float
    max_mw: float
    min_mw: float
    ramp_rate_mw_per_min: float | None
    soc_min_pct: float
    soc_max_pct: float
    box_id: str | None
    box_state: str | None
    mode: str | None
    opt_ins: tuple[str, ...]
    mode_epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A device that the registry lets speak for assets, with its newest session."""

    device_id: str
    may_serve: frozenset[str]
    """assets by the registry; its own id always"""
    says_it_serves: frozenset[str]
    """assets of its newest birth; empty without a session"""
    connected: bool
    last_seen_at: datetime | None
    """None: never connected"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known about an asset now; None where nothing recent is known."""

    soc_pct: float | None = None
    power_mw: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a dispatch decision rests on."""

    assets: Sequence[Asset]
    agents: Sequence[Agent]
    measured: Mapping[str, Measured]


@dataclass(frozen=True, slots=True)
class PlannedCommand:
    """One command to one agent: for an asset, or (None) for all of the site."""

    device_id: str
    box_id: str
    asset_id: str | None
    power_mw: float
    mode_epoch: int = 0
    """of the box when this was ordered: under another one it is void; 0 is any"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, the expected split, and what it was computed from."""

    commands: tuple[PlannedCommand, ...]
    split: Split
    states: tuple[AssetState, ...]
    served_by: Mapping[str, str]
    """asset to agent"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A dispatch that is in the database."""

    dispatch_id: UUID
    order: Order
    split: Split
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A word on a command."""

    tenant_id: str
    device_id: str
    command_id: UUID
    state: str
    reason: str
    allocations: tuple[Mapping[str, object], ...] = ()
    """the split of record as JSON, each with the power `measured` since"""
    unplaced_mw: float = 0.0
    unplaced_why: str = ""
    at: datetime
    received_at: datetime
    by: str = "agent"
    """agent, gateway (mode) or controller (expiry)"""
