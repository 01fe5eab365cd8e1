"""What is sent and answered about requests to delete a person's data."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.provisioning.schemas import TenantId, Words


class NewRequest(BaseModel):
    """A person asks for the deletion of all data."""

    model_config = ConfigDict(extra="forbid")

    tenant_id: TenantId
    user_id: UUID
    reason: Words = Field(default="", description="why; optional")


class Request(BaseModel):
    """A request, how far it is, and until when it has to be done."""

    request_id: UUID
    tenant_id: str
    user_id: UUID
    boxes: list[str]
    state: str = Field(description="open, entombed, deleted or executed")
    requested_at: datetime
    target_at: datetime = Field(description="when we want to be done: 7 days")
    due_at: datetime = Field(description="when we have to be done: 30 days")
    overdue: bool
    executed_at: datetime | None
    counts: dict[str, int] = Field(description="rows that were erased, by table, in their order")
    error: str | None = Field(description="what stands in the way, if anything does")


class Preview(BaseModel):
    """What an execution would erase."""

    request_id: UUID
    boxes: dict[str, dict[str, int]] = Field(description="rows by box and table; metrics counts samples")
    unaccounted: list[str] = Field(description="tables with rows that erasure does not know; it refuses then")
