"""What control registers mean: the battery's target, the PV plant's ceiling, and the revert timers.

A revert timer counts real seconds at every model speed: whoever refreshes it lives in real time.
"""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class RevertTimer:
    """A dead-man's switch: fires once when nobody armed it again in time. Zero seconds: not running."""

    remaining_s: float = 0.0

    def arm(self, period_s: float) -> None:
        """Starts anew; a period of 0 stops it."""
        self.remaining_s = period_s

    def run(self, dt_s: float) -> bool:
        """Whether it ran out in these dt_s."""
        if self.remaining_s <= 0:
            return False
        self.remaining_s = max(0.0, self.remaining_s - dt_s)
        return self.remaining_s == 0

    def fires_in_s(self) -> float:
        """Seconds until it runs out; infinite when it does not run."""
        return self.remaining_s or math.inf


def storage_target_w(
    *, setpoint_w: float | None, charge_limit_w: float | None, discharge_limit_w: float | None
) -> float:
    """The power that a battery aims at.

    Model 704 says the wish (idle without one), model 124 the window around it: -charge_limit to
    discharge_limit. A negative limit forces the other direction, as vendors practise it. When the two
    limits contradict each other the discharge limit has the last word.
    """
    target_w = setpoint_w or 0.0
    if charge_limit_w is not None:
        target_w = max(target_w, -charge_limit_w)
    if discharge_limit_w is not None:
        target_w = min(target_w, discharge_limit_w)
    return target_w


def curtailed_w(available_w: float, *, ceiling_w: float | None, connected: bool) -> float:
    """What a PV inverter feeds in of what the sun offers."""
    if not connected:
        return 0.0
    return available_w if ceiling_w is None else min(available_w, max(ceiling_w, 0.0))
