"""Drivers are found by themselves, also somebody else's; and what can be said of them without a device."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.drivers import all_drivers, connect
from edge_agent.drivers.blueprint.codec import values_of
from edge_agent.drivers.simulated import physics
from edge_agent.drivers.simulated.driver import SimulatedDriver
from edge_agent.errors import Invalid
from overwatt.inventory import Asset
from overwatt.quantities import BY_NAME

FOREIGN = """
from edge_agent.drivers import DriverInfo
DRIVER = DriverInfo("foreign", "beta", "not ours", lambda asset: None)
"""


def an_asset(kind: str = "battery", **changes: Any) -> Asset:
    values: dict[str, Any] = {
        "id": "bess-1", "site_id": "s", "site_name": "S", "name": "B", "type": kind, "capacity_mwh": 10.0,
        "max_mw": 5.0, "min_mw": -5.0, "efficiency": 0.9, "ramp_rate_mw_per_min": 60.0,
    }  # fmt: skip
    return Asset(**(values | changes))


def test_the_drivers_of_this_tree_are_found_with_their_tier() -> None:
    """H-007 in part."""
    found = {driver.name: driver.tier for driver in all_drivers().values()}

    assert found == {"blueprint": "beta", "replay": "stable", "simulated": "stable", "sunspec": "stable"}


def test_somebody_elses_driver_is_found_without_touching_the_core(tmp_path: Path) -> None:
    """H-071: an installed package with an entry point is enough."""
    (tmp_path / "foreign_driver.py").write_text(FOREIGN)
    info = tmp_path / "foreign_driver-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-driver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[overwatt.drivers]\nforeign = foreign_driver:DRIVER\n")
    root = Path(__file__).parents[2]

    listed = subprocess.run(
        [sys.executable, "-m", "edge_agent", "drivers"],
        env={"PYTHONPATH": f"{tmp_path}:{root}:{root / 'proto'}"},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "foreign      tier=beta    not ours" in listed.stdout


def test_an_unknown_driver_is_told_which_there_are() -> None:
    with pytest.raises(Invalid, match="driver is 'magic'; there are blueprint, replay, simulated, sunspec"):
        connect(an_asset(driver="magic"))


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({}, "asset bess-1: host is None; driver sunspec needs a text there"),
        ({"host": "h", "port": "502"}, "asset bess-1: port is '502'; it must be a whole number"),
        ({"host": "h", "timeout_s": True}, "asset bess-1: timeout_s is True; it must be a number"),
    ],
)
def test_a_wrong_setting_of_a_driver_is_named(extra: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says.replace("?", "[?]")):
        connect(an_asset(driver="sunspec", extra=extra))


def test_the_blueprint_reads_signed_registers_and_leaves_out_what_is_not_there() -> None:
    assert values_of([0xFFFB, 455]) == pytest.approx({"temp_c": -0.5, "relative_humidity_pct": 45.5})
    assert values_of([0x8000, 455]) == pytest.approx({"relative_humidity_pct": 45.5})


LIMITS = physics.Limits(capacity_wh=1000, min_w=-500, max_w=500, efficiency=0.9, ramp_w_per_s=10)


def test_a_simulated_battery_obeys_its_ramp_and_loses_energy_in_both_directions() -> None:
    """U-D07."""
    start = physics.Battery(soc_pct=50)

    ramping = physics.step(start, LIMITS, setpoint_w=500, dt_s=10)
    given = physics.step(physics.Battery(360, 50), LIMITS, setpoint_w=360, dt_s=900)
    taken = physics.step(physics.Battery(-360, 50), LIMITS, setpoint_w=-360, dt_s=900)

    assert ramping.power_w == 100
    assert given.soc_pct == pytest.approx(50 - 10)  # 90 Wh out take 100 Wh
    assert taken.soc_pct == pytest.approx(50 + 8.1)  # 90 Wh in leave 81 Wh


def test_a_simulated_battery_rests_at_the_bound_of_its_charge() -> None:
    """U-D07."""
    empty = physics.step(physics.Battery(360, 0.1), LIMITS, setpoint_w=360, dt_s=60)

    assert (empty.power_w, empty.soc_pct) == (0, 0)


async def test_a_simulated_battery_can_be_driven_and_released() -> None:
    now = 0.0
    driver = SimulatedDriver(an_asset(), now=lambda: now)
    assert (await driver.read()).values["soc_pct"] == 50  # U-D07

    await driver.set_power(1e6)
    now = 10.0
    driven = (await driver.read()).values
    await driver.release()
    released = (await driver.read()).values

    assert (driven["active_power_w"], driven["power_setpoint_w"], driven["control_mode"]) == (1e6, 1e6, 1)
    assert released["control_mode"] == 0
    assert set(driven) <= set(BY_NAME)


def test_only_a_battery_obeys() -> None:
    with pytest.raises(Invalid, match="a simulated pv obeys no setpoint"):
        asyncio.run(SimulatedDriver(an_asset("pv")).set_power(1.0))
