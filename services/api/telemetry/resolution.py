"""Which rows answer a question about the past: samples, or one of the rollups."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from services.runtime.errors import Invalid

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


class Resolution(StrEnum):
    """Time between points; `raw` is every sample."""

    RAW = "raw"
    MINUTE = "1m"
    QUARTER = "15m"
    HOUR = "1h"
    DAY = "1d"


STEP: Final = {
    Resolution.RAW: timedelta(seconds=1),
    Resolution.MINUTE: timedelta(minutes=1),
    Resolution.QUARTER: timedelta(minutes=15),
    Resolution.HOUR: timedelta(hours=1),
    Resolution.DAY: timedelta(days=1),
}
"""Finest first. Of samples it is what is expected."""
LONGEST: Final = {
    Resolution.RAW: timedelta(days=7),
    Resolution.MINUTE: timedelta(days=92),
    Resolution.QUARTER: timedelta(days=3 * 366),
}
"""What may be asked for at once."""


class BadRange(Invalid):
    """A range that cannot be answered; `field` says which end is wrong."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Range:
    """From `start` on and before `end`, at one resolution."""

    start: datetime
    end: datetime
    resolution: Resolution


def choose(
    start: datetime, end: datetime, *, wanted: Resolution | None, points: int, only_raw: bool = False
) -> Range:
    """The finest resolution with at most `points` points, or the one that is wanted. Raises BadRange."""
    for field, instant in (("from", start), ("to", end)):
        if not EARLIEST <= instant <= LATEST:
            raise BadRange(f"{field}: must be between the years 1970 and 2200", field=field)
    span = end - start
    if span <= timedelta(0):
        raise BadRange(f"from: must lie before to ({end.isoformat()})", field="from")
    if only_raw and wanted not in (None, Resolution.RAW):
        raise BadRange(
            "resolution: must be raw, since a metric that is named is not canonical and has no rollups",
            field="resolution",
        )
    finest = next((each for each, step in STEP.items() if span / step <= points), Resolution.DAY)
    resolution = wanted or (Resolution.RAW if only_raw else finest)
    longest = LONGEST.get(resolution)
    if longest is not None and span > longest:
        raise BadRange(
            f"from: resolution {resolution} covers at most {longest.days} days at once; "
            "shorten the range or take a coarser resolution",
            field="from",
        )
    return Range(start.astimezone(UTC), end.astimezone(UTC), resolution)
