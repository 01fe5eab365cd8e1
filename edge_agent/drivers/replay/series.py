"""Series to replay. Pure: what an asset measures is a function of the time, so a restart changes nothing."""

import csv
import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from edge_agent.errors import Invalid
from edge_agent.model import Reading
from overwatt.quantities import BY_NAME, Kind, Quality

TICKS_PER_S: Final = 10
PERIOD_S: Final = 600.0
ABSENT: Final = 0.02
"""Share of values that the made hardware does not give, so that rows differ in their columns."""
UNCERTAIN: Final = 0.01
EVERYWHERE: Final = ("active_power_w", "reactive_power_var", "voltage_v", "frequency_hz", "temp_c",
                     "operating_state", "inverter_fan_rpm")  # fmt: skip
OF_TYPE: Final = {
    "battery": ("soc_pct", "energy_import_wh", "energy_export_wh"),
    "pv": ("irradiance_w_per_m2", "energy_export_wh"),
    "meter": ("energy_import_wh", "energy_export_wh"),
}


class Series(Protocol):
    """What is measured at a time, in seconds since 1970."""

    def at(self, second: float) -> Reading: ...


@dataclass(frozen=True, slots=True)
class Made:
    """Waves with noise, rising counters, here and there a missing or uncertain value."""

    seed: int
    name: str
    type: str

    def at(self, second: float) -> Reading:
        tick = int(second * TICKS_PER_S)
        chance = random.Random(f"{self.seed}/{self.name}/{tick}")
        values = {
            metric: _value(metric, second, chance)
            for metric in EVERYWHERE + OF_TYPE.get(self.type, ())
            if chance.random() >= ABSENT or metric == "active_power_w"
        }
        return Reading(values, Quality.UNCERTAIN if chance.random() < UNCERTAIN else Quality.GOOD)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Rows of a file, each good until the next one, over and over."""

    seconds: Sequence[float]
    readings: Sequence[Reading]
    length_s: float

    def at(self, second: float) -> Reading:
        return self.readings[max(bisect_right(self.seconds, second % self.length_s) - 1, 0)]


def parse(lines: Iterable[str]) -> Recorded:
    """CSV: `seconds` from 0 on, rising, and a column for each quantity; an empty cell is absent.

    Raises Invalid, naming the line.
    """
    rows = csv.DictReader(lines)
    if not rows.fieldnames or rows.fieldnames[0] != "seconds":
        raise Invalid(f"its first column is {(rows.fieldnames or [''])[0]!r}; it must be 'seconds'")
    seconds: list[float] = []
    readings = []
    for row in rows:
        try:
            values = {name: float(cell) for name, cell in row.items() if cell}
        except (TypeError, ValueError) as error:
            raise Invalid(f"line {rows.line_num}: {error}; cells are numbers, or empty") from error
        second = values.pop("seconds", math.nan)
        if not all(map(math.isfinite, values.values())) or not second >= (seconds[-1] if seconds else 0.0):
            raise Invalid(f"line {rows.line_num}: seconds must rise from 0, and values be finite")
        seconds.append(second)
        readings.append(Reading(values))
    if len(seconds) < 2:
        raise Invalid("it needs two lines of values at least")
    return Recorded(seconds, readings, seconds[-1] + (seconds[-1] - seconds[0]) / (len(seconds) - 1))


def _value(metric: str, second: float, chance: random.Random) -> float:
    kind = BY_NAME[metric].kind if metric in BY_NAME else Kind.GAUGE
    if kind is Kind.COUNTER:
        return float(int(second * TICKS_PER_S))
    if kind is Kind.STATE:
        return 4.0
    return 1_000 * math.sin(math.tau * second / PERIOD_S) + chance.gauss(0, 10)
