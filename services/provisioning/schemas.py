"""What administrators send, and what they are answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from overwatt.inventory import TYPES
from overwatt.topics import DEVICE, TENANT, is_device, is_tenant

Capability = Literal["battery", "pv", "ev_charger", "heat_pump", "load"]


def _tenant(value: str) -> str:
    if not is_tenant(value):
        raise ValueError(f"must match {TENANT.pattern}")
    return value


def _device(value: str) -> str:
    if not is_device(value):
        raise ValueError(f"must match {DEVICE.pattern}")
    return value


def _type(value: str) -> str:
    if value not in (*TYPES, "agent"):
        raise ValueError(f"must be one of {', '.join((*TYPES, 'agent'))}")
    return value


def _words(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable characters")
    return value


TenantId = Annotated[str, AfterValidator(_tenant)]
DeviceId = Annotated[str, AfterValidator(_device)]
Words = Annotated[str, Field(max_length=200), AfterValidator(_words)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewTenant(_Strict):
    """An organisation whose devices and users see nothing of any other."""

    tenant_id: TenantId = Field(examples=["tenant-a"])
    name: Words = Field(default="", examples=["Bakery Ltd"])


class Tenant(BaseModel):
    """A tenant."""

    tenant_id: str
    name: str
    state: str
    created_at: datetime


class NewDevice(_Strict):
    """Whatever holds MQTT credentials: `<tenant>/<device>` is its user name and client id."""

    tenant_id: TenantId = Field(examples=["tenant-a"])
    device_id: DeviceId = Field(examples=["sensor-001"])
    type: Annotated[str, AfterValidator(_type)] = "sensor"
    name: Words = ""
    site_id: DeviceId | None = None


class Device(BaseModel):
    """A device of the registry. `device_key` is its number in the telemetry tables."""

    device_key: int
    tenant_id: str
    device_id: str
    site_id: str | None
    box_id: str | None
    type: str
    name: str
    state: str
    assets: list[str]
    created_at: datetime
    changed_at: datetime


class NewMode(_Strict):
    """observe: the platform writes nothing. active: to opened capabilities."""

    mode: Literal["observe", "active"]


class NewCapabilities(_Strict):
    """All capabilities that are open from now on."""

    opt_ins: list[Capability] = Field(max_length=20, examples=[["battery"]])


class Box(BaseModel):
    """A box and what may be done to it; `mode_epoch` rises with every change."""

    model_config = ConfigDict(from_attributes=True)

    tenant_id: str
    box_id: str
    site_id: str | None
    mode: str
    mode_epoch: int
    opt_ins: list[str]
    state: str
    mode_changed_at: datetime
