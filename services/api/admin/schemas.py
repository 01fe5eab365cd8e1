"""Users and the audit log, as operators see them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Email = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$", max_length=254
    ),
]


class NewUser(BaseModel):
    """A login of the tenant."""

    model_config = ConfigDict(extra="forbid")

    email: Email = Field(examples=["a@b.c"])
    role: Literal["customer", "tenant-admin", "installer"] = "customer"


class User(BaseModel):
    """A login of the tenant; `user_id` is what boxes and the audit log know a person by."""

    user_id: UUID
    email: str
    role: str
    created_at: datetime


class UserDetail(User):
    """A user with the boxes that are theirs."""

    boxes: list[dict[str, Any]]


class AuditEntry(BaseModel):
    """Who did what, when, from where."""

    seq: int
    at: datetime
    actor: str
    action: str
    target_type: str
    target_id: str
    tenant_id: str | None
    detail: dict[str, Any]
    result: str
    address: str | None
    request_id: str | None
