"""What is asked about tenants, and what is answered."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from services.provisioning.schemas import Strict, TenantId, Words

Code = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{0,25}$")]


class NewTenant(Strict):
    """An organisation whose devices and users see nothing of any other."""

    tenant_id: TenantId = Field(examples=["tenant-a"])
    name: Words = Field(default="", examples=["Bakery Ltd"])
    code: Code | None = Field(default=None, examples=["BAK0001"])


class TenantChange(Strict):
    """What is to be different; what is not named stays."""

    name: Words = ""
    code: Code | None = None


class Tenant(BaseModel):
    """A tenant."""

    tenant_id: str
    name: str
    code: str | None
    state: str
    created_at: datetime
