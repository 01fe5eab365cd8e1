"""Counts what cannot be used, exactly, and keeps the first few of a minute with their payload.

Of each device and reason the first ten messages of a minute become a dead letter each; the others are one
dead letter with their number, when the minute is over or the gateway stops.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import DeadLetter
from services.ingest.model import Rejected

KEPT_A_MINUTE: Final = 10
MINUTE_US: Final = 60_000_000
MOST_KEYS: Final = 10_000
"""Of device and reason in a minute; what comes from still more is counted by tenant and reason."""
MOST_PAYLOAD: Final = 65_536
MOST_DETAIL: Final = 500


@dataclass(slots=True)
class _Minute:
    started_at_us: int
    seen: int = 0


class Rejections:
    """The minutes that are being counted, by tenant, device and reason."""

    def __init__(self) -> None:
        self._minutes: dict[tuple[str, str, Reason], _Minute] = {}

    def letters(self, rejected: Rejected, now_us: int) -> list[DeadLetter]:
        """What has to be sent now because of this rejection: none to two dead letters."""
        if rejected.reason == Reason.DEVICE_ERASED:
            rejected = _nameless(rejected)
        key = (rejected.tenant, rejected.device, rejected.reason)
        minute = self._minutes.get(key)
        if minute is None and len(self._minutes) >= MOST_KEYS:
            key = (rejected.tenant, "", rejected.reason)
            minute = self._minutes.get(key)
        letters: list[DeadLetter] = []
        if minute is None or now_us - minute.started_at_us >= MINUTE_US:
            letters.extend(_rest(key, minute, now_us))
            minute = self._minutes[key] = _Minute(now_us)
        minute.seen += 1
        if minute.seen <= KEPT_A_MINUTE:
            letters.append(_letter(rejected, now_us))
        return letters

    def rest(self, now_us: int, *, everything: bool = False) -> Iterator[DeadLetter]:
        """The numbers of the minutes that are over (or of all), which are then forgotten."""
        for key, minute in list(self._minutes.items()):
            if everything or now_us - minute.started_at_us >= MINUTE_US:
                del self._minutes[key]
                yield from _rest(key, minute, now_us)


def _rest(key: tuple[str, str, Reason], minute: _Minute | None, now_us: int) -> Iterator[DeadLetter]:
    if minute and minute.seen > KEPT_A_MINUTE:
        tenant, device, reason = key
        yield DeadLetter(
            tenant=tenant,
            device=device,
            reason=reason,
            detail=f"beyond the first {KEPT_A_MINUTE} of a minute",
            count=minute.seen - KEPT_A_MINUTE,
            at_us=now_us,
        )


def _nameless(rejected: Rejected) -> Rejected:
    """Of an erased device nothing is kept: that somebody spoke is counted, not who or what."""
    return replace(rejected, device="", asset="", topic="", detail="", payload=b"")


def _letter(rejected: Rejected, now_us: int) -> DeadLetter:
    return DeadLetter(
        tenant=rejected.tenant,
        device=rejected.device,
        asset=rejected.asset,
        reason=rejected.reason,
        # JSON can hold half a surrogate pair, which no protobuf takes.
        detail=rejected.detail[:MOST_DETAIL].encode(errors="backslashreplace").decode(),
        payload=rejected.payload[:MOST_PAYLOAD],
        count=1,
        at_us=now_us,
        topic=rejected.topic,
    )
