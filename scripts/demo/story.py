"""What the demo does to the fleet, by the clock: a site dispatch, its end, a charge, and again."""

from dataclasses import dataclass
from typing import Final

PERIOD_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """A dispatch that is due `after_s` seconds into each period."""

    after_s: float
    site_id: str
    mw: float


STORY: Final = (Step(0, "park", 12.0), Step(20, "park", -6.0), Step(40, "park", 0.0))
"""12 MW over 120/40/40 MWh is 7.2/2.4/2.4 (U-D01), and 7.2 MW is above the alert's threshold."""

ALERT_METRIC: Final = "active_power_w"
ALERT_THRESHOLD: Final = 7_000_000
ALERT_CLEAR: Final = 6_000_000


def due(elapsed_s: float, done: int) -> Step | None:
    """The step that is due `elapsed_s` after the fleet went live, when `done` steps have been taken."""
    period, index = divmod(done, len(STORY))
    step = STORY[index]
    return step if elapsed_s >= period * PERIOD_S + step.after_s else None
