"""Physics of the simulated assets (U-D07). Pure; power is positive on discharge and generation."""

import math
from dataclasses import dataclass
from typing import Final

SECONDS_PER_HOUR: Final = 3600.0
SECONDS_PER_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Nameplate of a battery."""

    capacity_wh: float
    min_w: float
    max_w: float
    efficiency: float
    ramp_w_per_s: float
    min_soc_pct: float = 0.0
    max_soc_pct: float = 100.0


@dataclass(frozen=True, slots=True)
class Battery:
    """State of a battery."""

    power_w: float = 0.0
    soc_pct: float = 50.0
    discharged_wh: float = 0.0
    charged_wh: float = 0.0


def step(battery: Battery, limits: Limits, *, setpoint_w: float, dt_s: float) -> Battery:
    """After dt_s towards a setpoint: within the ramp, and at rest once a bound of the SoC is reached."""
    target_w = min(max(setpoint_w, limits.min_w), limits.max_w)
    reach_w = limits.ramp_w_per_s * dt_s
    power_w = min(max(target_w, battery.power_w - reach_w), battery.power_w + reach_w)
    energy_wh = power_w * dt_s / SECONDS_PER_HOUR
    inside_wh = energy_wh / limits.efficiency if energy_wh > 0 else energy_wh * limits.efficiency
    soc_pct = battery.soc_pct
    if limits.capacity_wh > 0:
        soc_pct -= 100 * inside_wh / limits.capacity_wh
    lowest = min(limits.min_soc_pct, battery.soc_pct)
    highest = max(limits.max_soc_pct, battery.soc_pct)
    if (soc_pct <= lowest and power_w > 0) or (soc_pct >= highest and power_w < 0):
        return Battery(0.0, min(max(soc_pct, lowest), highest), battery.discharged_wh, battery.charged_wh)
    return Battery(
        power_w,
        soc_pct,
        battery.discharged_wh + max(energy_wh, 0.0),
        battery.charged_wh + max(-energy_wh, 0.0),
    )


def sun(second_of_day: float) -> float:
    """Part of the peak that a clear day offers: half a sine from 6 to 18 o'clock."""
    return max(0.0, math.sin(math.tau * (second_of_day / SECONDS_PER_DAY - 0.25)))


def demand(second_of_day: float) -> float:
    """Part of the peak that people draw: low at night, highest in the evening."""
    return 0.45 - 0.35 * math.cos(math.tau * (second_of_day / SECONDS_PER_DAY - 0.2))
