"""Rows of the spool become batches: one epoch each, at most 64 KiB."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.model import Row
from overwatt.quantities import Quality
from overwatt.topics import MAX_BATCH_BYTES
from overwatt.v1.telemetry_pb2 import Batch, Block, Column

MAX_ROWS: Final = 400
_ROW_BYTES: Final = 8 + 4 + 1
_BLOCK_BYTES: Final = 64
_COLUMN_BYTES: Final = 24
_ABSENT: Final = float("nan")

_Kind = tuple[str, frozenset[int | str]]
"""Rows that share a block: same asset, same columns."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch ready to send, with the rows that are in it."""

    rows: tuple[Row, ...]
    payload: bytes


def pack(rows: Sequence[Row]) -> Iterator[Packed]:
    """All dated rows, in their order, in as few batches as fit."""
    start = 0
    while start < len(rows):
        end = _end_of_batch(rows, start)
        part = tuple(rows[start:end])
        yield Packed(part, _message(part).SerializeToString())
        start = end


def _end_of_batch(rows: Sequence[Row], start: int) -> int:
    """Where the batch that begins at `start` must end; it holds at least one row."""
    kinds: set[_Kind] = set()
    size = _BLOCK_BYTES
    for index in range(start, min(len(rows), start + MAX_ROWS)):
        row = rows[index]
        kind = (row.asset, frozenset(row.values))
        size += _ROW_BYTES + 8 * len(row.values)
        if kind not in kinds:
            kinds.add(kind)
            names = sum(len(name) for name in row.values if isinstance(name, str))
            size += _BLOCK_BYTES + len(row.asset) + _COLUMN_BYTES * len(row.values) + names
        if index > start and (size > MAX_BATCH_BYTES or row.epoch != rows[start].epoch):
            return index
    return min(len(rows), start + MAX_ROWS)


def _message(rows: Sequence[Row]) -> Batch:
    first_seq = min(row.key.seq for row in rows)
    blocks: dict[_Kind, list[Row]] = {}
    for row in rows:
        blocks.setdefault((row.asset, frozenset(row.values)), []).append(row)
    return Batch(
        epoch=rows[0].epoch,
        first_seq=first_seq,
        blocks=[_block(asset, part, first_seq) for (asset, _), part in blocks.items()],
    )


def _block(asset: str, rows: Sequence[Row], first_seq: int) -> Block:
    count = len(rows)
    names = sorted(rows[0].values, key=lambda name: (isinstance(name, str), name))
    is_good = all(row.quality == Quality.GOOD for row in rows)
    return Block(
        asset=asset,
        ts_us=struct.pack(f"<{count}q", *(row.ts_us for row in rows)),
        seq_offset=struct.pack(f"<{count}I", *(row.key.seq - first_seq for row in rows)),
        columns=[_column(name, rows) for name in names],
        quality=b"" if is_good else bytes(row.quality for row in rows),
    )


def _column(name: int | str, rows: Sequence[Row]) -> Column:
    values = struct.pack(f"<{len(rows)}d", *(row.values.get(name, _ABSENT) for row in rows))
    if isinstance(name, str):
        return Column(metric=name, values=values)
    return Column(quantity=name, values=values)
