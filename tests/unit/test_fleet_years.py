"""Weather and load of a year, from the libraries' real data."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge_agent.fleet import load, pv
from edge_agent.fleet.year import YearSeries, cached


def second(month: int, day: int, hour: float, year: int = 2026) -> float:
    return (datetime(year, month, day, tzinfo=UTC) - datetime(year, 1, 1, tzinfo=UTC)).total_seconds() + (
        hour * 3600
    )


@pytest.fixture(scope="module", params=sorted(pv.STATIONS))
def sun(request: pytest.FixtureRequest) -> YearSeries:
    return pv.power_per_peak(request.param, 2026)


def test_a_plant_is_dark_at_night_bright_at_noon_and_never_above_its_peak(sun: YearSeries) -> None:
    assert len(sun.values) == 8760
    assert sun.values.min() == 0
    assert 0.5 < sun.peak() <= 1
    by_hour = sun.values.reshape(365, 24).mean(axis=0)
    assert by_hour[0] == 0
    # Sand Point lies far west in its time zone: its sun stands highest at 13:40.
    assert 11 <= by_hour.argmax() <= 14


def test_a_kilowatt_peak_yields_in_a_year_what_such_places_are_known_for() -> None:
    yields_kwh = {station: pv.power_per_peak(station, 2026).values.sum() for station in pv.STATIONS}

    assert 1250 < yields_kwh["723170TYA.CSV"] < 1550
    assert 1300 < yields_kwh["12839.tm2"] < 1600
    assert 600 < yields_kwh["703165TY.csv"] < 1000


def test_a_leap_year_repeats_28_february() -> None:
    values = pv.power_per_peak(pv.DEFAULT_STATION, 2028).values

    assert len(values) == 8784
    day_28, day_29 = values[58 * 24 : 59 * 24], values[59 * 24 : 60 * 24]
    assert day_29.sum() == pytest.approx(day_28.sum(), rel=0.05)


def test_what_the_weather_is_stands_in_its_description() -> None:
    assert pv.describe("12839.tm2", 2026) == (
        "typical meteorological year 12839.tm2 (Miami, Florida) moved to 2026"
    )


@pytest.mark.parametrize("profile", load.PROFILES)
def test_a_load_consumes_in_a_year_what_it_is_said_to(profile: str) -> None:
    series = load.power_per_annual_kwh(profile, 2026)

    annual_kwh = series.values.sum() * 0.25 / 1000
    # The dynamic household profile is smoothed and normed only nearly.
    assert annual_kwh == pytest.approx(1, rel=0.02 if profile == "h0_dyn" else 1e-9)


def test_a_shop_uses_more_on_a_monday_noon_than_on_a_sunday_night() -> None:
    shop = load.power_per_annual_kwh("g0", 2026)

    assert shop.at(second(3, 2, 12)) > 2 * shop.at(second(3, 1, 3))


def test_between_two_intervals_the_value_moves_on_a_straight_line_and_the_year_repeats() -> None:
    series = YearSeries(np.array([0.0, 4.0, 8.0]), 10)

    assert [series.at(at_s) for at_s in (5, 10, 15, 20)] == [0, 2, 4, 6]
    assert series.at(5 + 30) == series.at(5)
    assert series.at(0) == series.at(30) == 4


def test_a_computed_year_is_read_back_instead_of_computed_again(tmp_path: Path) -> None:
    computed = cached("sun", tmp_path, lambda: YearSeries(np.array([1.0, 2.0]), 3600))

    again = cached("sun", tmp_path, lambda: pytest.fail("computed again"))

    assert again.values.tolist() == computed.values.tolist()
    assert again.step_s == 3600


def test_a_broken_cache_file_is_computed_anew(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 torn"):
        cached("sun", tmp_path, lambda: YearSeries(np.array([1.0]), 3600))
        (file,) = tmp_path.iterdir()
        file.write_bytes(content)

        assert cached("sun", tmp_path, lambda: YearSeries(np.array([7.0]), 3600)).values.tolist() == [7]


def test_without_a_place_to_write_the_year_is_still_there(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")

    assert cached("sun", blocked, lambda: YearSeries(np.array([7.0]), 3600)).values.tolist() == [7]
