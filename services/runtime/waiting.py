"""Waiting for something to happen, but not for ever."""

import asyncio
from contextlib import suppress


async def happens(event: asyncio.Event, within_s: float | None) -> bool:
    """Whether the event is set within so many seconds; None: for ever.

    Not `asyncio.wait_for`: in Python 3.11 it can swallow a cancellation that comes together with the event,
    and a loop around it would then never end.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()
