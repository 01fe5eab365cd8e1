"""An asset with its driver: one call at a time, the last reading kept, and no write without leave."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from edge_agent.drivers import REVERT_S, Driver, number
from edge_agent.errors import Unavailable
from edge_agent.model import Reading
from overwatt.inventory import Asset
from overwatt.split import AssetState

T = TypeVar("T")


class Device:
    """What the poller and the dispatcher share."""

    def __init__(
        self, asset: Asset, driver: Driver, *, on_reading: Callable[[str, Reading], Awaitable[None]]
    ) -> None:
        self.asset = asset
        self.may_write = True
        """False in mode observe: then nothing but `release` reaches the hardware"""
        self.last: Reading | None = None
        self.last_at_s = float("-inf")
        self.is_online = False
        self._driver = driver
        self._on_reading = on_reading
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def power_mw(self) -> float | None:
        """Measured last."""
        power_w = self.last.values.get("active_power_w") if self.last else None
        return None if power_w is None else power_w / 1e6

    def for_split(self) -> AssetState:
        """What a split over the site has to know."""
        asset = self.asset
        return AssetState(
            id=asset.id,
            capacity_mwh=asset.capacity_mwh,
            min_mw=asset.min_mw,
            max_mw=asset.max_mw,
            soc_pct=self.last.values.get("soc_pct") if self.last else None,
            soc_min_pct=number(asset, "min_soc_pct", 0.0),
            soc_max_pct=number(asset, "max_soc_pct", 100.0),
            power_mw=self.power_mw,
            ramp_rate_mw_per_min=asset.ramp_rate_mw_per_min,
            online=self.is_online,
        )

    async def read(self) -> Reading:
        """Reads, and hands the reading on to the spool; raises Unavailable."""
        reading = await self._in_turn(self._read)
        await self._on_reading(self.asset.id, reading)
        return reading

    async def set_power(
        self,
        power_mw: float,
        *,
        revert_s: float = REVERT_S,
        is_wanted: Callable[[], bool],
        begin_by_s: float = math.inf,
    ) -> bool:
        """False: nobody wanted it any more when its turn came. Raises Unavailable, Invalid.

        `begin_by_s` is monotonic: a device whose turn comes later is left alone. `revert_s` is for its own
        timer, which knows whole seconds.
        """

        async def write() -> bool:
            if not is_wanted():  # asked in turn, which comes even when whoever asked has gone
                return False
            if time.monotonic() > begin_by_s:
                raise Unavailable(f"asset {self.asset.id} was busy until the command was too old to begin")
            if not self.may_write:
                raise Unavailable(f"asset {self.asset.id} is only observed")
            try:
                await self._driver.set_power(power_mw * 1e6, is_wanted, math.ceil(revert_s))
            except Unavailable:
                if is_wanted():
                    raise
                return False
            return True

        return await self._in_turn(write)

    async def release(self) -> None:
        """Raises Unavailable, Invalid."""
        await self._in_turn(self._driver.release)

    async def close(self) -> None:
        await self._in_turn(self._driver.close)

    async def _read(self) -> Reading:
        try:
            reading = await self._driver.read()
        except BaseException:
            self.is_online = False
            raise
        self.last, self.last_at_s, self.is_online = reading, time.monotonic(), True
        return reading

    async def _in_turn(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A call that has begun is never cut off: half an exchange would spoil the next one."""

        async def turn() -> T:
            async with self._turn:
                return await call()

        task = asyncio.create_task(turn())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)
