"""The driver `replay`: the same seed and time give the same values; a file is played over and over."""

from pathlib import Path
from typing import Any

import pytest

from edge_agent.drivers import connect
from edge_agent.drivers.replay.driver import ReplayDriver
from edge_agent.drivers.replay.series import Made, parse
from edge_agent.errors import Invalid, Unavailable
from overwatt.inventory import Asset
from overwatt.quantities import BY_NAME

RECORDED = ["seconds,active_power_w,temp_c", "0,100,20", "1,200,", "2,300,22"]


def an_asset(**extra: Any) -> Asset:
    return Asset(id="pv-1", site_id="s", site_name="S", name="P", type="pv", driver="replay", extra=extra)


def test_a_made_series_is_a_function_of_seed_asset_and_time() -> None:
    series = Made(7, "pv-1", "pv")
    times = [1e9 + step / 10 for step in range(200)]

    assert [series.at(at) for at in times] == [Made(7, "pv-1", "pv").at(at) for at in times]
    assert series.at(1e9) != Made(8, "pv-1", "pv").at(1e9)
    assert series.at(1e9) != Made(7, "pv-2", "pv").at(1e9)


def test_a_made_series_has_rows_of_different_columns_and_a_metric_of_its_own() -> None:
    readings = [Made(7, "pv-1", "pv").at(1e9 + step / 10) for step in range(500)]

    assert len({frozenset(reading.values) for reading in readings}) > 3
    assert len({reading.quality for reading in readings}) == 2
    assert {name for each in readings for name in each.values} - set(BY_NAME) == {"inverter_fan_rpm"}
    counted = [each.values["energy_export_wh"] for each in readings if "energy_export_wh" in each.values]
    assert counted == sorted(counted)


def test_a_recorded_series_holds_each_row_until_the_next_and_begins_again() -> None:
    series = parse(RECORDED)

    assert series.length_s == 3
    assert dict(series.at(300.0).values) == {"active_power_w": 100.0, "temp_c": 20.0}
    assert dict(series.at(301.9).values) == {"active_power_w": 200.0}
    assert dict(series.at(302.0).values) == {"active_power_w": 300.0, "temp_c": 22.0}


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["active_power_w", "1"], "first column is 'active_power_w'; it must be 'seconds'"),
        (["seconds,temp_c", "0,warm", "1,2"], "line 2: .*numbers, or empty"),
        (["seconds,temp_c", "0,nan", "1,2"], "line 2: .*values be finite"),
        (["seconds,temp_c", "1,1", "0,2"], "line 3: seconds must rise"),
        (["seconds,temp_c", "0,1"], "two lines"),
    ],
)
def test_a_file_that_cannot_be_played_is_named_with_its_line(
    tmp_path: Path, lines: list[str], fault: str
) -> None:
    path = tmp_path / "series.csv"
    path.write_text("\n".join(lines))

    with pytest.raises(Invalid, match=f"asset pv-1: file {path} cannot be replayed: .*{fault}"):
        connect(an_asset(file=str(path)))


async def test_it_plays_by_the_clock_and_obeys_nobody(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("\n".join(RECORDED))
    driver = connect(an_asset(file=str(path)))
    played = ReplayDriver(an_asset(), Made(1, "pv-1", "pv"), now=lambda: 1e9)

    assert "active_power_w" in (await driver.read()).values
    assert await played.read() == Made(1, "pv-1", "pv").at(1e9)
    await driver.release()
    with pytest.raises(Invalid, match="a replayed pv obeys no setpoint"):
        await driver.set_power(1.0)


async def test_a_series_can_end() -> None:
    ended = ReplayDriver(an_asset(until=1e9), Made(1, "pv-1", "pv"), now=lambda: 1e9)

    with pytest.raises(Unavailable, match="asset pv-1: its series ended"):
        await ended.read()
