"""Leave to write a held setpoint again: only after the cloud has answered, so that it could have said no.

A flip to observe may be stuck in a broker that hangs. Who asks before each write, and writes nothing without
an answer, does not go on for longer than the question is good for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Lease:
    """Of all held setpoints of this agent; those that ask at the same time share one question."""

    def __init__(self, ask: Callable[[], Awaitable[None]], *, good_for_s: float) -> None:
        self._ask = ask
        self._good_for_s = good_for_s
        self._answered = asyncio.Event()
        self._asking: asyncio.Task[float | None] | None = None

    def answered(self) -> None:
        """The cloud has answered the newest question."""
        self._answered.set()

    async def renew(self) -> float | None:
        """Until when (monotonic, seconds) a device may be written; None: the cloud is silent."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._renewed())
        return await asyncio.shield(self._asking)

    async def _renewed(self) -> float | None:
        ends_s = time.monotonic() + self._good_for_s
        self._answered.clear()
        try:
            async with asyncio.timeout(self._good_for_s):
                await self._ask()
                await self._answered.wait()
        except TimeoutError:
            return None
        return ends_s
