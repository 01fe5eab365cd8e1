"""Which MQTT messages may be acknowledged: in the order in which they came, and only on their connection.

    arrived   1 2 3 4 5
    done        2 3   5     nothing may be acknowledged
    done      1 2 3   5     1 2 3 may

A packet id means something on its connection alone: after a reconnect the same number is another message.
"""

from collections import deque


class Receipt:
    """An unacknowledged message."""

    __slots__ = ("is_done", "mid", "ring")

    def __init__(self, ring: "Receipts", mid: int) -> None:
        self.ring = ring
        self.mid = mid
        self.is_done = False


class Receipts:
    """The unacknowledged messages of one connection."""

    def __init__(self, connection: int) -> None:
        self.connection = connection
        self._waiting: deque[Receipt] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, mid: int) -> Receipt:
        """The next message that came."""
        receipt = Receipt(self, mid)
        self._waiting.append(receipt)
        return receipt

    def settle(self, receipt: Receipt) -> list[int]:
        """This one is done; answers the packet ids that may now be acknowledged, in order."""
        receipt.is_done = True
        ready: list[int] = []
        while self._waiting and self._waiting[0].is_done:
            ready.append(self._waiting.popleft().mid)
        return ready
