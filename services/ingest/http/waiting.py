"""Samples on their way to the database, by numbers of our own. Pure but for the event that ends a wait."""

import asyncio
from collections.abc import Iterable

from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import Ack, Range


class Full(Exception):
    """So many samples wait already that no more are taken."""


class Expected:
    """The outcomes of one request's samples, in their order."""

    def __init__(self, first: int, count: int) -> None:
        self.numbers = range(first, first + count)
        self.verdicts: list[Reason | None] = [None] * count
        self.is_settled = asyncio.Event()
        self._open = count

    def settle(self, number: int, reason: Reason | None) -> None:
        """One of them; no reason: committed."""
        self.verdicts[number - self.numbers.start] = reason
        self._open -= 1
        if self._open == 0:
            self.is_settled.set()


class Waiting:
    """All requests' samples that have no outcome yet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._next = 1
        self._by_number: dict[int, Expected] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def expect(self, count: int) -> Expected:
        """Numbers for so many samples. Raises Full."""
        if len(self._by_number) + count > self._most:
            raise Full
        expected = Expected(self._next, count)
        self._next += count
        self._by_number.update(dict.fromkeys(expected.numbers, expected))
        return expected

    def forget(self, expected: Expected) -> None:
        """Nobody waits for it any more."""
        for number in expected.numbers:
            self._by_number.pop(number, None)

    def settle(self, ack: Ack) -> None:
        """What the writer says; a number that nobody waits for is passed over."""
        self._settle(ack.committed, None)
        for refusal in ack.refused:
            self._settle(refusal.ranges, Reason(refusal.reason))

    def _settle(self, ranges: Iterable[Range], reason: Reason | None) -> None:
        for span in ranges:
            for number in range(span.first, span.last + 1):
                if expected := self._by_number.pop(number, None):
                    expected.settle(number, reason)
