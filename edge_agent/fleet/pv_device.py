"""A PV inverter behind SunSpec registers: models 1, 103, 120 and 123.

Limited through 123 (WMaxLimPct with its revert timer, Conn); it follows at once, as inverters do within
their sampling time. WinTms and RmpTms are stored and have no effect.
"""

from collections.abc import Set
from typing import Final

from edge_agent.fleet import ac
from edge_agent.fleet.battery import SECONDS_PER_HOUR
from edge_agent.fleet.controls import RevertTimer, curtailed_w
from edge_agent.fleet.device import put_common, put_nameplate
from edge_agent.fleet.inventory import peak_w
from edge_agent.fleet.registers import Name, RegisterMap, scale_for
from edge_agent.fleet.year import YearSeries
from overwatt.inventory import Asset

MODELS: Final = (1, 103, 120, 123)
OFF: Final = 1
SLEEPING: Final = 2
MPPT: Final = 4
THROTTLED: Final = 5
HOURS_PER_YEAR: Final = 8760
ACC32_MAX: Final = 2**32
LIMIT_POINTS: Final = (
    "WMaxLimPct", "WMaxLimPct_WinTms", "WMaxLimPct_RvrtTms", "WMaxLimPct_RmpTms", "WMaxLim_Ena",
)  # fmt: skip


def counter_scale(rated_w: float) -> int:
    """A 32-bit counter rolls over after a year at full power, not sooner."""
    scale = 0
    while rated_w * HOURS_PER_YEAR / 10**scale >= ACC32_MAX:
        scale += 1
    return scale


class PvDevice:
    """Sun, ceiling and registers of one plant."""

    def __init__(self, asset: Asset, sun: YearSeries, year_s: float) -> None:
        self.asset = asset
        self.rated_w = peak_w(asset)
        self.limit_timer = RevertTimer()
        self.registers = RegisterMap(MODELS)
        self._sun = sun
        self._put_static()
        self.available_w = self.rated_w * sun.at(year_s)
        self.power_w = self.available_w
        # Zero would read as "not accumulated": the counter starts at its smallest step.
        self.generated_wh = 10.0 ** counter_scale(self.rated_w)
        self.refresh()

    def step(self, *, dt_s: float, real_s: float, year_s: float) -> float:
        before_w = self.power_w
        self.available_w = self.rated_w * self._sun.at(year_s)
        self.power_w = curtailed_w(
            self.available_w,
            ceiling_w=self._ceiling_w(),
            connected=self.registers.value(123, "Conn") == 1,
        )
        mean_w = (before_w + self.power_w) / 2
        self.generated_wh += mean_w * dt_s / SECONDS_PER_HOUR
        if self.limit_timer.run(real_s):
            self.registers.put(123, WMaxLim_Ena=0)
        return mean_w

    def next_event_s(self) -> float:
        return self.limit_timer.fires_in_s()

    def written(self, points: Set[Name]) -> None:
        if any(name in LIMIT_POINTS for _, name in points):
            enabled = self.registers.value(123, "WMaxLim_Ena") == 1
            period_s = self.registers.value(123, "WMaxLimPct_RvrtTms") or 0.0
            self.limit_timer.arm(period_s if enabled else 0.0)

    def refresh(self) -> None:
        amps = ac.current_a(self.power_w, self.rated_w)
        self.registers.put(
            103,
            A=amps,
            AphA=amps / 3,
            AphB=amps / 3,
            AphC=amps / 3,
            W=self.power_w,
            VA=self.power_w,
            PF=100 if self.power_w else None,
            WH=self.generated_wh,
            St=self._state(),
        )

    def _ceiling_w(self) -> float | None:
        if self.registers.value(123, "WMaxLim_Ena") != 1:
            return None
        percent = self.registers.value(123, "WMaxLimPct")
        return None if percent is None else self.rated_w * percent / 100

    def _state(self) -> int:
        if self.registers.value(123, "Conn") != 1:
            return OFF
        if self.available_w <= 0:
            return SLEEPING
        return THROTTLED if self.power_w < self.available_w else MPPT

    def _put_static(self) -> None:
        put_common(self.registers, self.asset)
        put_nameplate(self.registers, self.rated_w, storage=False)
        line_v, phase_v = ac.line_voltage_v(self.rated_w), ac.phase_voltage_v(self.rated_w)
        power_sf = scale_for(self.rated_w)
        self.registers.put(
            103,
            A_SF=scale_for(ac.current_a(self.rated_w, self.rated_w), finest=-1),
            V_SF=scale_for(line_v, finest=-1),
            PPVphAB=line_v,
            PPVphBC=line_v,
            PPVphCA=line_v,
            PhVphA=phase_v,
            PhVphB=phase_v,
            PhVphC=phase_v,
            W_SF=power_sf,
            Hz_SF=-2,
            Hz=ac.FREQUENCY_HZ,
            VA_SF=power_sf,
            VAr_SF=power_sf,
            VAr=0,
            PF_SF=0,
            WH_SF=counter_scale(self.rated_w),
            Evt1=0,
            Evt2=0,
        )
        self.registers.put(
            123,
            Conn=1,
            WMaxLimPct_SF=-2,
            WMaxLimPct=100,
            WMaxLimPct_WinTms=0,
            WMaxLimPct_RvrtTms=0,
            WMaxLimPct_RmpTms=0,
            WMaxLim_Ena=0,
        )
        self.registers.allow_writes(123, "Conn", *LIMIT_POINTS)
