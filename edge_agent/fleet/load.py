"""A year of consumption: the standard load profiles of BDEW, in quarters of an hour."""

import warnings
from typing import Final

import numpy as np

from edge_agent.fleet.year import YearSeries

PROFILES: Final = ("h0", "h0_dyn", "g0", "g1", "g2", "g3", "g4", "g5", "g6", "l0", "l1", "l2")
DEFAULT_PROFILE: Final = "g0"
QUARTER_HOUR_S: Final = 900.0
WATTS_PER_KILOWATT: Final = 1000.0


def describe(profile: str, year: int) -> str:
    """What the consumption follows, for people."""
    return f"BDEW standard load profile {profile.upper()} of {year}"


def power_per_annual_kwh(profile: str, year: int) -> YearSeries:
    """Watts per kWh of annual consumption."""
    # demandlib turns every later warning of the process into an error; that stays in here.
    with warnings.catch_warnings():
        from demandlib import bdew

        profiles = bdew.ElecSlp(year).get_scaled_power_profiles({profile: 1.0})
    watts = profiles[profile].to_numpy(dtype=float) * WATTS_PER_KILOWATT
    return YearSeries(np.asarray(watts), QUARTER_HOUR_S)
