"""Secrets that open a door: enrolment tokens of boxes, activation codes and tokens of simple devices.

Each is shown once and stored as SHA-256: 256 random bits need no slow hash. An activation code is typed by
people, so it is shorter, lives for an hour at most, and wrong ones are limited by address.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

TTL: Final = timedelta(minutes=60)
MAX_TTL: Final = timedelta(hours=72)
CODE_TTL: Final = timedelta(minutes=60)
PREFIX: Final = 8
CODE_ALPHABET: Final = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
"""Without those that are read as others: I L O U 0 1."""
CODE_GROUPS: Final = 3
CODE_GROUP: Final = 4
MOSQUITTO_ROUNDS: Final = 101
"""Mosquitto's own number; the secret is random, so nothing is gained by more."""

Verdict = Literal["fresh", "again", "used", "expired", "withdrawn", "email"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolToken:
    """A row of enrol_token."""

    token_hash: bytes
    prefix: str
    tenant_id: str
    box_id: str
    email: str
    expires_at: datetime
    withdrawn_at: datetime | None
    used_at: datetime | None
    spki_sha256: bytes | None
    serial: str | None


def new_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def new_code() -> str:
    """Such as K7QM-3XHP-9TWD, 58 random bits."""
    return "-".join(
        "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_GROUP)) for _ in range(CODE_GROUPS)
    )


def hash_of(secret: str) -> bytes:
    """What stands in the database. Takes any text: a stranger sends it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def normal_code(typed: str) -> str:
    """As it was issued, however it was typed."""
    return "-".join(_groups("".join(typed.split()).replace("-", "").upper()))


def enrol_url(base: str, fingerprint: str, token: str) -> str:
    """The link for the box. What stands behind `#` is sent to no server by a browser."""
    return f"{base}/enroll?root={fingerprint}#{token}"


def same_email(given: str, wanted: str) -> bool:
    """Upper and lower case are the same; nothing else is, least of all look-alikes."""
    return hmac.compare_digest(_email(given), _email(wanted))


def judge(token: EnrolToken, email: str, spki_sha256: bytes, now: datetime) -> Verdict:
    """What becomes of an attempt with this token. `again`: the answer was lost, it is the same key."""
    if token.withdrawn_at is not None:
        return "withdrawn"
    if now >= token.expires_at:
        return "expired"
    if token.used_at is not None:
        is_same = token.spki_sha256 == spki_sha256 and same_email(email, token.email)
        return "again" if is_same else "used"
    return "fresh" if same_email(email, token.email) else "email"


def mosquitto_hash(token: str) -> str:
    """As a Mosquitto password file takes it (PBKDF2 with SHA-512)."""
    salt = secrets.token_bytes(12)
    derived = hashlib.pbkdf2_hmac("sha512", token.encode(), salt, MOSQUITTO_ROUNDS)
    return f"$7${MOSQUITTO_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def _groups(text: str) -> list[str]:
    return [text[start : start + CODE_GROUP] for start in range(0, len(text), CODE_GROUP)]


def _email(text: str) -> bytes:
    return text.strip().lower().encode("utf-8", "surrogatepass")
