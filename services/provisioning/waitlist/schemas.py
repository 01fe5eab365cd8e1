"""What is asked about the waitlist, and what is answered."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from services.provisioning.schemas import Email, Strict, TenantId, Words
from services.provisioning.waitlist.tiers import Tier

Decision = Literal["invite", "queue", "dismiss"]
TokenUrl = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,500}$")]


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time between the years 1 and 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class NewEntry(Strict):
    """Somebody who wants to come in."""

    tenant_id: TenantId
    email: Email
    name: Words = ""
    hardware: Words = Field(default="", examples=["SolarEdge SE5K, Shelly 3EM"])
    note: Words = ""


class NewDecision(Strict):
    """invite and queue leave the entry open; dismiss is the end of it."""

    decision: Decision


class Invited(Strict):
    """With a token's URL the invitation is mailed; without, the operator has sent it."""

    token_url: TokenUrl | None = None


class Entry(BaseModel):
    """An applicant."""

    entry_id: UUID
    tenant_id: str
    email: str
    name: str
    hardware: str
    note: str
    tier: Tier
    decision: Decision | None
    decided_by: str | None
    decided_at: datetime | None
    created_at: datetime


class OpenEntry(Entry):
    """One that waits, with a link that opens the invitation."""

    mailto: str


class DismissedEntry(Entry):
    """One that is done: why, by whom, and when."""

    reason: str
    actor: str
    at: datetime


class Waitlist(BaseModel):
    """Open: newest first. Dismissed: last decided first."""

    open: list[OpenEntry]
    dismissed: list[DismissedEntry]


class Line(BaseModel):
    """A line of an export. An import reads these fields and passes over others."""

    model_config = ConfigDict(extra="ignore")

    email: Email
    name: Words = ""
    hardware: Words = ""
    note: Words = ""
    created_at: Moment | None = None
    state: Literal["open", "dismissed"] = "open"
    decision: Decision | None = None
    reason: Words | None = None
    decided_by: Words | None = None
    decided_at: Moment | None = None

    @model_validator(mode="after")
    def _has_a_reason(self) -> "Line":
        if (self.state == "dismissed") != (self.reason is not None):
            raise ValueError("a dismissed entry needs a reason, an open one has none")
        return self


class Imported(BaseModel):
    """How many entries were new, and how many were there already."""

    added: int
    known: int
