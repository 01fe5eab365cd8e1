"""A battery behind SunSpec registers: models 1, 120, 701, 702, 704, 713, 802 and 124.

Controlled through 704 (WSet in watts or WSetPct of WMax) and 124 (charge and discharge limits); what the
two mean together stands in `controls`. Positive watts are discharge, in 701.W, 704.WSet and 802.W alike.
"""

import math
from collections.abc import Set
from dataclasses import replace
from typing import Final

from edge_agent.fleet import ac
from edge_agent.fleet import battery as physics
from edge_agent.fleet.controls import RevertTimer, storage_target_w
from edge_agent.fleet.device import put_common, put_nameplate
from edge_agent.fleet.inventory import battery_limits, initial_soc_pct
from edge_agent.fleet.registers import Name, RegisterMap, scale_for
from overwatt.inventory import Asset

MODELS: Final = (1, 120, 701, 702, 704, 713, 802, 124)
WATTS: Final = 1
"""704.WSetMod: WSet counts; 0 means WSetPct."""
LIMIT_CHARGE: Final = 1
LIMIT_DISCHARGE: Final = 2
"""Bits of 124.StorCtl_Mod."""
DC_VOLTAGE_V: Final = 1000.0
SETPOINT_POINTS: Final = (
    "WSetEna", "WSetMod", "WSet", "WSetRvrt", "WSetPct", "WSetPctRvrt", "WSetEnaRvrt", "WSetRvrtTms",
)  # fmt: skip
LIMIT_POINTS: Final = (
    "StorCtl_Mod", "OutWRte", "InWRte", "InOutWRte_WinTms", "InOutWRte_RvrtTms", "InOutWRte_RmpTms",
    "ChaGriSet",
)  # fmt: skip


class BatteryDevice:
    """State, timers and registers of one battery."""

    def __init__(self, asset: Asset) -> None:
        self.asset = asset
        self.limits = battery_limits(asset)
        self.state = physics.initial_state(self.limits, initial_soc_pct(asset))
        self.rated_w = max(self.limits.max_w, -self.limits.min_w)
        self.setpoint_timer = RevertTimer()
        self.limit_timer = RevertTimer()
        self.registers = RegisterMap(MODELS)
        self._put_nameplate()
        self._put_scales()
        self._put_controls()
        self.refresh()

    @property
    def power_w(self) -> float:
        return self.state.power_w

    @property
    def soc_pct(self) -> float:
        return physics.soc_pct(self.state, self.limits)

    def set_soc(self, soc_pct: float) -> None:
        """Puts the battery elsewhere, for a test."""
        self.state = replace(self.state, stored_wh=self.limits.capacity_wh * soc_pct / 100)

    def step(self, *, dt_s: float, real_s: float, year_s: float) -> float:
        before = self.state
        self.state = physics.step(before, self.limits, setpoint_w=self.target_w(), dt_s=dt_s)
        if self.setpoint_timer.run(real_s):
            self._revert_setpoint()
        if self.limit_timer.run(real_s):
            self.registers.put(124, StorCtl_Mod=0)
        given_wh = self.state.discharged_wh - before.discharged_wh
        taken_wh = self.state.charged_wh - before.charged_wh
        return (given_wh - taken_wh) * physics.SECONDS_PER_HOUR / dt_s

    def next_event_s(self) -> float:
        return min(self.setpoint_timer.fires_in_s(), self.limit_timer.fires_in_s())

    def target_w(self) -> float:
        """The power that the control registers ask for."""
        value = self.registers.value
        setpoint_w = None
        if value(704, "WSetEna") == 1:
            by_watts = value(704, "WSetMod") == WATTS
            percent = value(704, "WSetPct") or 0.0
            setpoint_w = value(704, "WSet") if by_watts else percent / 100 * self.rated_w
        mode = int(value(124, "StorCtl_Mod") or 0)
        in_pct, out_pct = value(124, "InWRte"), value(124, "OutWRte")
        limits_charge = mode & LIMIT_CHARGE and in_pct is not None
        limits_discharge = mode & LIMIT_DISCHARGE and out_pct is not None
        return storage_target_w(
            setpoint_w=setpoint_w,
            charge_limit_w=-self.limits.min_w * (in_pct or 0.0) / 100 if limits_charge else None,
            discharge_limit_w=self.limits.max_w * (out_pct or 0.0) / 100 if limits_discharge else None,
        )

    def written(self, points: Set[Name]) -> None:
        models = {model for model, _ in points}
        if 704 in models:
            enabled = self.registers.value(704, "WSetEna") == 1
            self.setpoint_timer.arm((self.registers.value(704, "WSetRvrtTms") or 0.0) if enabled else 0.0)
        if 124 in models:
            limited = (self.registers.value(124, "StorCtl_Mod") or 0) > 0
            period_s = self.registers.value(124, "InOutWRte_RvrtTms") or 0.0
            self.limit_timer.arm(period_s if limited else 0.0)

    def refresh(self) -> None:
        power_w, soc_pct = self.state.power_w, self.soc_pct
        self.registers.put(
            701,
            InvSt=3 if power_w else 7,
            W=power_w,
            VA=abs(power_w),
            PF=math.copysign(1.0, power_w) if power_w else None,
            A=ac.current_a(power_w, self.rated_w),
            TotWhInj=self.state.discharged_wh,
            TotWhAbs=self.state.charged_wh,
        )
        self.registers.put(704, WSetRvrtRem=math.ceil(self.setpoint_timer.remaining_s))
        self.registers.put(713, WHAvail=self.state.stored_wh, SoC=soc_pct)
        charge_state = self._charge_state()
        dc_w = physics.dc_power_w(self.state, self.limits)
        self.registers.put(802, SoC=soc_pct, ChaSt=charge_state, W=dc_w, A=dc_w / DC_VOLTAGE_V)
        self.registers.put(124, ChaState=soc_pct, ChaSt=charge_state)

    def _charge_state(self) -> int:
        """ChaSt of 124 and 802: 2 empty, 3 discharging, 4 charging, 5 full, 6 holding."""
        if self.state.power_w:
            return 3 if self.state.power_w > 0 else 4
        if self.soc_pct <= self.limits.min_soc_pct:
            return 2
        return 5 if self.soc_pct >= self.limits.max_soc_pct else 6

    def _revert_setpoint(self) -> None:
        value = self.registers.value
        self.registers.put(
            704,
            WSetEna=value(704, "WSetEnaRvrt"),
            WSet=value(704, "WSetRvrt"),
            WSetPct=value(704, "WSetPctRvrt"),
        )

    def _put_nameplate(self) -> None:
        limits, registers = self.limits, self.registers
        put_common(registers, self.asset)
        put_nameplate(registers, self.rated_w, storage=True)
        energy_sf, power_sf = scale_for(limits.capacity_wh), scale_for(self.rated_w)
        registers.put(
            120,
            WHRtg_SF=energy_sf,
            WHRtg=limits.capacity_wh,
            MaxChaRte_SF=power_sf,
            MaxChaRte=-limits.min_w,
            MaxDisChaRte_SF=power_sf,
            MaxDisChaRte=limits.max_w,
        )
        registers.put(
            702,
            W_SF=power_sf,
            WMaxRtg=self.rated_w,
            WChaRteMaxRtg=-limits.min_w,
            WDisChaRteMaxRtg=limits.max_w,
            CtrlModes=1 << 1,
            WMax=self.rated_w,
            WChaRteMax=-limits.min_w,
            WDisChaRteMax=limits.max_w,
        )
        registers.put(713, WH_SF=energy_sf, WHRtg=limits.capacity_wh, Pct_SF=-2, SoH=100, Sta=0)
        amp_hours = limits.capacity_wh / DC_VOLTAGE_V
        registers.put(
            802,
            AHRtg_SF=scale_for(amp_hours, finest=-1),
            AHRtg=amp_hours,
            WHRtg_SF=energy_sf,
            WHRtg=limits.capacity_wh,
            WChaDisChaMax_SF=power_sf,
            WChaRteMax=-limits.min_w,
            WDisChaRteMax=limits.max_w,
            SoC_SF=-2,
            SoCMax=limits.max_soc_pct,
            SoCMin=limits.min_soc_pct,
            SoH_SF=0,
            SoH=100,
            LocRemCtl=0,
            Typ=4,
            State=3,
            Evt1=0,
            Evt2=0,
            EvtVnd1=0,
            EvtVnd2=0,
            V_SF=0,
            V=DC_VOLTAGE_V,
        )

    def _put_scales(self) -> None:
        rated_w, rated_a = self.rated_w, ac.current_a(self.rated_w, self.rated_w)
        line_v = ac.line_voltage_v(rated_w)
        voltage_sf = scale_for(line_v, finest=-1)
        power_sf = scale_for(rated_w)
        self.registers.put(
            701,
            ACType=2,
            St=1,
            ConnSt=1,
            Alrm=0,
            W_SF=power_sf,
            VA_SF=power_sf,
            Var_SF=power_sf,
            Var=0,
            PF_SF=-2,
            A_SF=scale_for(rated_a, finest=-1),
            V_SF=voltage_sf,
            LLV=line_v,
            LNV=ac.phase_voltage_v(rated_w),
            Hz_SF=-2,
            Hz=ac.FREQUENCY_HZ,
            TotWh_SF=0,
        )
        # The cells give more than the grid gets: their side is wider by the efficiency.
        dc_w = rated_w / self.limits.efficiency
        self.registers.put(
            802, W_SF=scale_for(dc_w), A_SF=scale_for(dc_w / DC_VOLTAGE_V, finest=-1), AMax_SF=0, CellV_SF=-3
        )

    def _put_controls(self) -> None:
        limits, registers = self.limits, self.registers
        registers.put(
            704,
            WSet_SF=0,
            WSetPct_SF=-2,
            WSetEna=0,
            WSetMod=WATTS,
            WSet=0,
            WSetRvrt=0,
            WSetPct=0,
            WSetPctRvrt=0,
            WSetEnaRvrt=0,
            WSetRvrtTms=0,
            WSetRvrtRem=0,
        )
        charge_w = -limits.min_w or limits.max_w
        # Per cent of WChaMax in a second; without a ramp there is nothing to tell.
        ramp_pct = None if math.isinf(limits.ramp_w_per_s) else 100 * limits.ramp_w_per_s / charge_w
        registers.put(
            124,
            WChaMax_SF=scale_for(charge_w),
            WChaMax=-limits.min_w,
            WChaDisChaGra_SF=scale_for(ramp_pct or 0, finest=-2),
            WChaGra=ramp_pct,
            WDisChaGra=ramp_pct,
            StorCtl_Mod=0,
            MinRsvPct_SF=-2,
            MinRsvPct=limits.min_soc_pct,
            ChaState_SF=-2,
            InOutWRte_SF=-2,
            OutWRte=100,
            InWRte=100,
            InOutWRte_WinTms=0,
            InOutWRte_RvrtTms=0,
            InOutWRte_RmpTms=0,
            ChaGriSet=1,
        )
        registers.allow_writes(704, *SETPOINT_POINTS)
        registers.allow_writes(124, *LIMIT_POINTS)
