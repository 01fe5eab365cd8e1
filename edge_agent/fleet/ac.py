"""The AC side that all devices share: nominal three-phase voltage and frequency, no reactive power."""

import math
from typing import Final

FREQUENCY_HZ: Final = 50.0
LOW_VOLTAGE_V: Final = 400.0
MEDIUM_VOLTAGE_V: Final = 20_000.0
MEDIUM_VOLTAGE_FROM_W: Final = 1_000_000.0


def line_voltage_v(rated_w: float) -> float:
    """Phase to phase: a plant of a megawatt or more hangs on medium voltage."""
    return MEDIUM_VOLTAGE_V if rated_w >= MEDIUM_VOLTAGE_FROM_W else LOW_VOLTAGE_V


def phase_voltage_v(rated_w: float) -> float:
    """Phase to neutral."""
    return line_voltage_v(rated_w) / math.sqrt(3)


def current_a(power_w: float, rated_w: float) -> float:
    """Sum of the three phases."""
    return power_w / phase_voltage_v(rated_w)
