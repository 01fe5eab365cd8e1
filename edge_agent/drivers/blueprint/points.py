"""Which registers the device has, from its manual: address, type, gain, and the quantity it is."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Point:
    address: int
    quantity: str
    """a name of overwatt.quantities, or any other metric's"""
    gain: float
    absent: int
    """what the device sends when it has no value"""


POINTS: Final = (
    Point(0, "temp_c", 0.1, -32768),
    Point(1, "relative_humidity_pct", 0.1, -32768),
)
FIRST: Final = 0
COUNT: Final = 2
