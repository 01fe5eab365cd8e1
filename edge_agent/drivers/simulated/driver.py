"""Plays an asset in real time: nothing ticks, each call first brings it to now."""

import math
import time
from collections.abc import Callable
from typing import Final

from edge_agent.drivers import REVERT_S, Wanted, always, number
from edge_agent.drivers.simulated import physics
from edge_agent.errors import Invalid
from edge_agent.model import Reading
from overwatt.inventory import Asset

WATTS_PER_MEGAWATT: Final = 1e6
RUNNING: Final = 4.0


class SimulatedDriver:
    """A battery obeys; everything else only measures."""

    def __init__(self, asset: Asset, *, now: Callable[[], float] = time.time) -> None:
        self._asset = asset
        self._now = now
        self._at_s = now()
        self._setpoint_w: float | None = None
        self._counted_wh = 0.0
        self._limits = _limits(asset)
        self._battery = physics.Battery(soc_pct=number(asset, "initial_soc_pct", 50.0))

    async def read(self) -> Reading:
        power_w = self._advance()
        values = {"active_power_w": power_w, "operating_state": RUNNING}
        match self._asset.type:
            case "battery":
                values |= {
                    "soc_pct": self._battery.soc_pct,
                    "energy_export_wh": self._battery.discharged_wh,
                    "energy_import_wh": self._battery.charged_wh,
                    "max_discharge_w": self._limits.max_w,
                    "max_charge_w": -self._limits.min_w,
                    "energy_available_wh": self._limits.capacity_wh * self._battery.soc_pct / 100,
                    "power_setpoint_w": self._setpoint_w or 0.0,
                    "control_mode": float(self._setpoint_w is not None),
                }
            case "pv":
                values["energy_export_wh"] = self._counted_wh
            case _:
                values["energy_import_wh"] = self._counted_wh
        return Reading(values)

    async def set_power(self, power_w: float, is_wanted: Wanted = always, revert_s: int = REVERT_S) -> None:
        if self._asset.type != "battery":
            raise Invalid(f"asset {self._asset.id}: a simulated {self._asset.type} obeys no setpoint")
        self._advance()
        self._setpoint_w = power_w

    async def release(self) -> None:
        self._advance()
        self._setpoint_w = None

    async def close(self) -> None:
        """Nothing to close."""

    def _advance(self) -> float:
        now_s = self._now()
        dt_s, self._at_s = max(now_s - self._at_s, 0.0), now_s
        if self._asset.type == "battery":
            setpoint_w = self._setpoint_w or 0.0
            self._battery = physics.step(self._battery, self._limits, setpoint_w=setpoint_w, dt_s=dt_s)
            return self._battery.power_w
        part = physics.sun if self._asset.type == "pv" else physics.demand
        power_w = self._limits.max_w * part(now_s % physics.SECONDS_PER_DAY)
        self._counted_wh += power_w * dt_s / physics.SECONDS_PER_HOUR
        return power_w


def _limits(asset: Asset) -> physics.Limits:
    ramp = asset.ramp_rate_mw_per_min
    return physics.Limits(
        capacity_wh=asset.capacity_mwh * WATTS_PER_MEGAWATT,
        min_w=asset.min_mw * WATTS_PER_MEGAWATT,
        max_w=asset.max_mw * WATTS_PER_MEGAWATT,
        efficiency=asset.efficiency,
        ramp_w_per_s=math.inf if ramp is None else ramp * WATTS_PER_MEGAWATT / 60,
        min_soc_pct=number(asset, "min_soc_pct", 0.0),
        max_soc_pct=number(asset, "max_soc_pct", 100.0),
    )
