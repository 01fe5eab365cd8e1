"""What control registers mean."""

import math

from edge_agent.fleet.controls import RevertTimer, curtailed_w, storage_target_w


def test_a_revert_timer_fires_once_when_nobody_arms_it_again() -> None:
    timer = RevertTimer()
    timer.arm(60)

    assert not timer.run(59)
    assert timer.fires_in_s() == 1
    assert timer.run(1)
    assert not timer.run(1000)
    assert timer.fires_in_s() == math.inf


def test_a_revert_timer_that_is_armed_again_in_time_does_not_fire() -> None:
    timer = RevertTimer()
    timer.arm(60)

    for _ in range(10):
        assert not timer.run(30)
        timer.arm(60)


def test_a_battery_that_nobody_told_anything_rests() -> None:
    assert storage_target_w(setpoint_w=None, charge_limit_w=None, discharge_limit_w=None) == 0


def test_limits_narrow_a_setpoint_and_leave_a_resting_battery_alone() -> None:
    assert storage_target_w(setpoint_w=10, charge_limit_w=5, discharge_limit_w=4) == 4
    assert storage_target_w(setpoint_w=-10, charge_limit_w=5, discharge_limit_w=4) == -5
    assert storage_target_w(setpoint_w=None, charge_limit_w=5, discharge_limit_w=4) == 0


def test_a_negative_limit_forces_the_other_direction() -> None:
    assert storage_target_w(setpoint_w=None, charge_limit_w=-3, discharge_limit_w=5) == 3
    assert storage_target_w(setpoint_w=None, charge_limit_w=5, discharge_limit_w=-3) == -3


def test_limits_that_contradict_each_other_let_the_discharge_limit_decide() -> None:
    assert storage_target_w(setpoint_w=None, charge_limit_w=-3, discharge_limit_w=2) == 2


def test_a_ceiling_takes_from_the_sun_and_never_adds() -> None:
    assert curtailed_w(100, ceiling_w=None, connected=True) == 100
    assert curtailed_w(100, ceiling_w=40, connected=True) == 40
    assert curtailed_w(30, ceiling_w=40, connected=True) == 30
    assert curtailed_w(100, ceiling_w=None, connected=False) == 0
