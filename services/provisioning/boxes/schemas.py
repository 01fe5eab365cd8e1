"""What is asked about boxes, and what is answered."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from services.provisioning.schemas import DeviceId, Strict, TenantId, Words

State = Literal["active", "disabled", "revoked", "decommissioned", "erased"]
LARGEST_NUMBER = 2**53


class NewBox(Strict):
    """A box before it is there: with a site of its own, observing, not yet enrolled."""

    tenant_id: TenantId = Field(examples=["tenant-a"])
    box_id: DeviceId = Field(examples=["hems-900100"])
    site_name: Words = Field(default="", examples=["a@b.c"], description="an e-mail will do; renamed later")
    serial: Words | None = None
    name: Words = ""
    hardware: Words = ""
    user_id: UUID | None = Field(default=None, description="whose it is")


class BoxChange(Strict):
    """What is to be different; what is not named stays. `site_id` moves the box and its assets."""

    name: Words = ""
    serial: Words | None = None
    hardware: Words = ""
    user_id: UUID | None = None
    support_tunnel: Words | None = None
    site_id: DeviceId = ""


def _plain(value: Any, depth: int = 0) -> Any:
    """What JSON, YAML and the database all can hold."""
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"{ascii(value)[:60]} must be printable characters")
    if isinstance(value, int | float) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise ValueError("a number must be finite and at most 2^53")
    if depth > 8:
        raise ValueError("an asset is nested deeper than 8 levels")
    children: list[Any] = value if isinstance(value, list) else []
    if isinstance(value, dict):
        children = [*value, *value.values()]
    for child in children:
        _plain(child, depth + 1)
    return value


class NewAssets(Strict):
    """All assets of the box, each as in an assets file; what is not in the list is decommissioned."""

    assets: Annotated[list[dict[str, Any]], Field(max_length=500), AfterValidator(_plain)] = Field(
        examples=[[{"id": "bess-1", "type": "battery", "capacity_mwhr": 0.01, "max_mw": 0.005}]]
    )


class _Box(BaseModel):
    tenant_id: str
    box_id: str
    site_id: str | None
    site_name: str
    name: str
    serial: str | None
    hardware: str
    user_id: UUID | None
    source: str = Field(description="file: follows the assets file; admin: a person's")
    state: str
    mode: str
    mode_changed_at: datetime = Field(description="since when it is in this mode, or has these opt-ins")
    mode_epoch: int
    opt_ins: list[str]
    created_at: datetime
    enrolled_at: datetime | None = Field(description="null: nobody has redeemed a token yet")
    certificate_ends_at: datetime | None
    support_tunnel: str | None


class ListedBox(_Box):
    """A box with the ids of its assets."""

    assets: list[str]


class BoxDetail(_Box):
    """A box with its assets, each as in an assets file."""

    assets: list[dict[str, Any]]
