"""Time that moves by itself, or only when a test says so."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds that never run backwards."""

real_clock: Clock = time.monotonic


class ManualClock:
    """Stands still until it is advanced: `clock.advance(90)` is a minute and a half of the model."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Moves on; the devices notice at their next request."""
        self._now_s += seconds
