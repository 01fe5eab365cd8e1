"""What administrators send, and what they are answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

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


def _words(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable characters")
    return value


TenantId = Annotated[str, AfterValidator(_tenant)]
DeviceId = Annotated[str, AfterValidator(_device)]
Words = Annotated[str, Field(max_length=200), AfterValidator(_words)]


Email = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$", max_length=254
    ),
]
ExternalId = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_words)]
"""How another system calls it."""


class Strict(BaseModel):
    """Says no to fields that it does not know."""

    model_config = ConfigDict(extra="forbid")


class NewMode(Strict):
    """observe: the platform writes nothing. active: to opened capabilities."""

    mode: Literal["observe", "active"]
    payment_ref: Words | None = Field(default=None, description="why, for the audit log", examples=["inv-77"])


class NewCapabilities(Strict):
    """All capabilities that are open from now on."""

    opt_ins: list[Capability] = Field(max_length=20, examples=[["battery"]])


class CapabilitySwitch(Strict):
    """One capability, open or closed."""

    enabled: bool


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
