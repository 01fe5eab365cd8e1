"""Which commands an order becomes, and when it becomes none."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.split import AssetState, split
from services.controller.model import Agent, Asset, Measured, Order, Refused, Snapshot, Unknown
from services.controller.plan import plan

SEEN = datetime(2026, 11, 21, tzinfo=UTC)


def an_order(**changes: Any) -> Order:
    values: dict[str, Any] = {
        "tenant_id": "tenant-a",
        "asset_id": None,
        "site_id": "site-a",
        "power_mw": 12.0,
        "duration_s": None,
        "ttl_s": 60.0,
        "requested_by": "user",
    }
    return Order(**values | changes)


def a_battery(asset_id: str, capacity_mwh: float = 40, **changes: Any) -> Asset:
    values: dict[str, Any] = {
        "asset_id": asset_id,
        "site_id": "site-a",
        "type": "battery",
        "device_state": "active",
        "capacity_mwh": capacity_mwh,
        "max_mw": capacity_mwh / 2,
        "min_mw": -capacity_mwh / 2,
        "ramp_rate_mw_per_min": None,
        "soc_min_pct": 0.0,
        "soc_max_pct": 100.0,
        "box_id": "box-a",
        "box_state": "active",
        "mode": "active",
        "opt_ins": ("battery",),
    }
    return Asset(**values | changes)


def an_agent(device_id: str, *assets: str, connected: bool = True, seen: bool = True) -> Agent:
    return Agent(
        device_id=device_id,
        may_serve=frozenset([*assets, device_id]),
        says_it_serves=frozenset(assets or [device_id]) if seen else frozenset(),
        connected=connected,
        last_seen_at=SEEN if seen else None,
    )


def a_snapshot(
    assets: Sequence[Asset], agents: Sequence[Agent], measured: dict[str, Measured] | None = None
) -> Snapshot:
    return Snapshot(assets=assets, agents=agents, measured=measured or {})


THREE = (a_battery("a", 120), a_battery("b"), a_battery("c"))
GATEWAY = an_agent("site-a", "a", "b", "c")


def test_a_site_behind_one_gateway_agent_gets_one_command() -> None:  # D-025, D-026
    planned = plan(an_order(), a_snapshot(THREE, [GATEWAY]))

    assert [(c.device_id, c.asset_id, c.power_mw) for c in planned.commands] == [("site-a", None, 12.0)]
    assert [share.power_mw for share in planned.split.shares] == pytest.approx([7.2, 2.4, 2.4])


def test_a_site_behind_single_asset_agents_is_split_by_the_controller() -> None:  # X9
    agents = [an_agent(asset.asset_id) for asset in THREE]

    planned = plan(an_order(), a_snapshot(THREE, agents))

    assert [(c.device_id, c.asset_id) for c in planned.commands] == [("a", "a"), ("b", "b"), ("c", "c")]
    assert [c.power_mw for c in planned.commands] == pytest.approx([7.2, 2.4, 2.4])


def test_an_asset_without_a_connected_agent_takes_no_part() -> None:  # U-D04
    agents = [an_agent("a"), an_agent("b"), an_agent("c", connected=False)]

    planned = plan(an_order(), a_snapshot(THREE, agents))

    assert [c.device_id for c in planned.commands] == ["a", "b"]
    assert [c.power_mw for c in planned.commands] == pytest.approx([9, 3])
    assert planned.split.shares[2].limited_by == ""
    assert planned.split.shares[2].power_mw == 0


def test_a_dispatch_waits_for_the_gateway_agent_when_nobody_is_connected() -> None:  # U-D09
    planned = plan(an_order(), a_snapshot(THREE, [an_agent("site-a", "a", "b", "c", connected=False)]))

    assert [c.device_id for c in planned.commands] == ["site-a"]
    assert [share.power_mw for share in planned.split.shares] == pytest.approx([7.2, 2.4, 2.4])


def test_who_was_there_last_is_waited_for_rather_than_who_never_was() -> None:
    agents = [an_agent("site-a", "a", connected=False, seen=False), an_agent("a", connected=False)]

    planned = plan(an_order(asset_id="a", site_id=None), a_snapshot(THREE[:1], agents))

    assert [c.device_id for c in planned.commands] == ["a"]


def test_of_two_connected_agents_the_gateway_is_chosen_whoever_spoke_last() -> None:
    later = dataclasses.replace(an_agent("a"), last_seen_at=SEEN + timedelta(seconds=5))

    planned = plan(an_order(asset_id="a", site_id=None), a_snapshot(THREE[:1], [GATEWAY, later]))

    assert [c.device_id for c in planned.commands] == ["site-a"]


def test_an_agent_that_the_registry_does_not_allow_gets_nothing() -> None:
    intruder = dataclasses.replace(an_agent("other", "a"), may_serve=frozenset(["other"]))

    planned = plan(an_order(asset_id="a", site_id=None), a_snapshot(THREE[:1], [intruder]))

    assert [c.device_id for c in planned.commands] == ["a"]


def test_a_gateway_agent_that_also_holds_a_disabled_battery_does_not_split_by_itself() -> None:
    assets = (*THREE[:2], a_battery("c", device_state="disabled"))

    planned = plan(an_order(), a_snapshot(assets, [GATEWAY]))

    assert [(c.device_id, c.asset_id) for c in planned.commands] == [("site-a", "a"), ("site-a", "b")]
    assert [c.power_mw for c in planned.commands] == pytest.approx([9, 3])


def test_an_asset_gets_its_command_beyond_its_limit_and_the_preview_says_so() -> None:
    planned = plan(an_order(asset_id="b", site_id=None, power_mw=25.0), a_snapshot(THREE[1:2], [GATEWAY]))

    assert planned.commands[0].power_mw == 25.0
    assert planned.split.shares[0].power_mw == 20
    assert planned.split.shares[0].limited_by == "max_mw"
    assert planned.split.unplaced_mw == pytest.approx(5)


def test_a_full_battery_is_not_asked_to_charge() -> None:
    measured = {"a": Measured(soc_pct=100.0)}

    planned = plan(an_order(power_mw=-12.0), a_snapshot(THREE, [GATEWAY], measured))

    assert [share.power_mw for share in planned.split.shares] == pytest.approx([0, -6, -6])
    assert planned.split.shares[0].limited_by == "soc_max_pct"


def test_an_unknown_asset_is_unknown() -> None:  # D-035
    with pytest.raises(Unknown, match="asset 'x' does not exist"):
        plan(an_order(asset_id="x", site_id=None), a_snapshot([], []))


def test_an_observing_box_is_named() -> None:
    with pytest.raises(Refused, match="box 'box-a' is in mode observe") as refusal:
        plan(an_order(), a_snapshot([a_battery("a", mode="observe")], [GATEWAY]))

    assert (refusal.value.reason, refusal.value.box) == ("MODE_OBSERVE", "box-a")


def test_a_closed_capability_is_named() -> None:  # H-032
    with pytest.raises(Refused, match="capability 'battery' of box 'box-a' is closed") as refusal:
        plan(an_order(), a_snapshot([a_battery("a", opt_ins=())], [GATEWAY]))

    assert (refusal.value.reason, refusal.value.capability) == ("CAPABILITY_CLOSED", "battery")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"box_id": None, "box_state": None, "mode": None}, "MODE_OBSERVE"),
        ({"box_state": "disabled"}, "MODE_OBSERVE"),
        ({"device_state": "disabled"}, "DEVICE_REVOKED"),
        ({"type": "pv"}, "CAPABILITY_CLOSED"),
        ({"type": "pv", "opt_ins": ("pv",)}, "NOT_DISPATCHABLE"),
    ],
)
def test_what_may_not_be_written_to_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refusal:
        plan(
            an_order(asset_id="a", site_id=None),
            a_snapshot([a_battery("a", **changes)], [GATEWAY]),
        )

    assert refusal.value.reason == reason


def test_a_site_without_a_battery_is_refused() -> None:
    with pytest.raises(Refused, match="no active asset of type battery"):
        plan(an_order(), a_snapshot([a_battery("a", type="meter")], [GATEWAY]))


@given(
    st.lists(st.floats(1, 500), min_size=1, max_size=8),
    st.floats(-1, 1),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_the_shares_of_the_commands_add_up_to_the_request(  # D-028
    capacities: list[float], part: float, connected: list[bool]
) -> None:
    assets = [a_battery(f"asset-{n}", capacity) for n, capacity in enumerate(capacities)]
    agents = [
        an_agent(asset.asset_id, connected=is_connected)
        for asset, is_connected in zip(assets, connected, strict=False)
    ]
    taking_part = [asset for asset, agent in zip(assets, agents, strict=True) if agent.connected] or assets
    request = part * sum(asset.max_mw for asset in taking_part)

    planned = plan(an_order(power_mw=request), a_snapshot(assets, agents))

    assert sum(command.power_mw for command in planned.commands) == pytest.approx(request, abs=1e-6)
    assert {command.device_id for command in planned.commands} == {asset.asset_id for asset in taking_part}


def test_a_decision_can_be_computed_again_from_its_inputs() -> None:
    planned = plan(an_order(), a_snapshot(THREE, [GATEWAY], {"b": Measured(soc_pct=0.0)}))

    again = split(12.0, [AssetState(**dataclasses.asdict(state)) for state in planned.states])

    assert again == planned.split
