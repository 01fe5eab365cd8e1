"""Devices of a site on one busbar, on a clock that a test moves."""

import numpy as np
import pytest

from edge_agent.fleet.battery_device import BatteryDevice
from edge_agent.fleet.clock import ManualClock
from edge_agent.fleet.fleet import site_devices
from edge_agent.fleet.site import SiteModel
from edge_agent.fleet.year import YearSeries
from overwatt.inventory import parse_inventory

SUN = YearSeries(np.array([0.4]), 3600)
SHOP = YearSeries(np.array([0.1]), 900)


def a_site(*, speed: float = 1.0, **battery: object):
    """1 MW battery, 500 kWp at 40 % (200 kW), 3 GWh a year at 0.1 W per kWh (300 kW), and the meter."""
    entries = [
        {"id": "meter", "type": "meter"},
        {"id": "battery", "type": "battery", "capacity_mwhr": 2, "max_mw": 1, "efficiency": 0.9, **battery},
        {"id": "pv", "type": "pv", "peak_mw": 0.5},
        {"id": "load", "type": "load", "annual_kwh": 3_000_000},
    ]
    (site,) = parse_inventory({"sites": [{"id": "site-a", "assets": entries}]})
    clock = ManualClock()
    devices = site_devices(site.assets, {"723170TYA.CSV": SUN, "g0": SHOP}, year_s=0)
    model = SiteModel(devices, clock=clock, speed=speed)
    return clock, model, {device.asset.id: device for device in devices}


def discharge(battery: BatteryDevice, power_w: float, *, for_s: int = 0) -> None:
    battery.registers.put(704, WSet=power_w, WSetRvrtTms=for_s, WSetEna=1)
    battery.written({(704, "WSet"), (704, "WSetRvrtTms"), (704, "WSetEna")})


def test_the_meter_sees_the_load_less_what_pv_and_battery_give() -> None:
    clock, model, devices = a_site()
    assert devices["meter"].power_w == pytest.approx(100_000)

    discharge(devices["battery"], 250_000)
    clock.advance(10)
    model.advance()

    assert devices["battery"].power_w == 250_000
    assert devices["meter"].power_w == pytest.approx(-150_000)


def test_import_and_export_are_two_counters_that_only_rise() -> None:
    clock, model, devices = a_site()
    meter = devices["meter"]
    import_start_wh, export_start_wh = meter.imported_wh, meter.exported_wh

    clock.advance(3600)
    model.advance()
    imported_wh = meter.imported_wh - import_start_wh
    discharge(devices["battery"], 250_000)
    clock.advance(3600)
    model.advance()

    assert imported_wh == pytest.approx(100_000)
    assert meter.imported_wh - import_start_wh == pytest.approx(100_000)
    assert meter.exported_wh - export_start_wh == pytest.approx(150_000)


def test_a_revert_timer_ends_a_setpoint_even_if_nobody_looks_in_between() -> None:
    clock, model, devices = a_site()
    battery = devices["battery"]

    discharge(battery, 250_000, for_s=61)
    clock.advance(3600)
    model.advance()

    assert battery.power_w == 0
    assert battery.registers.value(704, "WSetEna") == 0
    assert battery.registers.value(704, "WSet") == 0
    # Exactly that long it delivered, though the model took steps of 6 s: they end where timers end.
    assert battery.state.discharged_wh == pytest.approx(250_000 * 61 / 3600)


def test_at_a_higher_speed_an_hour_of_energy_takes_a_minute_and_the_timer_keeps_real_time() -> None:
    clock, model, devices = a_site(speed=60)
    battery = devices["battery"]

    discharge(battery, 250_000, for_s=60)
    clock.advance(59)
    model.advance()

    assert battery.power_w == 250_000
    assert battery.state.discharged_wh == pytest.approx(250_000 * 59 / 60)
    clock.advance(1)
    model.advance()
    assert battery.registers.value(704, "WSetEna") == 0


def test_a_day_of_silence_is_made_up_and_the_battery_stops_when_it_is_empty() -> None:
    clock, model, devices = a_site(min_soc_pct=10)
    battery = devices["battery"]

    discharge(battery, 1_000_000)
    clock.advance(86_400)
    model.advance()

    assert battery.power_w == 0
    assert battery.soc_pct == pytest.approx(10)
    assert battery.state.discharged_wh == pytest.approx(2_000_000 * 0.4 * 0.9)


def test_a_ramp_takes_the_time_that_the_nameplate_says() -> None:
    clock, model, devices = a_site(ramp_rate_mw_per_min=0.6)
    battery = devices["battery"]

    discharge(battery, 250_000)
    seen_w = []
    for _ in range(30):
        clock.advance(1)
        model.advance()
        seen_w.append(battery.power_w)

    assert seen_w[:3] == pytest.approx([10_000, 20_000, 30_000])
    assert seen_w[23] == pytest.approx(240_000)
    assert seen_w[24:] == pytest.approx([250_000] * 6)
