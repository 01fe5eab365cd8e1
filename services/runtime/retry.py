"""Repeating what was not available: back-off as data and one loop."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from services.runtime.errors import Unavailable
from services.runtime.log import get_logger

T = TypeVar("T")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first_s` to `longest_s`, each drawn from the upper half of its range."""

    first_s: float = 0.1
    longest_s: float = 5.0

    def delay_s(self, attempt: int, jitter: float) -> float:
        """The delay before retry number `attempt` (from 0); `jitter` is 0 to 1."""
        ceiling = min(self.first_s * 2.0 ** min(attempt, 32), self.longest_s)
        return ceiling * (0.5 + 0.5 * jitter)


async def until_available(
    what: str,
    call: Callable[[], Awaitable[T]],
    *,
    backoff: Backoff | None = None,
    on_retry: Callable[[], None] | None = None,
) -> T:
    """Call until it does not raise Unavailable; each failure is logged with what was attempted."""
    steps = backoff or Backoff()
    attempt = 0
    while True:
        try:
            return await call()
        except Unavailable as error:
            delay_s = steps.delay_s(attempt, random.random())
            log.warning(
                "unavailable", what=what, error=str(error), attempt=attempt + 1, retry_in_s=round(delay_s, 2)
            )
            if on_retry:
                on_retry()
            await asyncio.sleep(delay_s)
            attempt += 1
