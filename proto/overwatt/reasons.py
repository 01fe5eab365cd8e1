"""Why a message or sample was not stored: the words of rejections, dead letters and acknowledgements.

A final reason means that sending the same again can never succeed; the sender deletes it. With a later
reason the sender keeps its data and tries again.
"""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Word of a rejection."""

    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    BAD_TOPIC_FORMAT = "BAD_TOPIC_FORMAT"
    ADDRESS_MISMATCH = "ADDRESS_MISMATCH"
    """the payload names another tenant, device or site than its topic and the registry"""
    MALFORMED = "MALFORMED"
    """not JSON or protobuf, a wrong type, a missing field"""
    NOT_A_NUMBER = "NOT_A_NUMBER"
    """NaN or infinity as a value"""
    TOO_MANY_METRICS = "TOO_MANY_METRICS"
    DEVICE_UNKNOWN = "DEVICE_UNKNOWN"
    DEVICE_REVOKED = "DEVICE_REVOKED"
    """disabled or decommissioned"""
    DEVICE_ERASED = "DEVICE_ERASED"
    """no payload is kept"""
    ASSET_NOT_ALLOWED = "ASSET_NOT_ALLOWED"
    """not in the agent's list"""
    TIME_IN_FUTURE = "TIME_IN_FUTURE"
    TIME_TOO_OLD = "TIME_TOO_OLD"
    CONFLICTING_SAMPLE = "CONFLICTING_SAMPLE"
    """another value is stored for the same device and time: the first one stays"""
    RATE_LIMITED = "RATE_LIMITED"
    UNSTORABLE = "UNSTORABLE"
    """the database refused this row alone"""


LATER: Final = frozenset(
    {Reason.RATE_LIMITED, Reason.DEVICE_UNKNOWN, Reason.ASSET_NOT_ALLOWED, Reason.TIME_IN_FUTURE}
)
RETRY_AFTER_S: Final = {
    Reason.RATE_LIMITED: 5,
    Reason.DEVICE_UNKNOWN: 60,
    Reason.ASSET_NOT_ALLOWED: 60,
    Reason.TIME_IN_FUTURE: 300,
}

MAX_AHEAD_S: Final = 300
"""A sample further in the future than this is refused until its time has come."""


def is_final(reason: Reason) -> bool:
    """Whether the sender may delete what was refused."""
    return reason not in LATER
