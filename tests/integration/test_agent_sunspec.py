"""The sunspec driver against Modbus TCP servers: it reads and drives them as it would hardware."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.drivers.sunspec.driver import SunSpecDriver
from edge_agent.errors import Invalid, Unavailable
from edge_agent.fleet.clock import ManualClock
from edge_agent.fleet.fleet import Fleet, running_fleet
from edge_agent.fleet.server import ServedDevice
from overwatt.inventory import Asset, parse_inventory
from overwatt.quantities import BY_NAME

JUNE_NOON = datetime(2026, 6, 22, 12, 30, tzinfo=UTC)
BATTERY = {
    "id": "bess", "capacity_mwhr": 120, "max_mw": 60, "ramp_rate_mw_per_min": 60, "driver": "sunspec",
}  # fmt: skip
ASSETS = [
    BATTERY,
    {"id": "small", "capacity_mwhr": 0.01, "max_mw": 0.005, "driver": "sunspec", "unit": 7},
    {"id": "pv", "type": "pv", "peak_mw": 5, "driver": "sunspec"},
    {"id": "load", "type": "load", "annual_kwh": 8_000_000, "driver": "sunspec"},
    {"id": "meter", "type": "meter", "driver": "sunspec"},
]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("years")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def fleet(clock: ManualClock, cache_dir: Path) -> AsyncIterator[Fleet]:
    sites = parse_inventory({"sites": [{"id": "site-a", "assets": ASSETS}]})
    async with running_fleet(
        sites, free_ports=True, clock=clock, start=JUNE_NOON, cache_dir=cache_dir
    ) as running:
        yield running


def driver_of(served: ServedDevice, **extra: Any) -> SunSpecDriver:
    place = {"host": served.host, "port": served.port, "unit": served.unit, "timeout_s": 0.3} | extra
    return SunSpecDriver(Asset(id="a", site_id="s", site_name="S", name="a", driver="sunspec", extra=place))


@asynccontextmanager
async def register_server(base: int, image: list[int]) -> AsyncIterator[tuple[str, int]]:
    """Some other Modbus device: these registers and nothing else."""
    device = SimDevice(1, [SimData(base, values=image, datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        yield "127.0.0.1", cast(asyncio.Server, server.transport).sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def test_a_battery_says_what_it_does_in_our_units(fleet: Fleet) -> None:
    driver = driver_of(fleet["bess"])

    values = (await driver.read()).values

    assert values["soc_pct"] == 50
    assert (values["max_charge_w"], values["max_discharge_w"]) == (60e6, 60e6)
    assert (values["active_power_w"], values["frequency_hz"]) == (0, 50)
    assert (values["control_mode"], values["operating_state"]) == (0, 8)
    assert set(values) <= set(BY_NAME)
    await driver.close()


@pytest.mark.parametrize("power_w", [7.2e6, -12e6])
async def test_a_battery_follows_a_setpoint_with_its_sign(
    fleet: Fleet, clock: ManualClock, power_w: float
) -> None:
    driver = driver_of(fleet["bess"])
    await driver.set_power(power_w)
    clock.advance(20)

    values = (await driver.read()).values

    assert values["active_power_w"] == pytest.approx(power_w)
    assert (values["power_setpoint_w"], values["control_mode"]) == (power_w, 1)
    assert values["energy_export_wh" if power_w > 0 else "energy_import_wh"] > 0
    await driver.close()


async def test_a_small_battery_at_another_unit_id_follows_to_the_watt(
    fleet: Fleet, clock: ManualClock
) -> None:
    driver = driver_of(fleet["small"])
    await driver.set_power(1234)
    clock.advance(1)

    assert (await driver.read()).values["active_power_w"] == 1234
    await driver.close()


async def test_an_agent_that_falls_silent_lets_go_of_the_battery(fleet: Fleet, clock: ManualClock) -> None:
    driver = driver_of(fleet["bess"])
    await driver.set_power(5e6, revert_s=60)
    clock.advance(40)
    await driver.set_power(5e6, revert_s=60)  # refreshed: the timer starts anew
    clock.advance(40)
    assert (await driver.read()).values["active_power_w"] == 5e6

    clock.advance(61)

    assert (await driver.read()).values["control_mode"] == 0
    await driver.close()


async def test_released_is_at_its_own_default(fleet: Fleet, clock: ManualClock) -> None:
    driver = driver_of(fleet["bess"])
    await driver.set_power(5e6)
    clock.advance(20)

    await driver.release()
    clock.advance(20)

    values = (await driver.read()).values
    assert (values["active_power_w"], values["control_mode"]) == (0, 0)
    await driver.close()


async def test_without_704_the_battery_is_driven_by_its_limits(fleet: Fleet, clock: ManualClock) -> None:
    served = fleet["bess"]
    served.faults.blanked.add((704, "WSet"))
    driver = driver_of(served)
    for power_w in (6e6, -6e6):
        await driver.set_power(power_w)
        clock.advance(20)
        assert (await driver.read()).values["active_power_w"] == pytest.approx(power_w)

    await driver.release()
    clock.advance(20)

    assert (await driver.read()).values["active_power_w"] == 0
    await driver.close()


async def test_pv_generates_and_can_be_limited(fleet: Fleet, clock: ManualClock) -> None:
    driver = driver_of(fleet["pv"])
    before = (await driver.read()).values
    await driver.set_power(500_000)
    clock.advance(1)

    after = (await driver.read()).values

    assert before["active_power_w"] > 1e6
    assert after["active_power_w"] == pytest.approx(500_000, rel=0.01)
    assert (before["control_mode"], after["control_mode"], after["power_setpoint_w"]) == (0, 1, 500_000)
    assert (before["operating_state"], after["operating_state"]) == (4, 5)
    await driver.close()


async def test_a_grid_meter_is_positive_on_import(fleet: Fleet, clock: ManualClock) -> None:
    load, meter, battery = (driver_of(fleet[name]) for name in ("load", "meter", "bess"))
    await battery.set_power(-10e6)
    clock.advance(20)

    drawn, grid = (await load.read()).values, (await meter.read()).values

    assert drawn["active_power_w"] > 0
    assert grid["active_power_w"] > 0
    assert grid["energy_import_wh"] > drawn["energy_import_wh"]
    for driver in (load, meter, battery):
        await driver.close()


async def test_a_scale_factor_that_changes_while_running_changes_no_value(
    fleet: Fleet, clock: ManualClock
) -> None:
    served = fleet["small"]
    driver = driver_of(served)
    await driver.set_power(2000)
    clock.advance(1)
    assert (await driver.read()).values["active_power_w"] == 2000

    served.device.registers.put(701, W_SF=2)
    served.device.registers.put(704, WSet_SF=1)
    assert (await driver.read()).values["active_power_w"] == 2000
    await driver.set_power(3000)
    clock.advance(1)

    assert (await driver.read()).values["active_power_w"] == 3000
    await driver.close()


async def test_what_the_device_does_not_know_is_absent_or_comes_from_elsewhere(fleet: Fleet) -> None:
    served = fleet["bess"]
    served.faults.blanked |= {(713, "SoC"), (701, "W"), (701, "Hz"), (713, "WHAvail")}
    driver = driver_of(served)

    values = (await driver.read()).values

    assert values["soc_pct"] == 50  # 802 knows it too
    assert not {"active_power_w", "frequency_hz", "energy_available_wh"} & set(values)
    await driver.close()


async def test_a_device_that_confirms_a_write_and_ignores_it_is_found_out(fleet: Fleet) -> None:
    served = fleet["bess"]
    served.faults.ignores_writes = True
    driver = driver_of(served)

    with pytest.raises(Unavailable, match="confirmed a write to model 704 and did not keep it"):
        await driver.set_power(5e6)
    await driver.close()


async def test_a_silent_device_is_unavailable_and_usable_again_when_it_speaks(fleet: Fleet) -> None:
    served = fleet["bess"]
    driver = driver_of(served)
    await driver.read()

    served.faults.is_silent = True
    with pytest.raises(Unavailable, match=f"of {served.host}:{served.port} unit 1"):
        await driver.read()
    with pytest.raises(Unavailable, match="does not show SunSpec's marker"):
        await driver.read()
    served.faults.is_silent = False

    assert (await driver.read()).values["soc_pct"] == 50
    await driver.close()


async def test_a_device_that_is_away_is_named_with_its_address(fleet: Fleet) -> None:
    """D-002's rule for devices: host and port in every failure."""
    served = fleet["bess"]
    driver = driver_of(served)
    await driver.read()

    await served.stop()
    with pytest.raises(Unavailable, match=f"{served.host}:{served.port}"):
        await driver.read()
    with pytest.raises(Unavailable, match=f"cannot connect to {served.host}:{served.port}"):
        await driver.read()
    await served.start()

    assert (await driver.read()).values["soc_pct"] == 50
    await driver.close()


async def test_a_meter_cannot_be_driven(fleet: Fleet) -> None:
    driver = driver_of(fleet["meter"])

    with pytest.raises(Invalid, match="no usable control"):
        await driver.set_power(1.0)
    await driver.release()
    await driver.close()


@pytest.mark.parametrize("base", [0, 50000])
async def test_the_map_is_found_at_other_bases_and_strange_models_are_skipped(base: int) -> None:
    image = [0x5375, 0x6E53, 64999, 3, 1, 2, 3, 713, 7, 1000, 250, 25, 0xFFFF, 0, 0, 0, 0xFFFF, 0]
    async with register_server(base, image) as (host, port):
        place = {"host": host, "port": port, "timeout_s": 1}
        driver = SunSpecDriver(Asset(id="a", site_id="s", site_name="S", name="a", extra=place))

        values = (await driver.read()).values

        assert (await driver.map()).base == base
        assert values == {"soc_pct": 25, "energy_available_wh": 250}
        await driver.close()
