"""Plays a series by the clock. It measures only: nobody can control what has already happened."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_agent.drivers import REVERT_S, Wanted, always, number, text, whole
from edge_agent.drivers.replay.series import Made, Series, parse
from edge_agent.errors import Invalid, Unavailable
from edge_agent.model import Reading
from overwatt.inventory import Asset

FOR_EVER_S: Final = 1e12


class ReplayDriver:
    """One asset. After `until`, in seconds since 1970, it answers no more."""

    def __init__(self, asset: Asset, series: Series, *, now: Callable[[], float] = time.time) -> None:
        self._asset = asset
        self._series = series
        self._now = now
        self._until_s = number(asset, "until", FOR_EVER_S)

    async def read(self) -> Reading:
        now_s = self._now()
        if now_s >= self._until_s:
            raise Unavailable(f"asset {self._asset.id}: its series ended at {self._until_s:.0f}")
        return self._series.at(now_s)

    async def set_power(self, power_w: float, is_wanted: Wanted = always, revert_s: int = REVERT_S) -> None:
        raise Invalid(f"asset {self._asset.id}: a replayed {self._asset.type} obeys no setpoint")

    async def release(self) -> None:
        """It never does anything but its own."""

    async def close(self) -> None:
        """Nothing to close."""


def connect(asset: Asset) -> ReplayDriver:
    """With `file`, a recorded series (CSV); else one that `seed` (0) makes. Raises Invalid."""
    if "file" not in asset.extra:
        return ReplayDriver(asset, Made(whole(asset, "seed", 0), asset.id, asset.type))
    path = Path(text(asset, "file"))
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return ReplayDriver(asset, parse(lines))
    except (OSError, UnicodeError, Invalid) as error:
        raise Invalid(f"asset {asset.id}: file {path} cannot be replayed: {error}") from error
