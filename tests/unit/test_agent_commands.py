"""What a command means, and whether the power followed."""

from typing import Any

import pytest

from edge_agent.commands import Identity, Mode, ended_by, refusal_of, targets
from edge_agent.following import deadline_s, tolerance_mw
from overwatt.inventory import Asset
from overwatt.v1.agent_pb2 import Command

ME = Identity("default", "site-a", "site-a")
ACTIVE = Mode("active", 4, frozenset({"battery"}))
NOW_US = 1_000_000_000


def an_asset(name: str, kind: str = "battery") -> Asset:
    return Asset(id=name, site_id="site-a", site_name="Site A", name=name, type=kind, max_mw=20, min_mw=-20)


ASSETS = {asset.id: asset for asset in (an_asset("b"), an_asset("a"), an_asset("pv", "pv"))}


def a_command(**changes: Any) -> Command:
    values: dict[str, Any] = {
        "id": "c-1",
        "tenant": "default",
        "device": "site-a",
        "site": "site-a",
        "power_mw": 12.0,
        "expires_at_us": NOW_US + 1,
        "mode_epoch": 4,
        "capability": "battery",
    }
    return Command(**(values | changes))


def reason(mode: Mode = ACTIVE, *, now_us: int | None = NOW_US, **changes: Any) -> str:
    refusal = refusal_of(a_command(**changes), me=ME, mode=mode, assets=ASSETS, now_us=now_us)
    return refusal.reason if refusal else ""


def test_a_site_means_its_batteries_and_both_ids_mean_the_asset() -> None:
    """D-026, D-027."""
    assert targets(a_command(), ASSETS) == ["a", "b"]
    assert targets(a_command(asset="b"), ASSETS) == ["b"]
    assert reason(asset="b") == ""


def test_a_command_that_is_in_order_is_obeyed() -> None:
    assert reason() == ""
    assert reason(Mode()) == ""  # no config yet: the gateway's stamp stands for it
    assert reason(Mode("observe", 3)) == ""  # stamped under a newer mode than we have heard of


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"expires_at_us": NOW_US - 1_500_000}, "EXPIRED: 1.5 s too late"),
        ({"mode_epoch": 3}, "MODE_EPOCH_OLD: stamped under 3, 4 is in force"),
        ({"capability": "pv"}, "CAPABILITY_CLOSED: pv is not opted in"),
        ({"power_mw": float("nan")}, "MALFORMED: power_mw is nan; it must be a finite number"),
        ({"power_mw": float("inf")}, "MALFORMED: power_mw is inf; it must be a finite number"),
        ({"duration_s": -1.0}, "MALFORMED: duration_s is -1.0; it must be 0 or more"),
        ({"asset": "c"}, "ASSET_UNKNOWN: this agent speaks for a, b, pv"),
        ({"asset": "pv"}, "NOT_DISPATCHABLE: pv is a pv"),
        ({"site": "site-b"}, "SITE_UNKNOWN: this agent's site is site-a, not site-b"),
        ({"site": ""}, "MALFORMED: neither asset nor site is set"),
        ({"device": "site-b"}, "WRONG_AGENT: for default/site-b, not default/site-a"),
    ],
)
def test_a_command_that_is_not_in_order_says_why(changes: dict[str, Any], says: str) -> None:
    assert reason(**changes) == says


def test_an_observing_agent_refuses() -> None:
    assert reason(Mode("observe", 4)) == "MODE_OBSERVE: this agent only observes"


def test_a_clock_that_is_not_trusted_expires_nothing() -> None:
    assert reason(now_us=None, expires_at_us=1) == ""


@pytest.mark.parametrize(
    ("target", "before", "tolerance"),
    [
        (50, 0, 1.0),  # 2 % of a large request
        (20, 0, 0.6),  # 1 % of the maximum
        (0.5, 0, 0.06),  # not so much that standing still would pass
        (5.5, 5.0, 0.11),
        (0, 60, 0.6),
    ],
)
def test_following_means_near_the_target_and_never_just_standing_still(
    target: float, before: float, tolerance: float
) -> None:
    allowed = tolerance_mw(target, before_mw=before, max_mw=60)

    assert allowed == pytest.approx(tolerance)
    assert abs(before - target) > allowed


def test_a_device_has_as_long_as_its_ramp_takes_and_ten_seconds() -> None:
    assert deadline_s(60, before_mw=-60, ramp_mw_per_min=60) == 130
    assert deadline_s(60, before_mw=None, ramp_mw_per_min=None) == 10


RUNNING = [a_command(id="c-1"), a_command(id="c-2", capability="")]


def test_observe_ends_what_runs() -> None:
    """H-029."""
    (reason,) = ended_by(Mode("observe", 5), ACTIVE, RUNNING)

    assert reason.startswith("MODE_OBSERVE")
    assert ended_by(Mode("observe", 5), ACTIVE, []) == {}


def test_a_closed_capability_ends_what_needs_it_and_nothing_else() -> None:
    """H-032."""
    ended = ended_by(Mode("active", 5, frozenset({"pv"})), ACTIVE, RUNNING)

    assert [command.id for commands in ended.values() for command in commands] == ["c-1"]
    assert ended_by(Mode("active", 5, frozenset({"battery", "pv"})), ACTIVE, RUNNING) == {}
    assert ended_by(Mode("active", 5), ACTIVE, RUNNING) == {}  # stamped by the gateway, and no config yet


def test_who_missed_a_change_of_mode_takes_it_for_observe() -> None:
    (reason,) = ended_by(Mode("active", 6, frozenset({"battery"})), ACTIVE, RUNNING)

    assert reason.startswith("MODE_CHANGED")
    assert ended_by(ACTIVE, Mode(), RUNNING) == {}  # the first word that this run has heard
