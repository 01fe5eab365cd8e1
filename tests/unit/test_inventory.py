"""The assets file, read alike by cloud and agent (D-040)."""

from typing import Any

import pytest

from overwatt.inventory import InventoryError, parse_inventory

BATTERY = {
    "id": "7ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "name": "SA-BESS-1",
    "type": "battery",
    "capacity_mwhr": 120,
    "max_mw": 60,
    "min_mw": -60,
    "efficiency": 0.92,
    "ramp_rate_mw_per_min": 1000,
    "driver": "sunspec",
    "host": "127.0.0.1",
    "port": 15021,
}


def a_file(**changes: Any) -> dict[str, Any]:
    return {"sites": [{"id": "site-a", "name": "Site A", "assets": [BATTERY | changes]}]}


def test_the_example_asset_is_read_in_full() -> None:
    """D-019, D-040."""
    (site,) = parse_inventory(a_file())

    (asset,) = site.assets
    assert (site.id, site.name, asset.site_id, asset.site_name) == ("site-a", "Site A", "site-a", "Site A")
    assert (asset.capacity_mwh, asset.max_mw, asset.min_mw, asset.efficiency) == (120, 60, -60, 0.92)
    assert (asset.ramp_rate_mw_per_min, asset.driver) == (1000, "sunspec")
    assert asset.extra == {"host": "127.0.0.1", "port": 15021}


def test_a_battery_without_min_mw_charges_as_fast_as_it_discharges_and_pv_never_does() -> None:
    plain = {"id": "b", "max_mw": 5}
    sites = parse_inventory(
        {"sites": [{"id": "s", "assets": [plain, {"id": "p", "type": "pv", "max_mw": 5}]}]}
    )

    assert [asset.min_mw for asset in sites[0].assets] == [-5, 0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "Has Space"}, "sites[0].assets[0].id is 'Has Space'"),
        ({"type": "toaster"}, "type is 'toaster'; it must be one of battery, pv"),
        ({"max_mw": "60"}, "max_mw is '60'; it must be a number"),
        ({"max_mw": float("nan")}, "max_mw is nan; it must be a number"),
        ({"min_mw": 70}, "min_mw 70 is above max_mw 60"),
        ({"efficiency": 0}, "efficiency is 0; it must be above 0 and at most 1"),
        ({"capacity_mwhr": -1}, "capacity_mwhr is -1; it must not be negative"),
        ({"ramp_rate_mw_per_min": 0}, "ramp_rate_mw_per_min is 0; it must be above 0"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InventoryError) as refused:
        parse_inventory(a_file(**changes))

    assert says in str(refused.value)


def test_an_id_that_stands_twice_is_refused() -> None:
    twice = {"sites": [{"id": "s", "assets": [{"id": "b"}, {"id": "b"}]}]}

    with pytest.raises(InventoryError, match="'b' stands twice"):
        parse_inventory(twice)


@pytest.mark.parametrize("document", [None, [], {}, {"sites": {}}, "sites"])
def test_a_file_without_sites_is_refused(document: object) -> None:
    with pytest.raises(InventoryError, match="list `sites`"):
        parse_inventory(document)
