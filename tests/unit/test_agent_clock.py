"""When the box's clock may be believed."""

import math

import pytest

from edge_agent.clock import Clock, Lateness, may_trust

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("declared", "ntp", "off_us", "trusted"),
    [
        (False, False, None, False),
        (True, False, None, True),
        (False, True, None, True),
        (False, True, 9_000_000, True),
        (False, False, 2_000_000, True),
        (False, False, -2_000_000, True),
        (False, False, 2_000_001, False),
    ],
)
def test_the_rule(declared: bool, ntp: bool, off_us: int | None, trusted: bool) -> None:
    assert may_trust(declared=declared, kept_by_ntp=ntp, off_us=off_us) is trusted


def test_a_sample_has_no_wall_time_until_the_server_agrees_with_the_clock() -> None:
    clock = Clock(ntp=lambda: False, wall=lambda: 1_000_000_000, monotonic=lambda: 77)

    assert clock.stamp().wall_us is None
    assert clock.stamp().monotonic_us == 77
    assert not clock.hear_server(1_000_000_000 + 3_000_000)
    assert clock.hear_server(1_000_000_000 + 1_500_000)
    assert clock.stamp().wall_us == 1_000_000_000
    assert clock.offset_us() == 1_000_000_000 - 77


def test_trust_comes_when_ntp_does_and_goes_with_it() -> None:
    state = {"kept": False}
    clock = Clock(ntp=lambda: state["kept"])

    assert not clock.is_trusted
    state["kept"] = True
    assert clock.look()
    state["kept"] = False
    assert not clock.look()


def test_a_message_is_late_against_the_promptest_one_whatever_the_clocks_say() -> None:
    lateness = Lateness()
    assert lateness.of(7 * SECOND, 100 * SECOND, None) == math.inf  # nothing to compare with

    lateness.heard(server_us=7 * SECOND, at_us=100 * SECOND)  # took 0.2 s, say
    lateness.heard(server_us=8 * SECOND, at_us=103 * SECOND)  # took 2.2 s

    assert lateness.of(10 * SECOND, 103 * SECOND, None) == 0
    assert lateness.of(10 * SECOND, 108 * SECOND, None) == 5 * SECOND


def test_a_run_that_heard_only_late_messages_asks_a_trusted_clock_too() -> None:
    lateness = Lateness()
    lateness.heard(server_us=7 * SECOND, at_us=100 * SECOND)  # kept by a broker for minutes

    assert lateness.of(8 * SECOND, 101 * SECOND, wall_us=68 * SECOND) == 58 * SECOND
    assert lateness.of(8 * SECOND, 101 * SECOND, wall_us=9 * SECOND) == 0  # within what a clock may be off
    assert lateness.of(68 * SECOND, 161 * SECOND, wall_us=99 * SECOND) == 0  # the cloud's clock is wrong
    assert Lateness().of(8 * SECOND, 101 * SECOND, wall_us=8 * SECOND) == -2 * SECOND


def test_clocks_that_drift_apart_are_followed() -> None:
    lateness = Lateness()
    lateness.heard(server_us=0, at_us=0)
    for minute in range(60):  # the cloud's clock goes 1 % slow
        server_us, at_us = round(minute * 60 * 0.99 * SECOND), minute * 60 * SECOND
        assert lateness.of(server_us, at_us, None) <= 12 * 60 * 0.01 * SECOND
        lateness.heard(server_us, at_us)
