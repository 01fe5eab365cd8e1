"""The latest value of each metric, out of the newest rows of a device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

STALE_AFTER: Final = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Latest:
    """`at` is of the newest row; a metric that it does not have may be older."""

    at: datetime | None
    quality: int | None
    is_stale: bool
    values: Mapping[str, float]
    values_at: Mapping[str, datetime]


def latest(
    rows: Iterable[Mapping[str, Any]],
    others: Iterable[tuple[str, datetime, float]],
    *,
    columns: Iterable[str],
    now: datetime,
) -> Latest:
    """`rows` have `ts`, `quality` and the columns, newest first; `others` are (metric, ts, value)."""
    names = tuple(columns)
    at: datetime | None = None
    quality: int | None = None
    values: dict[str, float] = {}
    values_at: dict[str, datetime] = {}
    for row in rows:
        if at is None:
            at, quality = row["ts"], row["quality"]
        for name in names:
            if name not in values and row[name] is not None:
                values[name], values_at[name] = row[name], row["ts"]
    for metric, ts, value in others:
        values[metric], values_at[metric] = value, ts
    return Latest(at, quality, at is None or now - at > STALE_AFTER, values, values_at)
