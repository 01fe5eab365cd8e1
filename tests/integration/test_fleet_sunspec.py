"""The fleet answers as SunSpec hardware: read and written with pysunspec2's own client over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP, SunSpecModbusClientError
from sunspec2.modbus.modbus import ModbusClientException

from edge_agent.fleet.clock import ManualClock
from edge_agent.fleet.fleet import Fleet, running_fleet
from overwatt.inventory import parse_inventory

BATTERY = "7ba7b810-9dad-11d1-80b4-00c04fd430c8"
ASSETS = [
    {
        "id": BATTERY,
        "type": "battery",
        "capacity_mwhr": 120,
        "max_mw": 60,
        "efficiency": 0.92,
        "ramp_rate_mw_per_min": 60,
        "driver": "sunspec",
    },
    {"id": "small", "type": "battery", "capacity_mwhr": 0.01, "max_mw": 0.005, "driver": "sunspec"},
    {"id": "pv", "type": "pv", "peak_mw": 5, "driver": "sunspec"},
    {"id": "load", "type": "load", "annual_kwh": 8_000_000, "driver": "sunspec"},
    {"id": "meter", "type": "meter", "driver": "sunspec"},
]
MODELS = {
    BATTERY: {1, 120, 701, 702, 704, 713, 802, 124},
    "small": {1, 120, 701, 702, 704, 713, 802, 124},
    "pv": {1, 103, 120, 123},
    "load": {1, 203},
    "meter": {1, 203},
}
JUNE_NOON = datetime(2026, 6, 22, 12, 30, tzinfo=UTC)
T = TypeVar("T")


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


async def ask(fleet: Fleet, asset_id: str, question: Callable[[Any], T], *, timeout_s: float = 5.0) -> T:
    """The answer of a scanned pysunspec2 device; its client blocks, so it has a thread."""
    served = fleet[asset_id]

    def with_client() -> T:
        device = SunSpecModbusClientDeviceTCP(1, served.host, served.port, timeout=timeout_s)
        device.connect()
        try:
            device.scan(connect=False)
            return question(device)
        finally:
            device.close()

    return await asyncio.to_thread(with_client)


async def read(fleet: Fleet, asset_id: str, model: int, *names: str) -> list[Any]:
    """Values with their scale factors applied; None is not implemented."""
    return await ask(
        fleet,
        asset_id,
        lambda device: [device.models[model][0].points[name].cvalue for name in names],
    )


async def write(fleet: Fleet, asset_id: str, model: int, **values: float) -> None:
    """One request per point, in the order given."""

    def write_each(device: Any) -> None:
        for name, value in values.items():
            point = device.models[model][0].points[name]
            point.cvalue = value
            point.write()

    await ask(fleet, asset_id, write_each)


async def test_every_device_shows_its_models_with_the_lengths_that_their_definitions_have(
    fleet: Fleet,
) -> None:
    for asset_id, models in MODELS.items():
        found = await ask(
            fleet,
            asset_id,
            lambda device: {
                model: [entry.error_info for entry in entries]
                for model, entries in device.models.items()
                if isinstance(model, int)
            },
        )

        assert set(found) == models
        assert all(errors == [""] for errors in found.values()), (asset_id, found)


async def test_a_battery_says_who_it_is_what_it_can_and_where_it_stands(fleet: Fleet) -> None:
    """U-D07: it starts half full."""
    assert await read(fleet, BATTERY, 1, "Mn", "SN") == ["Overwatt fleet", BATTERY.replace("-", "")]
    assert await read(fleet, BATTERY, 120, "DERTyp", "WRtg", "WHRtg") == [82, 60e6, 120e6]
    assert await read(fleet, BATTERY, 702, "WMaxRtg", "WChaRteMaxRtg", "W_SF") == [60e6, 60e6, 4]
    assert await read(fleet, BATTERY, 713, "WHRtg", "WHAvail", "SoC", "SoH") == [120e6, 60e6, 50, 100]
    assert await read(fleet, BATTERY, 802, "SoC", "WDisChaRteMax", "ChaSt") == [50, 60e6, 6]
    assert await read(fleet, BATTERY, 124, "WChaMax", "ChaState", "StorCtl_Mod") == [60e6, 50, 0]
    assert await read(fleet, BATTERY, 701, "W", "Hz", "TotWhInj") == [0, 50, 0]


async def test_a_battery_of_five_kilowatts_counts_in_watts(fleet: Fleet, clock: ManualClock) -> None:
    await write(fleet, "small", 704, WSet=1234, WSetEna=1)
    clock.advance(1)

    assert await read(fleet, "small", 701, "W", "W_SF") == [1234, 0]


async def test_what_a_device_does_not_measure_is_absent(fleet: Fleet) -> None:
    assert await read(fleet, BATTERY, 701, "TmpAmb", "WL1", "TotVarhInj") == [None, None, None]
    assert await read(fleet, BATTERY, 704, "WMaxLimPct", "VarSet") == [None, None]
    assert await read(fleet, "pv", 103, "TmpCab", "DCW", "EvtVnd1") == [None, None, None]
    assert await read(fleet, "meter", 203, "TotVAhImp", "PF") == [None, None]


async def test_a_plant_gives_much_at_noon_in_june_and_nothing_at_midnight(
    fleet: Fleet, clock: ManualClock
) -> None:
    noon_w, state, rating_w = (
        *await read(fleet, "pv", 103, "W", "St"),
        *await read(fleet, "pv", 120, "WRtg"),
    )
    clock.advance(11.5 * 3600)
    midnight_w, midnight_state = await read(fleet, "pv", 103, "W", "St")

    assert 0.3 * rating_w < noon_w < rating_w == 5e6
    assert state == 4
    assert (midnight_w, midnight_state) == (0, 2)


async def test_the_meter_sees_load_less_pv_less_battery_with_their_scale_factors(
    fleet: Fleet, clock: ManualClock
) -> None:
    await write(fleet, BATTERY, 704, WSet=12e6, WSetEna=1)
    clock.advance(60)

    (load_w,) = await read(fleet, "load", 203, "W")
    (pv_w,) = await read(fleet, "pv", 103, "W")
    (battery_w,) = await read(fleet, BATTERY, 701, "W")
    grid_w, grid_sf = await read(fleet, "meter", 203, "W", "W_SF")

    assert load_w > 0
    assert grid_w == pytest.approx(load_w - pv_w - battery_w, abs=10**grid_sf)


async def test_counters_rise_by_the_energy_that_flowed(fleet: Fleet, clock: ManualClock) -> None:
    await write(fleet, BATTERY, 704, WSet=-12e6, WSetEna=1)
    clock.advance(60)
    before = await read(fleet, BATTERY, 701, "TotWhAbs"), await read(fleet, "meter", 203, "TotWhImp")
    clock.advance(1800)
    after = await read(fleet, BATTERY, 701, "TotWhAbs"), await read(fleet, "meter", 203, "TotWhImp")

    assert after[0][0] - before[0][0] == pytest.approx(6e6, abs=10)
    assert after[1][0] > before[1][0]


async def test_a_setpoint_of_model_704_is_followed_with_the_ramp(fleet: Fleet, clock: ManualClock) -> None:
    """U-D07: 60 MW per minute is 1 MW per second."""
    await write(fleet, BATTERY, 704, WSetMod=1, WSet=12e6, WSetRvrtTms=600, WSetEna=1)

    powers_w = []
    for _ in range(13):
        clock.advance(1)
        powers_w += await read(fleet, BATTERY, 701, "W")

    assert powers_w == [megawatts * 1e6 for megawatts in range(1, 13)] + [12e6]
    assert await read(fleet, BATTERY, 802, "ChaSt", "W") == [3, pytest.approx(12e6 / 0.92, abs=1e4)]


async def test_a_setpoint_in_per_cent_is_one_of_the_rating(fleet: Fleet, clock: ManualClock) -> None:
    await write(fleet, BATTERY, 704, WSetMod=0, WSetPct=-25, WSetEna=1)
    clock.advance(60)

    assert await read(fleet, BATTERY, 701, "W") == [-15e6]


async def test_without_a_refresh_the_setpoint_of_model_704_reverts_to_nothing(
    fleet: Fleet, clock: ManualClock
) -> None:
    await write(fleet, BATTERY, 704, WSet=12e6, WSetRvrtTms=60, WSetEna=1)
    clock.advance(30)
    half_way = await read(fleet, BATTERY, 704, "WSetRvrtRem", "WSetEna")
    clock.advance(31)
    reverted = await read(fleet, BATTERY, 704, "WSetRvrtRem", "WSetEna", "WSet")
    clock.advance(12)

    assert half_way == [30, 1]
    assert reverted == [0, 0, 0]
    assert await read(fleet, BATTERY, 701, "W") == [0]


async def test_a_refresh_in_time_keeps_the_setpoint(fleet: Fleet, clock: ManualClock) -> None:
    await write(fleet, BATTERY, 704, WSet=12e6, WSetRvrtTms=60, WSetEna=1)

    for _ in range(5):
        clock.advance(30)
        await write(fleet, BATTERY, 704, WSetRvrtTms=60)
    clock.advance(59)

    assert await read(fleet, BATTERY, 701, "W") == [12e6]


async def test_model_124_forces_charging_as_vendors_do_and_reverts(fleet: Fleet, clock: ManualClock) -> None:
    await write(fleet, BATTERY, 124, OutWRte=-50, InWRte=50, InOutWRte_RvrtTms=120, StorCtl_Mod=3)
    clock.advance(60)
    charging = await read(fleet, BATTERY, 701, "W"), await read(fleet, BATTERY, 124, "ChaSt")
    clock.advance(61)
    mode = await read(fleet, BATTERY, 124, "StorCtl_Mod")
    clock.advance(30)

    assert charging == ([-30e6], [4])
    assert mode == [0]
    assert await read(fleet, BATTERY, 701, "W") == [0]


async def test_the_limits_of_model_124_bound_the_setpoint_of_model_704(
    fleet: Fleet, clock: ManualClock
) -> None:
    await write(fleet, BATTERY, 704, WSet=60e6, WSetEna=1)
    await write(fleet, BATTERY, 124, OutWRte=10, StorCtl_Mod=2)
    clock.advance(60)

    assert await read(fleet, BATTERY, 701, "W") == [6e6]


async def test_an_empty_battery_stops_and_says_so(fleet: Fleet, clock: ManualClock) -> None:
    """U-D07: at the bound the power is zero."""
    fleet[BATTERY].device.set_soc(0.01)
    await write(fleet, BATTERY, 704, WSet=12e6, WSetEna=1)
    clock.advance(300)

    assert await read(fleet, BATTERY, 701, "W") == [0]
    assert await read(fleet, BATTERY, 802, "SoC", "ChaSt") == [0, 2]


async def test_a_limit_of_model_123_throttles_the_plant_until_it_reverts(
    fleet: Fleet, clock: ManualClock
) -> None:
    (free_w,) = await read(fleet, "pv", 103, "W")
    await write(fleet, "pv", 123, WMaxLimPct=10, WMaxLimPct_RvrtTms=60, WMaxLim_Ena=1)
    clock.advance(30)
    limited = await read(fleet, "pv", 103, "W", "St")
    clock.advance(31)
    reverted_w, state = await read(fleet, "pv", 103, "W", "St")

    assert limited == [500e3, 5]
    assert reverted_w == pytest.approx(free_w, rel=0.05)
    assert state == 4
    assert await read(fleet, "pv", 123, "WMaxLim_Ena") == [0]


async def test_a_write_that_the_device_does_not_know_is_answered_with_an_exception(fleet: Fleet) -> None:
    with pytest.raises(ModbusClientException, match="exception: 2"):
        await write(fleet, BATTERY, 704, PFWInjEna=1)
    with pytest.raises(ModbusClientException, match="exception: 3"):
        await write(fleet, BATTERY, 704, WSetEna=9)
    with pytest.raises(ModbusClientException, match="exception: 2"):
        await ask(fleet, "meter", lambda device: device.write(40000, b"\x00\x00"))


async def test_a_scale_factor_that_changes_at_run_time_comes_with_its_values(
    fleet: Fleet, clock: ManualClock
) -> None:
    await write(fleet, "small", 704, WSet=1000, WSetEna=1)
    clock.advance(1)

    for scale in (0, 1, 2):
        fleet["small"].device.registers.put(701, W_SF=scale)
        raw = await ask(fleet, "small", lambda device: device.models[701][0].points["W"].value)
        assert raw == 1000 / 10**scale
        assert await read(fleet, "small", 701, "W", "W_SF") == [1000, scale]


async def test_a_device_that_ignores_writes_confirms_them_and_does_nothing(
    fleet: Fleet, clock: ManualClock
) -> None:
    fleet[BATTERY].faults.ignores_writes = True
    await write(fleet, BATTERY, 704, WSet=12e6, WSetEna=1)
    clock.advance(60)

    assert await read(fleet, BATTERY, 704, "WSetEna", "WSet") == [0, 0]
    assert await read(fleet, BATTERY, 701, "W") == [0]


async def test_a_blanked_point_is_absent_until_it_is_measured_again(fleet: Fleet) -> None:
    fleet[BATTERY].faults.blanked.add((713, "SoC"))
    blanked = await read(fleet, BATTERY, 713, "SoC", "SoH")
    fleet[BATTERY].faults.blanked.clear()

    assert blanked == [None, 100]
    assert await read(fleet, BATTERY, 713, "SoC") == [50]


async def test_a_silent_device_accepts_the_connection_and_answers_nothing_until_it_wakes(
    fleet: Fleet,
) -> None:
    fleet["meter"].faults.is_silent = True
    with pytest.raises(SunSpecModbusClientError, match=r"Base address 40000 error = .*[Tt]ime"):
        await ask(fleet, "meter", lambda device: device, timeout_s=0.2)
    fleet["meter"].faults.is_silent = False

    assert len(await read(fleet, "meter", 203, "W")) == 1


async def test_a_slow_device_is_too_late_for_the_hasty_and_answers_the_patient(fleet: Fleet) -> None:
    fleet["meter"].faults.delay_s = 2
    with pytest.raises(SunSpecModbusClientError, match=r"[Tt]ime"):
        await ask(fleet, "meter", lambda device: device, timeout_s=0.2)
    fleet["meter"].faults.delay_s = 0.01

    assert await read(fleet, "meter", 203, "Hz") == [50]


async def test_a_stopped_device_refuses_connections_and_comes_back_at_its_port(
    fleet: Fleet, clock: ManualClock
) -> None:
    served = fleet[BATTERY]
    await write(fleet, BATTERY, 704, WSet=12e6, WSetEna=1)
    port = served.port

    await served.stop()
    with pytest.raises(OSError):
        await asyncio.open_connection(served.host, port)
    clock.advance(60)
    await served.start()

    assert served.port == port
    assert await read(fleet, BATTERY, 701, "W") == [12e6]


async def test_several_clients_read_the_same_device_at_once(fleet: Fleet, clock: ManualClock) -> None:
    await write(fleet, BATTERY, 704, WSet=12e6, WSetEna=1)
    clock.advance(60)

    answers = await asyncio.gather(*(read(fleet, BATTERY, 701, "W") for _ in range(6)))

    assert answers == [[12e6]] * 6
