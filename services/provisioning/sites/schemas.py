"""What is asked about sites, and what is answered."""

from datetime import datetime

from pydantic import BaseModel, Field

from services.provisioning.schemas import DeviceId, ExternalId, Strict, TenantId, Words


class NewSite(Strict):
    """A place."""

    tenant_id: TenantId = Field(examples=["tenant-a"])
    site_id: DeviceId = Field(examples=["depot-1"])
    name: Words = ""
    location: Words = ""
    external_id: ExternalId | None = None


class SiteChange(Strict):
    """What is to be different; what is not named stays."""

    name: Words = ""
    location: Words = ""
    external_id: ExternalId | None = None


class Site(BaseModel):
    """A place, with the boxes and the number of devices that stand there."""

    tenant_id: str
    site_id: str
    external_id: str | None
    name: str
    location: str
    boxes: list[str]
    devices: int
    created_at: datetime
