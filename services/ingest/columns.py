"""Many simple devices' samples as one columnar record: rows that fill the same metrics share a block."""

from array import array
from collections.abc import Iterator
from typing import Final

from overwatt.quantities import BY_NAME
from overwatt.v1.telemetry_pb2 import Block, Column, Identity, Record
from services.ingest.model import Member, Sample

MOST_BYTES: Final = 400_000
"""Of a record, by estimate: Kafka takes 1 MiB."""


class _Rows:
    """The rows of one block, column by column."""

    __slots__ = ("keys", "seqs", "times", "values")

    def __init__(self, width: int) -> None:
        self.keys = array("I")
        self.times = array("q")
        self.seqs = array("Q")
        self.values = [array("d") for _ in range(width)]


class Columns:
    """Collects samples and hands them out as records."""

    def __init__(self, received_at_us: int, *, door: str = "") -> None:
        """`door` is the HTTP process that waits for the outcome."""
        self._received_at_us = received_at_us
        self._door = door
        self._blocks: dict[tuple[str, ...], _Rows] = {}
        self._members: dict[int, Member] = {}
        self._bytes = 0
        self._full: list[bytes] = []

    def add(self, member: Member, sample: Sample) -> None:
        """One row."""
        names = tuple(sample.metrics)
        rows = self._blocks.get(names)
        if rows is None:
            rows = self._blocks[names] = _Rows(len(names))
            self._bytes += sum(map(len, names))
        rows.keys.append(member.key)
        rows.times.append(sample.ts_us)
        rows.seqs.append(sample.seq)
        for column, value in zip(rows.values, sample.metrics.values(), strict=True):
            column.append(value)
        if member.key not in self._members:
            self._members[member.key] = member
            self._bytes += 80
        self._bytes += 20 + 8 * len(names)
        if self._bytes >= MOST_BYTES:
            self._full.append(self._record())

    def records(self) -> Iterator[bytes]:
        """Everything that was added."""
        yield from self._full
        if self._blocks:
            yield self._record()
        self._full = []

    def _record(self) -> bytes:
        record = Record(
            received_at_us=self._received_at_us,
            door=self._door,
            blocks=[_block(names, rows) for names, rows in self._blocks.items()],
            identities=[
                Identity(device_key=key, tenant=member.tenant, device=member.device)
                for key, member in self._members.items()
            ],
        )
        self._blocks, self._members, self._bytes = {}, {}, 0
        return record.SerializeToString()


def _block(names: tuple[str, ...], rows: _Rows) -> Block:
    return Block(
        ts_us=rows.times.tobytes(),
        device_keys=rows.keys.tobytes(),
        seq=rows.seqs.tobytes(),
        columns=[
            Column(quantity=known.number, values=values.tobytes())
            if (known := BY_NAME.get(name))
            else Column(metric=name, values=values.tobytes())
            for name, values in zip(names, rows.values, strict=True)
        ],
    )
