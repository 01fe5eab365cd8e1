"""Whether a device may speak."""

from overwatt.reasons import Reason
from services.ingest.model import Member


def standing(member: Member | None) -> tuple[Reason, str] | None:
    """Why this device may not speak; None when it may."""
    if member is None:
        return Reason.DEVICE_UNKNOWN, "the device is not registered; register it, then send again"
    if member.state == "erased":
        return Reason.DEVICE_ERASED, "the device was erased"
    if member.state != "active":
        return Reason.DEVICE_REVOKED, f"the device is {member.state}; it must be active"
    return None
