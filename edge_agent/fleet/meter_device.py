"""Meters behind SunSpec registers: models 1 and 203. Power is positive on import, or on consumption.

A grid meter sees what the site's other devices leave over: load - PV - battery. A load is a meter of its
own with a standard profile behind it.
"""

import math
from collections.abc import Set
from typing import Final

from edge_agent.fleet import ac
from edge_agent.fleet.battery import SECONDS_PER_HOUR
from edge_agent.fleet.device import put_common
from edge_agent.fleet.pv_device import counter_scale
from edge_agent.fleet.registers import Name, RegisterMap, scale_for
from edge_agent.fleet.year import YearSeries
from overwatt.inventory import Asset

MODELS: Final = (1, 203)


class MeterDevice:
    """Measures what it is told and counts it."""

    def __init__(self, asset: Asset, rated_w: float) -> None:
        self.asset = asset
        self.rated_w = rated_w
        self.power_w = 0.0
        # Zero would read as "not accumulated": the counters start at their smallest step.
        self.imported_wh = self.exported_wh = 10.0 ** counter_scale(rated_w)
        self.registers = RegisterMap(MODELS)
        self._put_static()
        self.refresh()

    def measure(self, power_w: float, *, mean_w: float, dt_s: float) -> None:
        """Takes over what flows now and what flowed on the way here."""
        self.power_w = power_w
        energy_wh = mean_w * dt_s / SECONDS_PER_HOUR
        self.imported_wh += max(energy_wh, 0.0)
        self.exported_wh += max(-energy_wh, 0.0)

    def next_event_s(self) -> float:
        return math.inf

    def written(self, points: Set[Name]) -> None:
        """Nothing of a meter can be written."""

    def refresh(self) -> None:
        power_w, amps = self.power_w, ac.current_a(self.power_w, self.rated_w)
        self.registers.put(
            203,
            A=amps,
            AphA=amps / 3,
            AphB=amps / 3,
            AphC=amps / 3,
            W=power_w,
            WphA=power_w / 3,
            WphB=power_w / 3,
            WphC=power_w / 3,
            VA=abs(power_w),
            TotWhImp=self.imported_wh,
            TotWhExp=self.exported_wh,
        )

    def _put_static(self) -> None:
        put_common(self.registers, self.asset)
        line_v, phase_v = ac.line_voltage_v(self.rated_w), ac.phase_voltage_v(self.rated_w)
        power_sf = scale_for(self.rated_w)
        self.registers.put(
            203,
            A_SF=scale_for(ac.current_a(self.rated_w, self.rated_w), finest=-1),
            V_SF=scale_for(line_v, finest=-1),
            PhV=phase_v,
            PhVphA=phase_v,
            PhVphB=phase_v,
            PhVphC=phase_v,
            PPV=line_v,
            PhVphAB=line_v,
            PhVphBC=line_v,
            PhVphCA=line_v,
            Hz_SF=-2,
            Hz=ac.FREQUENCY_HZ,
            W_SF=power_sf,
            VA_SF=power_sf,
            VAR_SF=power_sf,
            VAR=0,
            TotWh_SF=counter_scale(self.rated_w),
            Evt=0,
        )


class GridMeterDevice(MeterDevice):
    """The site's meter: the site tells it after every step."""

    def step(self, *, dt_s: float, real_s: float, year_s: float) -> float:
        return self.power_w


class LoadDevice(MeterDevice):
    """A consumer with a standard load profile."""

    def __init__(self, asset: Asset, annual_kwh: float, profile: YearSeries, year_s: float) -> None:
        self._annual_kwh = annual_kwh
        self._profile = profile
        super().__init__(asset, annual_kwh * profile.peak())
        self.power_w = annual_kwh * profile.at(year_s)
        self.refresh()

    def step(self, *, dt_s: float, real_s: float, year_s: float) -> float:
        before_w = self.power_w
        power_w = self._annual_kwh * self._profile.at(year_s)
        mean_w = (before_w + power_w) / 2
        self.measure(power_w, mean_w=mean_w, dt_s=dt_s)
        return mean_w
