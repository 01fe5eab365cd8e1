"""Work that falls due: do a round, then sleep until the next can be due or something happens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from services.runtime.retry import until_available
from services.runtime.waiting import happens

LONGEST_WAIT_S: Final = 30.0
"""A twin may have died with work undone that nobody else was told of."""


async def rounds(what: str, once: Callable[[], Awaitable[float | None]], bell: asyncio.Event) -> None:
    """`once` answers in how many seconds it wants to be called again; None: when the bell rings."""
    while True:
        bell.clear()
        wait_s = await until_available(what, once)
        await happens(bell, LONGEST_WAIT_S if wait_s is None else min(wait_s, LONGEST_WAIT_S))
