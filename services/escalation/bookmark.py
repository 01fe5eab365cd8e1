"""How far a partition may be called read: one window behind what was read.

What rules and heartbeats remember is in memory. Who starts again, or takes a partition over, reads the last
window once more and remembers the same; what was told meanwhile is not told again, since alerts carry the
event time of what was last believed.
"""

from collections import deque


class Bookmark:
    """Of one partition. Times are milliseconds of the records' own clock."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int]] = deque()

    def read(self, offset: int, at_ms: int, window_ms: int) -> int:
        """Note that a batch beginning at `offset` was read; answers the offset that may be committed."""
        if not self._batches or at_ms >= self._batches[-1][0] + 1_000:
            self._batches.append((at_ms, offset))
        while len(self._batches) > 1 and self._batches[1][0] <= at_ms - window_ms:
            self._batches.popleft()
        return self._batches[0][1]
