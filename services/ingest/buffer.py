"""Records that wait for a flush, and when it is due. Pure."""

from dataclasses import dataclass

from overwatt.v1.telemetry_pb2 import Record
from services.ingest.flush import Taken


@dataclass(frozen=True, slots=True)
class Due:
    """When a flush is due: at so many rows, at the latest so long after the first one (P-039, P-040),
    or when nothing has come for `quiet_s`."""

    batch_size: int
    interval_s: float
    quiet_s: float = float("inf")

    def in_s(self, *, rows: int, age_s: float, idle_s: float) -> float:
        """Seconds from now; `age_s` since the first arrival, `idle_s` since the last."""
        if rows >= self.batch_size:
            return 0.0
        return max(0.0, min(self.interval_s - age_s, self.quiet_s - idle_s))


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
        self.last_at_s = at_s
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
        self.last_at_s = 0.0
