"""The values that enrolment decides on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from services.provisioning.model import Author

Via = Literal["enrol", "replace", "renew"]
Reason = Literal[
    "unknown", "used", "expired", "withdrawn", "email", "state", "revoked", "foreign", "no certificate"
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box finds the platform, as seen from outside."""

    enrol_url: str
    mqtt_host: str
    mqtt_tls_port: int
    mqtt_token_port: int


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who asks for a certificate, with the key of a request that has been checked."""

    key: CertificatePublicKeyTypes
    spki_sha256: bytes
    author: Author


@dataclass(frozen=True, slots=True)
class Certificate:
    """A row of certificate."""

    serial: str
    tenant_id: str
    device_id: str
    spki_sha256: bytes
    pem: str
    via: str
    issued_at: datetime
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    revoke_reason: str | None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A certificate was issued, or the same one as before."""

    certificate: Certificate
    via: Via | Literal["again"]


@dataclass(frozen=True, slots=True)
class Refused:
    """None was. The reason goes to the audit log; what a stranger hears says less."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Standing:
    """The states of a device, of its box if it has one, and of its tenant."""

    type: str
    device: str
    box: str | None
    tenant: str
    is_enrolled: bool = False
    """its box has come in before"""

    @property
    def may_come_in(self) -> bool:
        """With a token of a person: what is revoked comes back, what is disabled does not."""
        return {self.device, self.box or "active"} <= {"active", "revoked"} and self.tenant == "active"

    @property
    def is_in(self) -> bool:
        """With a credential it has already."""
        return {self.device, self.box or "active", self.tenant} == {"active"}

    def __str__(self) -> str:
        box = f", its box {self.box}" if self.box else ""
        return f"the device is {self.device}{box}, its tenant {self.tenant}"
