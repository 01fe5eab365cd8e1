"""The battery's physics: ramp, efficiency, bounds (U-D07)."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.fleet.battery import (
    BatteryLimits,
    BatteryState,
    dc_power_w,
    initial_state,
    soc_pct,
    step,
)

SITE_A = BatteryLimits(capacity_wh=120e6, max_w=60e6, min_w=-60e6, efficiency=0.92, ramp_w_per_s=1000e6 / 60)

batteries = st.builds(
    BatteryLimits,
    capacity_wh=st.floats(1e3, 1e9),
    max_w=st.floats(1e3, 1e9),
    min_w=st.floats(-1e9, 0.0),
    efficiency=st.floats(0.5, 1.0),
    ramp_w_per_s=st.one_of(st.floats(1.0, 1e9), st.just(math.inf)),
    min_soc_pct=st.floats(0.0, 45.0),
    max_soc_pct=st.floats(55.0, 100.0),
)
orders = st.lists(st.tuples(st.floats(-2e9, 2e9), st.floats(0.01, 3600.0)), min_size=1, max_size=12)


def run(limits: BatteryLimits, order: list[tuple[float, float]]) -> list[BatteryState]:
    states = [initial_state(limits)]
    for setpoint_w, dt_s in order:
        states.append(step(states[-1], limits, setpoint_w=setpoint_w, dt_s=dt_s))
    return states


@given(batteries, orders)
def test_the_state_of_charge_never_leaves_its_bounds(limits: BatteryLimits, order) -> None:
    """U-D07: clamp to [min_soc, max_soc]."""
    for state in run(limits, order):
        assert limits.min_soc_pct - 1e-6 <= soc_pct(state, limits) <= limits.max_soc_pct + 1e-6


@given(batteries, orders)
def test_what_the_cells_hold_is_what_came_in_times_efficiency_less_what_went_out_over_efficiency(
    limits: BatteryLimits, order
) -> None:
    """U-D07: discharge divided by efficiency, charge times efficiency; also where a bound cut in."""
    states = run(limits, order)
    last = states[-1]
    held_wh = last.charged_wh * limits.efficiency - last.discharged_wh / limits.efficiency
    turnover_wh = last.charged_wh + last.discharged_wh + limits.capacity_wh
    assert last.stored_wh - states[0].stored_wh == pytest.approx(held_wh, abs=1e-9 * turnover_wh)


@given(batteries, orders)
def test_the_power_never_moves_faster_than_its_ramp_unless_a_bound_cuts_it(
    limits: BatteryLimits, order
) -> None:
    """U-D07: ramp_rate / 60 per second; at the bound the power is zero at once."""
    states = run(limits, order)
    for before, after, (_, dt_s) in zip(states, states[1:], order, strict=False):
        moved_w = abs(after.power_w - before.power_w)
        at_a_bound = after.power_w == 0 and (
            soc_pct(after, limits) <= limits.min_soc_pct + 1e-9
            or soc_pct(after, limits) >= limits.max_soc_pct - 1e-9
        )
        assert at_a_bound or moved_w <= limits.ramp_w_per_s * dt_s * (1 + 1e-9) + 1e-6


@given(batteries, orders)
def test_the_power_stays_within_the_nameplate_and_the_counters_never_fall(
    limits: BatteryLimits, order
) -> None:
    states = run(limits, order)
    for before, after in itertools.pairwise(states):
        assert limits.min_w <= after.power_w <= limits.max_w
        assert after.charged_wh >= before.charged_wh
        assert after.discharged_wh >= before.discharged_wh


@given(batteries, st.floats(-2e9, 2e9), st.floats(0.1, 600.0), st.integers(2, 20))
def test_many_short_steps_and_a_long_one_agree_while_no_bound_is_near(
    limits: BatteryLimits, setpoint_w: float, dt_s: float, parts: int
) -> None:
    whole = run(limits, [(setpoint_w, dt_s)])[-1]
    pieces = run(limits, [(setpoint_w, dt_s / parts)] * parts)[-1]
    if whole.power_w != 0 and pieces.power_w != 0:
        assert pieces.power_w == pytest.approx(whole.power_w, rel=1e-6, abs=1e-3)
        assert pieces.stored_wh == pytest.approx(whole.stored_wh, rel=1e-6)


def test_a_battery_starts_half_full_and_at_rest() -> None:
    """U-D07: initial SoC 50 %."""
    state = initial_state(SITE_A)

    assert soc_pct(state, SITE_A) == 50
    assert state.power_w == 0


def test_a_thousand_megawatts_per_minute_reach_twelve_in_three_quarters_of_a_second() -> None:
    """U-D07: ramp_rate / 60 per second."""
    first = step(initial_state(SITE_A), SITE_A, setpoint_w=12e6, dt_s=0.3)
    second = step(first, SITE_A, setpoint_w=12e6, dt_s=0.42)

    assert first.power_w == pytest.approx(5e6)
    assert second.power_w == 12e6


def test_an_empty_battery_refuses_to_discharge_and_still_charges() -> None:
    """U-D07: at the bound the setpoint is zero."""
    empty = initial_state(SITE_A, soc_pct=0)

    assert step(empty, SITE_A, setpoint_w=12e6, dt_s=10).power_w == 0
    assert step(empty, SITE_A, setpoint_w=-12e6, dt_s=10).power_w == -12e6


def test_a_battery_that_runs_empty_on_the_way_delivers_what_it_had_and_stops() -> None:
    nearly_empty = initial_state(SITE_A, soc_pct=0.01)

    state = step(nearly_empty, SITE_A, setpoint_w=60e6, dt_s=3600)

    assert state.power_w == 0
    assert state.stored_wh == 0
    assert state.discharged_wh == pytest.approx(12_000 * 0.92)


def test_the_cells_give_more_than_the_grid_gets_and_keep_less_than_it_gave() -> None:
    discharging = step(initial_state(SITE_A), SITE_A, setpoint_w=10e6, dt_s=60)
    charging = step(initial_state(SITE_A), SITE_A, setpoint_w=-10e6, dt_s=60)

    assert dc_power_w(discharging, SITE_A) == pytest.approx(10e6 / 0.92)
    assert dc_power_w(charging, SITE_A) == pytest.approx(-10e6 * 0.92)


def test_turning_round_counts_what_went_out_before_it_counts_what_came_in() -> None:
    slow = BatteryLimits(capacity_wh=100e3, max_w=10e3, min_w=-10e3, efficiency=0.9, ramp_w_per_s=100)
    discharging = step(initial_state(slow), slow, setpoint_w=10e3, dt_s=100)

    turned = step(discharging, slow, setpoint_w=-5e3, dt_s=150)

    assert turned.power_w == -5e3
    assert turned.discharged_wh - discharging.discharged_wh == pytest.approx(10e3 / 2 * 100 / 3600)
    assert turned.charged_wh == pytest.approx(5e3 / 2 * 50 / 3600)
