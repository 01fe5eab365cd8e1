"""Records that wait for a flush, and when it is due. Pure."""

from overwatt.v1.telemetry_pb2 import Record
from services.ingest.flush import Taken


def due_in_s(*, rows: int, is_empty: bool, age_s: float, batch_size: int, interval_s: float) -> float | None:
    """Seconds until a flush is due (0: now); None: nothing waits for one (P-039, P-040)."""
    if is_empty:
        return None
    if rows >= batch_size:
        return 0.0
    return max(0.0, interval_s - age_s)


class Buffer:
    """Decoded records of all partitions of this writer, in their order."""

    def __init__(self) -> None:
        self._expected: dict[int, int] = {}
        self._clear()

    def assign(self, expected: dict[int, int]) -> None:
        """Start over with these partitions, each at its next offset."""
        self._expected = dict(expected)
        self._clear()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to flush."""
        return not self._next

    def wants(self, partition: int, offset: int) -> bool:
        """Whether this record is new, and of a partition of ours."""
        return partition in self._expected and offset >= self._next.get(partition, self._expected[partition])

    def add(self, partition: int, offset: int, record: Record | None, rows: int, at_s: float) -> None:
        """The next record; None for one that says nothing, which only moves the offset."""
        if self.is_empty:
            self.first_at_s = at_s
        if record is not None:
            self._records.append(record)
            self.rows += rows
        self._next[partition] = offset + 1

    def take(self) -> Taken:
        """Everything, out of the buffer; the offsets are taken to be moved."""
        moves = [(partition, self._expected[partition], end) for partition, end in sorted(self._next.items())]
        taken = Taken(self._records, moves, self.rows)
        self._expected |= self._next
        self._clear()
        return taken

    def _clear(self) -> None:
        self._records: list[Record] = []
        self._next: dict[int, int] = {}
        self.rows = 0
        self.first_at_s = 0.0
