"""Rows as columns: judged, sorted, merged. Pure numpy; no row becomes an object.

A frame holds the rows of many records, of whatever senders. A value that a row does not have is NaN. Rows
keep their number of arrival, by which everything later is said about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from overwatt.reasons import MAX_AHEAD_S, Reason
from services.ingest.ranges import Bools, Ints

Floats: TypeAlias = npt.NDArray[np.float64]
Int32s: TypeAlias = npt.NDArray[np.int32]
S = TypeVar("S", bound=np.generic)

REASONS: Final = (
    Reason.NOT_A_NUMBER,
    Reason.TIME_TOO_OLD,
    Reason.TIME_IN_FUTURE,
    Reason.CONFLICTING_SAMPLE,
    Reason.UNSTORABLE,
    Reason.DEVICE_ERASED,
)
"""A verdict is 0 for good, else the place of its reason here, counted from 1."""
VERDICT: Final = {reason: place for place, reason in enumerate(REASONS, 1)}


class Sender(NamedTuple):
    """Who is acknowledged: an agent's spool, or with epoch 0 a simple device."""

    tenant: str
    device: str
    epoch: int
    door: str = ""
    """the HTTP process that waits; empty: answered by MQTT"""

    @property
    def spool(self) -> tuple[str, str, int]:
        """Key of its committed ranges."""
        return self.tenant, self.device, self.epoch


class Name(NamedTuple):
    """Of a device key."""

    tenant: str
    device: str


@dataclass(frozen=True, slots=True)
class Other:
    """Values beyond the canonical columns: one entry each."""

    row: Ints
    """place in the frame"""
    metric: Int32s
    """place in Frame.metrics"""
    value: Floats

    def take(self, places: Ints, rows: int) -> "Other":
        """What belongs to these of `rows` rows, in their new order."""
        if self.row.size == 0:
            return self
        where = np.full(rows, -1, dtype=np.int64)
        where[places] = np.arange(places.size)
        moved = where[self.row]
        kept = moved >= 0
        return Other(moved[kept], self.metric[kept], self.value[kept])


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows, column by column."""

    origin: Ints
    """number of arrival"""
    key: Int32s
    ts_us: Ints
    quality: npt.NDArray[np.int16]
    values: dict[str, Floats]
    """of the canonical columns that any row has"""
    other: Other
    metrics: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.key.size)

    def where(self, good: Bools) -> "Frame":
        """These rows; the frame itself where that is all of them."""
        return self if good.all() else self.take(np.flatnonzero(good))

    def take(self, places: Ints) -> "Frame":
        """These rows, in this order."""
        return Frame(
            self.origin[places],
            self.key[places],
            self.ts_us[places],
            self.quality[places],
            {name: column[places] for name, column in self.values.items()},
            self.other.take(places, len(self)),
            self.metrics,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What records brought, row by row in order of arrival."""

    frame: Frame
    sender: Int32s
    """place in senders"""
    seq: Ints
    """0: not numbered"""
    senders: tuple[Sender, ...]
    names: dict[int, Name]

    def where(self, good: Bools) -> "Batch":
        """A batch of these rows, numbered anew; the batch itself where that is all of them."""
        if good.all():
            return self
        frame = self.frame.where(good)
        frame.origin[:] = np.arange(len(frame))
        return Batch(frame, self.sender[good], self.seq[good], self.senders, self.names)


def joined(arrays: Sequence[npt.NDArray[Any]], dtype: type[S]) -> npt.NDArray[S]:
    """One after the other; also of none."""
    if len(arrays) == 1:
        return arrays[0].astype(dtype, copy=False)
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.empty(0, dtype=dtype)


def other_of(present: Sequence[tuple[int, Ints, Floats]]) -> Other:
    """From (metric, rows, values) each."""
    return Other(
        joined([rows for _, rows, _ in present], np.int64),
        joined([np.full(rows.size, metric) for metric, rows, _ in present], np.int32),
        joined([values for _, _, values in present], np.float64),
    )


def judge(frame: Frame, *, now_us: int, oldest_us: int) -> npt.NDArray[np.int8]:
    """The verdict on each row by itself: its time, and infinity among its values."""
    verdict = np.zeros(len(frame), dtype=np.int8)
    verdict[frame.ts_us < oldest_us] = VERDICT[Reason.TIME_TOO_OLD]
    verdict[frame.ts_us > now_us + MAX_AHEAD_S * 1_000_000] = VERDICT[Reason.TIME_IN_FUTURE]
    for column in frame.values.values():
        verdict[np.isinf(column)] = VERDICT[Reason.NOT_A_NUMBER]
    verdict[frame.other.row[np.isinf(frame.other.value)]] = VERDICT[Reason.NOT_A_NUMBER]
    return verdict


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows in order of key and time, each key and time once."""

    frame: Frame
    conflicts: Ints
    """origins of rows that say something else than an earlier one: they are in no frame"""
    doubles: Ints
    """origins of rows that went into another one,"""
    heads: Ints
    """whose origins these are"""


def merge(frame: Frame) -> Merged:
    """Sort; rows of the same key and time become one if they do not contradict each other.

    What comes first stays, and what it does not have is filled in. A contradiction refuses the whole row.
    """
    nothing = np.empty(0, dtype=np.int64)
    ordered = frame.take(np.lexsort((frame.ts_us, frame.key)))
    is_double = np.zeros(len(ordered), dtype=np.bool_)
    is_double[1:] = (ordered.key[1:] == ordered.key[:-1]) & (ordered.ts_us[1:] == ordered.ts_us[:-1])
    if not is_double.any():
        return Merged(ordered, nothing, nothing, nothing)
    return _merge_doubles(ordered, is_double)


def _merge_doubles(ordered: Frame, is_double: Bools) -> Merged:
    places = np.arange(len(ordered))
    head = np.maximum.accumulate(np.where(is_double, 0, places))
    depth = places - head
    wide = _Wide(ordered)
    refused = np.zeros(len(ordered), dtype=np.bool_)
    for level in range(1, int(depth.max()) + 1):
        rows = np.flatnonzero(depth == level)
        contradicts = wide.contradicts(head[rows], rows)
        refused[rows[contradicts]] = True
        wide.fill(head[rows[~contradicts]], rows[~contradicts])
    doubles = np.flatnonzero(is_double & ~refused)
    frame = wide.frame().take(np.flatnonzero(~is_double))
    return Merged(frame, ordered.origin[refused], ordered.origin[doubles], ordered.origin[head[doubles]])


class _Wide:
    """A frame with its other metrics as columns too, for as long as rows are compared."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._quality = frame.quality.copy()
        self._values = {name: column.copy() for name, column in frame.values.items()}
        used = np.unique(frame.other.metric).tolist()
        self._others = {place: np.full(len(frame), np.nan) for place in used}
        for place, column in self._others.items():
            mine = frame.other.metric == place
            column[frame.other.row[mine]] = frame.other.value[mine]

    def contradicts(self, heads: Ints, rows: Ints) -> Bools:
        found = np.zeros(rows.size, dtype=np.bool_)
        for column in (*self._values.values(), *self._others.values()):
            first, second = column[heads], column[rows]
            found |= ~np.isnan(first) & ~np.isnan(second) & (first != second)
        return found

    def fill(self, heads: Ints, rows: Ints) -> None:
        filled = np.zeros(rows.size, dtype=np.bool_)
        for column in (*self._values.values(), *self._others.values()):
            missing = np.isnan(column[heads]) & ~np.isnan(column[rows])
            column[heads[missing]] = column[rows[missing]]
            filled |= missing
        # A row that was put together is as good as its worst part.
        worst = np.maximum(self._quality[heads], self._quality[rows])
        self._quality[heads[filled]] = worst[filled]

    def frame(self) -> Frame:
        present = [
            (place, rows := np.flatnonzero(~np.isnan(column)), column[rows])
            for place, column in self._others.items()
        ]
        frame = self._frame
        return Frame(
            frame.origin,
            frame.key,
            frame.ts_us,
            self._quality,
            self._values,
            other_of(present),
            frame.metrics,
        )
