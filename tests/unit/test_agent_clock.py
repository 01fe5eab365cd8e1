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
        (False, False, 2_000_001, False),
    ],
)
def test_the_rule(declared: bool, ntp: bool, off_us: int | None, trusted: bool) -> None:
    assert may_trust(declared=declared, kept_by_ntp=ntp, off_us=off_us) is trusted


def test_a_sample_has_no_wall_time_until_the_server_agrees_with_the_clock() -> None:
    clock = Clock(ntp=lambda: False, wall=lambda: 1_000_000_000, monotonic=lambda: 77)

    assert clock.stamp().wall_us is None
    assert clock.stamp().monotonic_us == 77
    assert not clock.hear_server(1_000_000_000 + 3 * SECOND, asked_us=77)
    assert not clock.hear_server(1_000_000_000 - 3 * SECOND, asked_us=77)
    assert clock.hear_server(1_000_000_000 - 1_500_000, asked_us=77)
    assert clock.stamp().wall_us == 1_000_000_000
    assert clock.offset_us() == 1_000_000_000 - 77


def test_an_answer_that_was_held_up_makes_no_wrong_clock_right() -> None:
    """Three seconds slow, and an answer three seconds old that seems to agree."""
    clock = Clock(ntp=lambda: False, wall=lambda: 100 * SECOND, monotonic=lambda: 10 * SECOND)

    assert not clock.hear_server(100 * SECOND, asked_us=7 * SECOND)
    assert clock.hear_server(99_500_000, asked_us=9 * SECOND)


def test_trust_comes_when_ntp_does_and_goes_with_it() -> None:
    state = {"kept": False}
    clock = Clock(ntp=lambda: state["kept"])

    assert not clock.is_trusted
    state["kept"] = True
    assert clock.look()
    state["kept"] = False
    assert not clock.look()


def test_lateness_counts_from_the_question_so_that_it_is_never_too_small() -> None:
    lateness = Lateness()
    assert lateness.of(7 * SECOND, 100 * SECOND) == math.inf  # nothing to compare with

    lateness.answered(lateness.ask(100 * SECOND), server_us=7 * SECOND)

    assert lateness.of(7 * SECOND, 100 * SECOND) == 0
    assert lateness.of(10 * SECOND, 108 * SECOND) == 5 * SECOND
    assert lateness.of(0, 100 * SECOND) == 7 * SECOND  # without a stamp


def test_an_answer_that_was_held_up_makes_nothing_seem_prompt() -> None:
    """A frozen broker kept the answer for 3 s and the command behind it for 2.9 s."""
    lateness = Lateness()
    question = lateness.ask(100 * SECOND)
    stamped_us = 7 * SECOND + 100_000

    lateness.answered(question, server_us=7 * SECOND)

    assert lateness.of(stamped_us, 103 * SECOND) == 2.9 * SECOND


def test_only_the_first_answer_to_the_newest_question_of_this_connection_counts() -> None:
    lateness = Lateness()
    old = lateness.ask(100 * SECOND)
    lateness.forget()
    lateness.answered(old, server_us=50 * SECOND)
    lateness.answered(0, server_us=50 * SECOND)
    assert lateness.of(50 * SECOND, 101 * SECOND) == math.inf

    first, second = lateness.ask(110 * SECOND), lateness.ask(120 * SECOND)
    lateness.answered(first, server_us=60 * SECOND)
    assert lateness.of(60 * SECOND, 121 * SECOND) == math.inf
    lateness.answered(second, server_us=70 * SECOND)
    lateness.answered(second, server_us=75 * SECOND)  # the same status, heard again by another gateway
    assert lateness.of(70 * SECOND, 120 * SECOND) == 0


def test_a_measure_ages_before_the_clocks_have_drifted_apart() -> None:
    lateness = Lateness()
    lateness.answered(lateness.ask(100 * SECOND), server_us=0)

    assert lateness.of(120 * SECOND, 220 * SECOND) == 0
    assert lateness.of(121 * SECOND, 221 * SECOND) == math.inf


def test_a_question_is_not_asked_again_within_a_second() -> None:
    lateness = Lateness()
    assert lateness.may_ask(100 * SECOND)
    lateness.ask(100 * SECOND)

    assert not lateness.may_ask(100 * SECOND + 999_999)
    assert lateness.may_ask(101 * SECOND)
