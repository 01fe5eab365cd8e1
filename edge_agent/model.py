"""What the parts of the agent say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from overwatt.quantities import Quality


class Key(NamedTuple):
    """Place of a row in the spool; keys rise with age of the agent's life, across its runs."""

    run: int
    seq: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a device said at one instant: absent quantities are left out, never guessed."""

    values: Mapping[str, float]
    """by name of the quantity (overwatt.quantities) or of any other metric"""
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True)
class Stamp:
    """An instant: wall time where the clock is trusted, and always monotonic time."""

    wall_us: int | None
    monotonic_us: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading of one asset with its time, on its way into the spool."""

    asset: str
    stamp: Stamp
    reading: Reading


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as it stands in the spool."""

    key: Key
    epoch: int
    asset: str
    ts_us: int | None
    """None until the clock is trusted; such a row is not sent"""
    quality: int
    values: Mapping[int | str, float]
    """by number of the quantity, or by name for any other metric"""


@dataclass(frozen=True, slots=True)
class Evicted:
    """Rows that were given up unsent, first to last inclusive."""

    epoch: int
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class SpoolState:
    """The spool in numbers."""

    rows: int
    bytes: int
    evicted_rows: int
    evicted: tuple[Evicted, ...]
    lowest: Mapping[int, int] = field(default_factory=dict)
    """lowest seq by epoch; the running epoch is always there, with its next seq when it holds nothing"""
