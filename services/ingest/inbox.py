"""What waits for one worker: filled without waiting, emptied in bulk."""

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MOST: Final = 2_000
GATHER_S: Final = 0.003


class Inbox(Generic[T]):
    """A queue that hands out at most 2,000 items, 3 ms after the first."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._filled = asyncio.Event()

    def put(self, items: Iterable[T]) -> None:
        """Never waits: who fills it is bounded by unacknowledged messages."""
        self._items.extend(items)
        self._filled.set()

    async def take(self) -> list[T]:
        """Wait for something, then what has gathered."""
        await self._filled.wait()
        if len(self._items) < MOST:
            await asyncio.sleep(GATHER_S)
        taken = list(islice(self._items, MOST))
        for _ in taken:
            self._items.popleft()
        if not self._items:
            self._filled.clear()
        return taken
