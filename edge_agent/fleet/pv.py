"""A year of PV power from a typical meteorological year.

The three weather files come with pvlib. A typical year is stitched together from months of many years;
its hours are moved to the same month, day and hour of the year that the fleet plays. Weather to power is
PVWatts: plane of array, cell temperature, DC, system losses, inverter.
"""

import calendar
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.fleet.year import YearSeries

STATIONS: Final = {
    "723170TYA.CSV": "Greensboro, North Carolina",
    "703165TY.csv": "Sand Point, Alaska",
    "12839.tm2": "Miami, Florida",
}
DEFAULT_STATION: Final = "723170TYA.CSV"
HOUR_S: Final = 3600.0
FEBRUARY_28_END: Final = 59 * 24
"""hours of a year"""
TEMPERATURE_COEFFICIENT: Final = -0.0037
"""of DC power per kelvin, a common crystalline module"""


def describe(station: str, year: int) -> str:
    """What the power follows, for people."""
    return f"typical meteorological year {station} ({STATIONS[station]}) moved to {year}"


def power_per_peak(station: str, year: int) -> YearSeries:
    """AC power per watt of DC nameplate, hourly, never negative."""
    # Imported here: pvlib takes two seconds that a start with a warm cache need not wait.
    import pandas as pd

    weather, place = _read(station)
    if calendar.isleap(year):
        weather = _with_29_february(weather)
    middles = pd.date_range(
        f"{year}-01-01 00:30",
        periods=len(weather["ghi"]),
        freq="h",
        tz=f"Etc/GMT{-int(place['TZ']):+d}",
    )
    return YearSeries(_pvwatts(weather, place, middles), HOUR_S)


def _read(station: str) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Irradiance in W/m², air in °C, wind in m/s; row i is the hour that begins at hour i of the year."""
    import pvlib

    path = Path(pvlib.__path__[0]) / "data" / station
    if station.endswith(".tm2"):
        table, place = pvlib.iotools.read_tmy2(path)
        columns = {"ghi": "GHI", "dni": "DNI", "dhi": "DHI", "temp_air": "DryBulb", "wind_speed": "Wspd"}
        # This format counts temperature and wind in tenths.
        tenths = {"temp_air": 0.1, "wind_speed": 0.1}
    else:
        table, place = pvlib.iotools.read_tmy3(path, map_variables=True)
        columns = {name: name for name in ("ghi", "dni", "dhi", "temp_air", "wind_speed")}
        tenths = {}
    values = {
        name: table[column].to_numpy(dtype=float) * tenths.get(name, 1.0) for name, column in columns.items()
    }
    return values, place


def _with_29_february(weather: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """A typical year has 365 days; the leap day repeats the day before."""
    day = slice(FEBRUARY_28_END - 24, FEBRUARY_28_END)
    return {name: np.insert(values, FEBRUARY_28_END, values[day]) for name, values in weather.items()}


def _pvwatts(
    weather: dict[str, NDArray[np.float64]], place: dict[str, Any], middles: Any
) -> NDArray[np.float64]:
    import pvlib

    sun = pvlib.solarposition.get_solarposition(
        middles, place["latitude"], place["longitude"], altitude=place["altitude"]
    )
    zenith, azimuth = sun["apparent_zenith"].to_numpy(), sun["azimuth"].to_numpy()
    plane = pvlib.irradiance.get_total_irradiance(
        surface_tilt=abs(place["latitude"]),
        surface_azimuth=180 if place["latitude"] >= 0 else 0,
        solar_zenith=zenith,
        solar_azimuth=azimuth,
        dni=weather["dni"],
        ghi=weather["ghi"],
        dhi=weather["dhi"],
    )["poa_global"]
    # Near the horizon the projection of the beam is not a number.
    plane = np.nan_to_num(np.asarray(plane, dtype=float), nan=0.0).clip(min=0.0)
    cell_c = pvlib.temperature.faiman(plane, weather["temp_air"], weather["wind_speed"])
    dc = pvlib.pvsystem.pvwatts_dc(plane, cell_c, pdc0=1.0, gamma_pdc=TEMPERATURE_COEFFICIENT)
    dc = dc * (1 - pvlib.pvsystem.pvwatts_losses() / 100)
    ac = pvlib.inverter.pvwatts(dc, pdc0=1.0)
    return np.asarray(ac, dtype=float).clip(min=0.0)
