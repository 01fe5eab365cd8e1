"""What the writer refused, as rows of `rejection`.

Of each sender, device and reason the first ten a minute stand there in full, the rest of a flush as a number.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from overwatt.reasons import MAX_AHEAD_S, Reason
from services.ingest import metrics
from services.ingest.frames import REASONS, Batch, Name, Sender
from services.ingest.store import Rejection
from services.ingest.telemetry_store import Refused
from services.runtime.clock import from_us, to_us

KEPT: Final = 10


class Told:
    """How many of each kind (sender, device key, verdict) this minute has told in full.

    A flush counts once it is committed.
    """

    def __init__(self) -> None:
        self._minute = 0
        self._committed: dict[tuple[Sender, int, int], int] = {}
        self._flush: dict[tuple[Sender, int, int], int] = {}

    def begin(self, now: datetime) -> None:
        """A flush, or another try of it."""
        self._flush = {}
        if (minute := int(now.timestamp()) // 60) != self._minute:
            self._minute, self._committed = minute, {}

    def take(self, kind: tuple[Sender, int, int], rows: int) -> int:
        """How many of these rows may be told in full; asked once a flush for each kind."""
        told = self._committed.get(kind, 0)
        self._flush[kind] = min(told + rows, KEPT)
        return self._flush[kind] - told

    def committed(self) -> None:
        """What was taken counts."""
        self._committed |= self._flush


def rejections_of(
    batch: Batch, verdict: npt.NDArray[np.int8], refused: Refused, now: datetime, told: Told
) -> list[Rejection]:
    """For every row with a verdict; only the kept ones become objects."""
    told.begin(now)
    places = np.flatnonzero(verdict)
    if places.size == 0:
        return []
    frame = batch.frame
    # Sender, device and reason, each alone: a batch with refusals is rare and its groups are few.
    groups = np.stack((batch.sender[places], frame.key[places], verdict[places]), axis=1)
    kinds, inverse = np.unique(groups, axis=0, return_inverse=True)
    rows: list[Rejection] = []
    for number, (sender, key, reason_place) in enumerate(kinds.tolist()):
        reason = REASONS[reason_place - 1]
        mine = places[inverse.reshape(-1) == number]
        metrics.REJECTIONS.labels(reason).inc(mine.size)
        if reason == Reason.DEVICE_ERASED:
            tenant_id = batch.senders[sender].tenant
            rows.append(Rejection(now, tenant_id, "", "", str(reason), "", b"", count=int(mine.size)))
            continue
        who = batch.senders[sender]
        name = batch.names.get(key, Name(who.tenant, who.device))
        about = {
            "at": now,
            "tenant_id": who.tenant,
            "device_id": who.device,
            "asset_id": name.device if who.epoch else "",
            "reason": str(reason),
        }
        kept = told.take((who, key, reason_place), int(mine.size))
        for row in mine[:kept].tolist():
            detail = _detail(batch, row, reason, refused, now)
            rows.append(Rejection(**about, detail=detail, payload=_payload(batch, row)))
        if mine.size > kept:
            beyond = f"beyond the first {KEPT} of a minute"
            rows.append(Rejection(**about, detail=beyond, payload=b"", count=int(mine.size) - kept))
    return rows


def _detail(batch: Batch, row: int, reason: Reason, refused: Refused, now: datetime) -> str:
    if row in refused:
        return refused[row][1]
    ts_us = int(batch.frame.ts_us[row])
    ahead_s = (ts_us - to_us(now)) / 1e6
    match reason:
        case Reason.TIME_IN_FUTURE:
            return f"ts is {ahead_s:.0f} s ahead of the server; at most {MAX_AHEAD_S} s are taken"
        case Reason.TIME_TOO_OLD:
            return f"ts is {-ahead_s / 86_400:.1f} days old; raw data that old is not kept any more"
        case Reason.NOT_A_NUMBER:
            bad = [name for name, value in _values(batch, row).items() if np.isinf(value)]
            return f"{', '.join(bad)} is infinite; it must be a finite number"
        case _:
            return "another sample of the same batch has this time and another value: the first one stays"


def _payload(batch: Batch, row: int) -> bytes:
    """The row as a person reads it."""
    values = {
        name: value if np.isfinite(value) else str(value) for name, value in _values(batch, row).items()
    }
    sample: dict[str, object] = {"ts_us": int(batch.frame.ts_us[row]), "metrics": values}
    with suppress(ValueError, OverflowError):  # beyond the calendar
        sample["ts"] = from_us(int(batch.frame.ts_us[row])).astimezone(UTC).isoformat()
    # By HTTP it is a number of ours.
    if (seq := int(batch.seq[row])) and not batch.senders[batch.sender[row]].door:
        sample["seq"] = seq
    return json.dumps(sample).encode()


def _values(batch: Batch, row: int) -> dict[str, float]:
    frame = batch.frame
    found = {name: float(column[row]) for name, column in frame.values.items() if not np.isnan(column[row])}
    for place in np.flatnonzero(frame.other.row == row).tolist():
        found[frame.metrics[int(frame.other.metric[place])]] = float(frame.other.value[place])
    return found
