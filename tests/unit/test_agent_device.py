"""An asset's turn: one call at a time, and nothing is written that came too late for it."""

import asyncio
import time

import pytest

from edge_agent.device import Device
from edge_agent.drivers import REVERT_S, Wanted, always
from edge_agent.errors import Unavailable
from edge_agent.model import Reading
from overwatt.inventory import Asset


class Busy:
    """A device that takes its time for an answer, until it is told to give it."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.written_w: list[float] = []

    async def read(self) -> Reading:
        await self.answers.wait()
        return Reading({"active_power_w": 0.0})

    async def set_power(self, power_w: float, is_wanted: Wanted = always, revert_s: int = REVERT_S) -> None:
        self.written_w.append(power_w)

    async def release(self) -> None: ...
    async def close(self) -> None: ...


async def keep(_: str, __: Reading) -> None: ...


async def test_a_device_whose_turn_comes_too_late_for_a_command_is_left_alone() -> None:
    """H-029: the mode may have changed since the command was stamped."""
    driver = Busy()
    device = Device(Asset(id="bess-1", site_id="s", site_name="S", name="B"), driver, on_reading=keep)
    reading = asyncio.create_task(device.read())
    await asyncio.sleep(0)
    too_late = asyncio.create_task(
        device.set_power(1, is_wanted=lambda: True, begin_by_s=time.monotonic() - 0.001)
    )
    in_time = asyncio.create_task(
        device.set_power(2, is_wanted=lambda: True, begin_by_s=time.monotonic() + 60)
    )
    await asyncio.sleep(0)

    driver.answers.set()

    await reading
    with pytest.raises(Unavailable, match="too old to begin"):
        await too_late
    assert await in_time
    assert driver.written_w == [2e6]
