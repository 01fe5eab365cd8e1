"""What an assets file changes in the registry."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from overwatt.inventory import InventoryError, parse_inventory
from services.provisioning.inventory import box_devices, changes, entry, wanted
from services.provisioning.model import DeviceRow, Holdings

NOTHING = Holdings({}, {}, {})


def a_file(*assets: dict[str, Any], site: str = "site-a", name: str = "Site A") -> Holdings:
    return wanted(parse_inventory({"sites": [{"id": site, "name": name, "assets": list(assets)}]}))


def an_asset(id: str = "bess-1", **values: Any) -> dict[str, Any]:
    return {"id": id, "type": "battery", "capacity_mwhr": 120, "max_mw": 60, **values}


def in_state(holdings: Holdings, device: str, state: str) -> Holdings:
    devices = {**holdings.devices, device: replace(holdings.devices[device], state=state)}
    return replace(holdings, devices=devices)


def test_a_site_becomes_a_box_an_agent_for_its_assets_and_a_device_each() -> None:  # D-017, D-020
    made = changes(NOTHING, a_file(an_asset("bess-1"), an_asset("bess-2")))

    assert (made.sites, made.boxes) == ({"site-a": "Site A"}, ("site-a",))
    agent, first, _ = made.added
    assert (agent.device_id, agent.type, agent.assets) == ("site-a", "agent", ("bess-1", "bess-2"))
    assert (first.site_id, first.box_id, first.type) == ("site-a", "site-a", "battery")
    assert first.asset
    assert (first.asset.capacity_mwh, first.asset.max_mw, first.asset.min_mw) == (120, 60, -60)


def test_the_same_file_again_changes_nothing() -> None:  # D-040
    file = a_file(an_asset(install_date=datetime(2026, 1, 1, tzinfo=UTC).date()))

    assert not changes(file, file)


def test_an_asset_that_left_the_file_is_decommissioned_and_its_agent_may_not_speak_for_it() -> None:
    before, after = a_file(an_asset("bess-1"), an_asset("bess-2")), a_file(an_asset("bess-1"))

    made = changes(before, after)

    assert (made.retired_devices, made.retired_boxes) == (("bess-2",), ())
    assert [(device.device_id, device.assets) for device in made.changed] == [("site-a", ("bess-1",))]


def test_a_site_that_left_the_file_takes_its_box_and_agent_along() -> None:
    made = changes(a_file(an_asset()), NOTHING)

    assert (made.retired_devices, made.retired_boxes) == (("site-a", "bess-1"), ("site-a",))
    assert made.summary() == {"decommissioned": ["bess-1", "site-a", "site-a"]}


def test_what_is_decommissioned_already_is_not_decommissioned_again() -> None:
    before = replace(
        in_state(a_file(an_asset()), "bess-1", "decommissioned"), boxes={"site-a": "decommissioned"}
    )

    made = changes(in_state(before, "site-a", "decommissioned"), NOTHING)

    assert not made


def test_an_asset_that_comes_back_is_active_again() -> None:
    file = a_file(an_asset())

    made = changes(in_state(file, "bess-1", "decommissioned"), file)

    assert [device.device_id for device in made.changed] == ["bess-1"]


@pytest.mark.parametrize("state", ["disabled", "erased"])
def test_a_state_that_a_person_set_is_left_alone(state: str) -> None:
    file = a_file(an_asset())

    assert not changes(in_state(file, "bess-1", state), file)


def test_what_was_erased_is_not_written_again_whatever_the_file_says() -> None:
    before = in_state(a_file(an_asset()), "bess-1", "erased")

    assert not changes(before, a_file(an_asset(max_mw=50, min_mw=-50)))


def test_a_new_name_of_a_site_concerns_all_its_devices_since_they_are_told_with_it() -> None:
    made = changes(a_file(an_asset()), a_file(an_asset(), name="New name"))

    assert made.sites == {"site-a": "New name"}
    assert [device.device_id for device in made.changed] == ["site-a", "bess-1"]


def test_a_changed_limit_concerns_that_asset_alone() -> None:
    made = changes(a_file(an_asset()), a_file(an_asset(max_mw=50, min_mw=-60)))

    assert [device.device_id for device in made.changed] == ["bess-1"]


def test_a_key_that_no_database_can_hold_is_refused_by_name() -> None:
    with pytest.raises(InventoryError, match="bess-1"):
        a_file(an_asset(port=float("nan")))


def test_a_list_of_assets_given_to_a_box_is_an_assets_file_of_that_box_wherever_it_stands() -> None:  # K04
    agent = DeviceRow(
        device_id="box-1", site_id="elsewhere", site_name="Elsewhere", box_id="box-1", type="agent", name=""
    )

    made = box_devices(agent, [an_asset("bess-1", driver="sunspec", host="10.0.0.9")])

    assert made["box-1"].assets == ("bess-1",)
    assert (made["bess-1"].box_id, made["bess-1"].site_id) == ("box-1", "elsewhere")
    told = entry(made["bess-1"])
    assert (told["id"], told["capacity_mwhr"], told["driver"], told["host"]) == (
        "bess-1",
        120,
        "sunspec",
        "10.0.0.9",
    )
    assert box_devices(agent, [told]) == made


def test_what_is_wrong_in_such_a_list_is_named_by_its_place() -> None:
    agent = DeviceRow(device_id="box-1", site_id="box-1", site_name="", box_id="box-1", type="agent", name="")

    with pytest.raises(InventoryError, match=r"^assets\[1\]\.type is 'toaster'"):
        box_devices(agent, [an_asset(), an_asset("two", type="toaster")])


def test_what_a_person_decommissioned_no_file_brings_back() -> None:  # P-023
    file = a_file(an_asset())
    gone = replace(file.devices["bess-1"], state="decommissioned", stays_out=True)

    assert not changes(replace(file, devices={**file.devices, "bess-1": gone}), file)


def test_a_site_that_a_person_renamed_keeps_that_name() -> None:  # H-011
    sites = parse_inventory({"sites": [{"id": "site-a", "name": "Site A", "assets": [an_asset()]}]})

    named = wanted(sites, {"site-a": "My home"})

    assert named.sites == {"site-a": "My home"}
    assert {device.site_name for device in named.devices.values()} == {"My home"}
