"""What the broker should know now, and which sessions have to end."""

from dataclasses import dataclass

from services.provisioning.enrolment.authority import Revoked


@dataclass(frozen=True, slots=True)
class Wanted:
    """All in a fixed order, so that two of them can be compared."""

    denied: tuple[str, ...]
    """identities that have a credential and are not active"""
    passwords: tuple[tuple[str, str], ...]
    """identity and hash of simple devices, as Mosquitto takes them"""
    revoked: tuple[Revoked, ...]
    """certificates that are revoked and have not expired"""


@dataclass(frozen=True, slots=True)
class Cut:
    """A session to end."""

    id: int
    identity: str
