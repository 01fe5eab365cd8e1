"""What boxes, simple devices and administrators send about enrolment, and what they are answered."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.provisioning.enrolment.requests import MAX_CHARACTERS
from services.provisioning.enrolment.tokens import MAX_TTL, TTL
from services.provisioning.schemas import Words


def _email(value: str) -> str:
    local, at, domain = value.partition("@")
    if not (local and at and domain) or "@" in domain or not value.isprintable() or " " in value:
        raise ValueError("must be an e-mail address, such as owner@example.com")
    return value


Email = Annotated[str, Field(max_length=254), AfterValidator(_email)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Enrol(_Strict):
    """A box's request: the token of its link, the e-mail that it was issued to, and a PKCS#10 request."""

    token: str = Field(max_length=200)
    email: str = Field(max_length=254, examples=["owner@example.com"])
    csr: str = Field(max_length=MAX_CHARACTERS)


class Renew(_Strict):
    """A new request; the current certificate is that of the connection."""

    csr: str = Field(max_length=MAX_CHARACTERS)


class Activate(_Strict):
    """The code of a simple device, as it is printed or without dashes."""

    code: str = Field(max_length=64, examples=["K7QM-3XHP-9TWD"])


class Mqtt(BaseModel):
    """Where the broker is, over TLS."""

    host: str
    port: int


class Admission(BaseModel):
    """All that a box needs. `assets` have the keys of an assets file."""

    certificate: str
    chain: str
    tenant: str
    box: str
    site: str | None
    site_name: str
    mqtt: Mqtt
    enrol_url: str
    not_before: datetime
    not_after: datetime
    serial: str
    assets: list[dict[str, Any]]
    server_time: datetime


class Activation(BaseModel):
    """All that a simple device needs; the token is shown this once."""

    tenant: str
    device: str
    username: str
    token: str
    mqtt: Mqtt
    server_time: datetime


class NewEnrolToken(_Strict):
    """To whom the link goes, and for how many seconds it works."""

    email: Email = Field(examples=["owner@example.com"])
    ttl_s: int = Field(default=int(TTL.total_seconds()), ge=60, le=int(MAX_TTL.total_seconds()))


class IssuedToken(BaseModel):
    """The link, shown this once."""

    url: str
    token: str
    email: str
    expires_at: datetime
    prefix: str


class EnrolToken(BaseModel):
    """What is kept of a token."""

    prefix: str
    email: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    state: Literal["open", "used", "expired", "withdrawn"]
    used_at: datetime | None
    serial: str | None


class NewRevocation(_Strict):
    """Why; it goes to the audit log."""

    reason: Words = Field(default="", examples=["the box was stolen"])


class Revocation(BaseModel):
    """What it is now."""

    tenant_id: str
    device_id: str
    state: str


class Certificate(BaseModel):
    """A certificate. superseded: renewed since, and good until it expires."""

    serial: str
    via: str
    state: Literal["current", "superseded", "revoked", "expired"]
    issued_at: datetime
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    revoke_reason: str | None


class ActivationCode(BaseModel):
    """A code, shown this once."""

    code: str
    expires_at: datetime


class DeviceToken(BaseModel):
    """A token, shown this once."""

    token: str
