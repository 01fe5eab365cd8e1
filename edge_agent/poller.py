"""Reads every device at its own pace: a slow or dead one delays no other."""

import asyncio
import time
from collections.abc import Callable

from edge_agent.device import Device
from edge_agent.errors import Invalid, Unavailable
from edge_agent.log import Log

log = Log(__name__)


async def poll(
    device: Device, *, interval_s: Callable[[], float], on_change: Callable[[Device, str], None]
) -> None:
    """Forever. `on_change` hears once of a device that fell silent, with the reason, or that is back."""
    was_online: bool | None = None
    next_s = time.monotonic()
    while True:
        try:
            reading = await device.read()
        except (Unavailable, Invalid) as error:
            if was_online is not False:
                log.warning("device silent", asset=device.asset.id, error=str(error))
                on_change(device, str(error))
            else:
                log.debug("device still silent", asset=device.asset.id, error=str(error))
            was_online = False
        else:
            if was_online is not True:
                log.info("device answers", asset=device.asset.id, quantities=len(reading.values))
                if was_online is False:
                    on_change(device, "")
            was_online = True
        # Missed beats are left out: after a pause there is no burst.
        next_s = max(next_s + interval_s(), time.monotonic())
        await asyncio.sleep(next_s - time.monotonic())
