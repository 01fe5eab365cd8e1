"""Silence: who has not been heard of for too long.

Any message is a heartbeat; a last will is none, so an agent that has said goodbye goes stale after the same
time and not at once. Only who has been heard once is expected again. Due times stand in a heap: the next one
is known without looking at the others.
"""

import heapq
from collections.abc import Iterable

from services.escalation.model import Key


class Heartbeats:
    """Who was heard when, and who has gone silent."""

    def __init__(self, stale_s: float) -> None:
        self._stale_us = int(stale_s * 1_000_000)
        self._last_us: dict[Key, int] = {}
        self._planned: set[Key] = set()
        self._heap: list[tuple[int, Key]] = []
        self._silent: dict[Key, int] = {}

    def knows(self, key: Key) -> bool:
        """Whether it was heard of."""
        return key in self._last_us

    def heard(self, key: Key, at_us: int) -> bool:
        """Note a message; whether it ends a silence."""
        if at_us <= self._last_us.get(key, at_us - 1) or at_us <= self._silent.get(key, at_us - 1):
            return False
        self._last_us[key] = at_us
        self._plan(key, at_us + self._stale_us)
        return self._silent.pop(key, None) is not None

    def was_silent(self, key: Key, since_us: int) -> None:
        """Take over a silence that was told before this process began to listen."""
        self._last_us.setdefault(key, since_us - self._stale_us)
        self._silent[key] = since_us

    def reconsider(self) -> None:
        """Judge all who are silent once more: a rule is new, or a device became ours to judge."""
        for key in self._silent:
            self._plan(key, self._last_us[key] + self._stale_us)

    def next_due_us(self) -> int | None:
        """When somebody could go stale next; it is never later than this."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_us: int) -> list[tuple[Key, int]]:
        """Who has gone stale by `now_us`, and since when: its last message plus the time allowed."""
        stale: list[tuple[Key, int]] = []
        while self._heap and self._heap[0][0] <= now_us:
            _, key = heapq.heappop(self._heap)
            self._planned.discard(key)
            stale_at_us = self._last_us[key] + self._stale_us
            if stale_at_us > now_us:
                self._plan(key, stale_at_us)
            else:
                self._silent[key] = stale_at_us
                stale.append((key, stale_at_us))
        return stale

    def silent(self) -> Iterable[Key]:
        """Who is silent now."""
        return self._silent.keys()

    def _plan(self, key: Key, due_us: int) -> None:
        # One entry each: what was heard since is looked at when it comes up.
        if key not in self._planned:
            self._planned.add(key)
            heapq.heappush(self._heap, (due_us, key))
