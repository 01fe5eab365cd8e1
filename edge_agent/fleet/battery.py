"""A battery's physics, self-contained (U-D07).

Power is positive on discharge and moves to its setpoint no faster than the ramp. Discharging P takes
P / efficiency out of the cells, charging P puts P * efficiency into them. At a bound of the state of
charge the power towards that bound is cut to zero at once: a protection trip does not ramp.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

SECONDS_PER_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryLimits:
    """What the nameplate says."""

    capacity_wh: float
    max_w: float
    min_w: float
    """full charge, negative"""
    efficiency: float = 1.0
    """of one direction"""
    ramp_w_per_s: float = math.inf
    min_soc_pct: float = 0.0
    max_soc_pct: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryState:
    """Where it stands."""

    stored_wh: float
    power_w: float = 0.0
    discharged_wh: float = 0.0
    """AC energy given since the start, rising"""
    charged_wh: float = 0.0
    """AC energy taken since the start, rising"""


def initial_state(limits: BatteryLimits, soc_pct: float = 50.0) -> BatteryState:
    """At rest, half full unless told otherwise."""
    return BatteryState(stored_wh=limits.capacity_wh * soc_pct / 100)


def soc_pct(state: BatteryState, limits: BatteryLimits) -> float:
    """State of charge, 0 to 100 % of the capacity."""
    return 100 * state.stored_wh / limits.capacity_wh


def dc_power_w(state: BatteryState, limits: BatteryLimits) -> float:
    """What leaves the cells for the power that leaves the battery."""
    loss = 1 / limits.efficiency if state.power_w > 0 else limits.efficiency
    return state.power_w * loss


def step(state: BatteryState, limits: BatteryLimits, *, setpoint_w: float, dt_s: float) -> BatteryState:
    """The state after dt_s towards one setpoint, exact for the ramp's straight line."""
    target_w = _allowed_w(min(max(setpoint_w, limits.min_w), limits.max_w), state, limits)
    reach_w = limits.ramp_w_per_s * dt_s
    reached_w = max(min(target_w, state.power_w + reach_w), state.power_w - reach_w)
    ramp_s = min(dt_s, abs(reached_w - state.power_w) / limits.ramp_w_per_s)
    ramp_out, ramp_in = _energy_wh(state.power_w, reached_w, ramp_s)
    hold_out, hold_in = _energy_wh(reached_w, reached_w, dt_s - ramp_s)
    return _stored(state, limits, reached_w, ramp_out + hold_out, ramp_in + hold_in)


def _stored(
    state: BatteryState, limits: BatteryLimits, reached_w: float, out_wh: float, in_wh: float
) -> BatteryState:
    """Books the energy; what a bound forbids was not delivered."""
    efficiency = limits.efficiency
    floor_wh, ceiling_wh = _bounds_wh(state, limits)
    stored_wh = state.stored_wh + in_wh * efficiency - out_wh / efficiency
    if stored_wh < floor_wh:
        out_wh = max(0.0, (state.stored_wh + in_wh * efficiency - floor_wh) * efficiency)
        stored_wh = floor_wh
    elif stored_wh > ceiling_wh:
        in_wh = max(0.0, (ceiling_wh - state.stored_wh + out_wh / efficiency) / efficiency)
        stored_wh = ceiling_wh
    after = replace(
        state,
        stored_wh=stored_wh,
        discharged_wh=state.discharged_wh + out_wh,
        charged_wh=state.charged_wh + in_wh,
    )
    return replace(after, power_w=_allowed_w(reached_w, after, limits))


def _bounds_wh(state: BatteryState, limits: BatteryLimits) -> tuple[float, float]:
    """Bounds that never move energy: a battery outside them stays there until it is driven back."""
    floor_wh = limits.capacity_wh * limits.min_soc_pct / 100
    ceiling_wh = limits.capacity_wh * limits.max_soc_pct / 100
    return min(floor_wh, state.stored_wh), max(ceiling_wh, state.stored_wh)


def _allowed_w(power_w: float, state: BatteryState, limits: BatteryLimits) -> float:
    """Zero instead of a power that would leave the bounds."""
    if power_w > 0 and state.stored_wh <= limits.capacity_wh * limits.min_soc_pct / 100:
        return 0.0
    if power_w < 0 and state.stored_wh >= limits.capacity_wh * limits.max_soc_pct / 100:
        return 0.0
    return power_w


def _energy_wh(from_w: float, to_w: float, dt_s: float) -> tuple[float, float]:
    """Energy given and taken along a straight line of power."""
    hours = dt_s / SECONDS_PER_HOUR
    if from_w * to_w >= 0:
        energy_wh = (from_w + to_w) / 2 * hours
        return max(energy_wh, 0.0), max(-energy_wh, 0.0)
    crossing = from_w / (from_w - to_w)
    first_wh = from_w / 2 * hours * crossing
    second_wh = to_w / 2 * hours * (1 - crossing)
    return max(first_wh, second_wh), -min(first_wh, second_wh)
