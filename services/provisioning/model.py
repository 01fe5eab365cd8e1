"""The values that provisioning decides on. Power is in MW, positive on discharge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.runtime.errors import Invalid

ACTIVE = "active"
DECOMMISSIONED = "decommissioned"
ERASED = "erased"
AGENT = "agent"


class Taken(Invalid):
    """What should be made exists already."""


class Barred(Invalid):
    """What is asked for does not go with the state that it is in."""


class Unknown(Invalid):
    """What should be changed does not exist; `field` says by which name it was looked for."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetRow:
    """What an asset can do."""

    capacity_mwh: float
    max_mw: float
    min_mw: float
    efficiency: float = 1.0
    ramp_rate_mw_per_min: float | None = None
    location: str = ""
    details: Mapping[str, object] = field(default_factory=dict)
    """the file's other keys, such as the driver and its settings"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """A device as the assets file wants it, or as the database has it."""

    device_id: str
    site_id: str | None
    site_name: str
    box_id: str | None
    type: str
    name: str
    assets: tuple[str, ...] = ()
    asset: AssetRow | None = None
    state: str = ACTIVE
    stays_out: bool = False
    """decommissioned by a person: no import brings it back"""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Sites (id to name), boxes (id to state) and devices (by id) that a tenant has by its assets file."""

    sites: Mapping[str, str]
    boxes: Mapping[str, str]
    devices: Mapping[str, DeviceRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What has to be written so that the database says what the file says."""

    sites: Mapping[str, str]
    boxes: tuple[str, ...]
    """to be made, or active again"""
    added: tuple[DeviceRow, ...]
    changed: tuple[DeviceRow, ...]
    retired_devices: tuple[str, ...]
    retired_boxes: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(
            self.sites
            or self.boxes
            or self.added
            or self.changed
            or self.retired_devices
            or self.retired_boxes
        )

    def summary(self) -> dict[str, list[str]]:
        """The ids that each kind of change concerns, for the audit log."""
        kinds = {
            "sites": sorted(self.sites),
            "boxes": sorted(self.boxes),
            "added": [device.device_id for device in self.added],
            "changed": [device.device_id for device in self.changed],
            "decommissioned": sorted((*self.retired_devices, *self.retired_boxes)),
        }
        return {kind: ids for kind, ids in kinds.items() if ids}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box with what may be done to it."""

    tenant_id: str
    box_id: str
    site_id: str | None
    mode: str
    mode_epoch: int
    opt_ins: tuple[str, ...]
    state: str
    mode_changed_at: datetime


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, for the audit log."""

    actor: str
    address: str | None = None
    request_id: str | None = None
