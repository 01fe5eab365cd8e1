"""Whether a device does what it was told. Pure.

power |          ____ target, and a band around it
      |        /
      |      /          verified: inside the band
      | ____/           not following: outside it, longer than the ramp takes and 10 s
      +------------------- t
"""

from typing import Final

OF_REQUEST: Final = 0.02
OF_MAXIMUM: Final = 0.01
OF_CHANGE: Final = 0.1
RESOLUTION: Final = 0.001
"""of the maximum: what a 16-bit register and a meter class can tell apart"""
PATIENCE_S: Final = 10.0


def tolerance_mw(target_mw: float, *, before_mw: float | None, max_mw: float) -> float:
    """How far beside the target still counts as following.

    2 % of the request or 1 % of the maximum, but never more than a tenth of the change that was asked for:
    a device that has not moved shall not pass for one that followed.
    """
    change_mw = abs(target_mw - before_mw) if before_mw is not None else abs(target_mw)
    return max(
        OF_REQUEST * abs(target_mw),
        RESOLUTION * max_mw,
        min(OF_MAXIMUM * max_mw, OF_CHANGE * change_mw),
    )


def deadline_s(target_mw: float, *, before_mw: float | None, ramp_mw_per_min: float | None) -> float:
    """Seconds that a device has to get there."""
    if not ramp_mw_per_min or before_mw is None:
        return PATIENCE_S
    return PATIENCE_S + abs(target_mw - before_mw) / ramp_mw_per_min * 60
