"""When the box's clock may be believed."""

import pytest

from edge_agent.clock import Clock, may_trust


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
