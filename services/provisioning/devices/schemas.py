"""What is asked about devices, and what is answered."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from overwatt.inventory import TYPES
from services.provisioning.schemas import DeviceId, ExternalId, Strict, TenantId, Words

AGENT = "agent"


def _type(value: str) -> str:
    if value not in (*TYPES, AGENT):
        raise ValueError(f"must be one of {', '.join((*TYPES, AGENT))}")
    return value


def _lower(value: str) -> str:
    return value.lower().replace("-", ":")


Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._:-]{0,252}[A-Za-z0-9])?$")]
Mac = Annotated[
    str, StringConstraints(pattern=r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"), AfterValidator(_lower)
]


class NewDevice(Strict):
    """Whatever holds MQTT credentials: `<tenant>/<device>` is its user name and client id."""

    tenant_id: TenantId = Field(examples=["tenant-a"])
    device_id: DeviceId = Field(examples=["sensor-001"])
    type: Annotated[str, AfterValidator(_type)] = "sensor"
    name: Words = ""
    site_id: DeviceId | None = None
    external_id: ExternalId | None = None


class DeviceChange(Strict):
    """What is to be different; what is not named stays."""

    name: Words = ""
    host: Host | None = Field(default=None, examples=["10.0.0.9"])
    host_mac: Mac | None = Field(default=None, examples=["aa:bb:cc:dd:ee:ff"])
    site_id: DeviceId | None = Field(default=None, description="moves it; an asset moves with its box")
    external_id: ExternalId | None = None
    assets: list[DeviceId] = Field(
        default=[], max_length=1000, description="devices that it may speak for, all of them; none in a box"
    )


class Device(BaseModel):
    """A device of the registry. `device_key` is its number in the telemetry tables."""

    device_key: int
    tenant_id: str
    device_id: str
    external_id: str | None
    site_id: str | None
    box_id: str | None
    user_id: UUID | None = Field(description="whose its box is")
    type: str
    name: str
    state: str
    assets: list[str]
    host: str | None
    host_mac: str | None
    created_at: datetime
    changed_at: datetime
    decommissioned_at: datetime | None
