"""The fleet in the platform's assets file (D-040)."""

import asyncio
import math
from pathlib import Path

import pytest

from edge_agent.fleet import inventory
from edge_agent.fleet.fleet import running_fleet
from overwatt.inventory import Asset, InventoryError, Site, parse_inventory


def an_asset(**values: object) -> Asset:
    entry = {"id": "x", "type": "battery", "capacity_mwhr": 1, "max_mw": 1, "driver": "sunspec", **values}
    (site,) = parse_inventory({"sites": [{"id": "site-a", "assets": [entry]}]})
    return site.assets[0]


def a_site(*assets: Asset) -> Site:
    return Site("site-a", "Site A", assets)


async def start(*assets: Asset) -> None:
    async with running_fleet([a_site(*assets)]):
        pytest.fail("the fleet started")


def test_megawatts_per_minute_become_watts_per_second() -> None:
    limits = inventory.battery_limits(
        an_asset(capacity_mwhr=120, max_mw=60, min_mw=-60, efficiency=0.92, ramp_rate_mw_per_min=1000)
    )

    assert limits.capacity_wh == 120e6
    assert (limits.max_w, limits.min_w) == (60e6, -60e6)
    assert limits.ramp_w_per_s == pytest.approx(1000e6 / 60)


def test_a_battery_without_a_ramp_jumps() -> None:
    assert inventory.battery_limits(an_asset()).ramp_w_per_s == math.inf


def test_kilowatts_are_small_megawatts() -> None:
    assert inventory.peak_w(an_asset(type="pv", peak_mw=0.0123)) == pytest.approx(12_300)


def test_only_sunspec_assets_are_served() -> None:
    site = a_site(an_asset(), an_asset(id="y", driver="simulated"))

    assert [asset.id for asset in inventory.served([site])] == ["x"]


@pytest.mark.parametrize(
    ("asset", "complaint"),
    [
        (an_asset(type="ev_charger"), "asset x: the fleet has no SunSpec model of a ev_charger"),
        (an_asset(capacity_mwhr=0, port=1), "asset x: a battery needs capacity_mwhr and max_mw above 0"),
        (an_asset(min_mw=0.5, port=1), "asset x: min_mw is 0.5"),
        (an_asset(min_soc_pct=60, max_soc_pct=40, port=1), "min_soc_pct 60 must be below max_soc_pct 40"),
        (an_asset(initial_soc_pct=101, port=1), "initial_soc_pct is 101; it must be 0 to 100"),
        (an_asset(type="pv", max_mw=0, port=1), "a PV plant needs peak_mw"),
        (an_asset(type="pv", weather="x.csv", port=1), "weather is 'x.csv'; it must be one of 723170TYA.CSV"),
        (an_asset(type="load", port=1), "a load needs annual_kwh above 0"),
        (an_asset(type="load", annual_kwh="much", port=1), "annual_kwh is 'much'; it must be a number"),
        (an_asset(type="load", annual_kwh=1, profile="z9", port=1), "profile is 'z9'; it must be one of h0"),
        (an_asset(), "asset x: port is missing"),
        (an_asset(port=70000), "port is 70000; it must be 1 to 65535"),
        (an_asset(port=1, unit=0), "unit is 0; it must be 1 to 247"),
    ],
    ids=lambda value: None if isinstance(value, Asset) else value,
)
def test_a_fleet_that_cannot_be_says_which_asset_and_what_would_be_right(
    asset: Asset, complaint: str
) -> None:
    with pytest.raises(InventoryError, match=complaint.replace("(", r"\(")):
        asyncio.run(start(asset))


def test_two_devices_cannot_share_a_port() -> None:
    with pytest.raises(InventoryError, match="assets x and y share port 15020"):
        asyncio.run(start(an_asset(port=15020), an_asset(id="y", port=15020)))


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "assets.yaml"
    path.write_text("sites: [")

    with pytest.raises(InventoryError, match=str(path)):
        inventory.read_sites(path)
    with pytest.raises(InventoryError, match="cannot read"):
        inventory.read_sites(tmp_path / "missing.yaml")
