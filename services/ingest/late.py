"""Late rows, older than two hours: found, cut out of their records, grouped by hour. Pure numpy.

They are stored apart from live ones, an hour a transaction: TimescaleDB logs what a transaction touched of
a chunk as one range, which a refresh then makes anew from end to end.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from overwatt.v1.telemetry_pb2 import Block, Record
from services.ingest.frames import Batch
from services.ingest.gather import count_rows
from services.ingest.ranges import Bools, Ints

HOUR_US: Final = 3_600_000_000
LATE_US: Final = 2 * HOUR_US
WIDTHS: Final = {"ts_us": 8, "seq_offset": 4, "quality": 1, "device_keys": 4, "seq": 8}
"""Bytes a row of what a block holds beside its columns."""


def late_rows(batch: Batch, *, now_us: int, oldest_us: int) -> Bools:
    """Which rows are late. Those too old to be stored are not: they are refused at once."""
    ts_us = batch.frame.ts_us
    return (ts_us < now_us - LATE_US) & (ts_us >= oldest_us)


def late_records(records: Sequence[Record], is_late: Bools) -> list[Record]:
    """The late rows as records of their own; `is_late` speaks of the rows in their order of arrival."""
    ends = np.cumsum([count_rows(record) for record in records])
    touched = np.unique(np.searchsorted(ends, np.flatnonzero(is_late), side="right")).tolist()
    return [_cut(records[i], is_late[ends[i] - count_rows(records[i]) : ends[i]]) for i in touched]


def by_hour(batch: Batch) -> Iterator[Batch]:
    """The rows of each hour, oldest first."""
    hours = batch.frame.ts_us // HOUR_US
    for hour in np.unique(hours):
        yield batch.where(hours == hour)


def _cut(record: Record, is_kept: Bools) -> Record:
    if is_kept.all():
        return record
    kept = Record()
    kept.CopyFrom(record)
    del kept.blocks[:]
    start = 0
    for block in record.blocks:
        rows = len(block.ts_us) >> 3
        places = np.flatnonzero(is_kept[start : start + rows])
        start += rows
        if places.size:
            kept.blocks.append(_rows(block, places))
    return kept


def _rows(block: Block, places: Ints) -> Block:
    kept = Block()
    kept.CopyFrom(block)
    for name, width in WIDTHS.items():
        setattr(kept, name, _pick(getattr(block, name), width, places))
    for column in kept.columns:
        column.values = _pick(column.values, 8, places)
    return kept


def _pick(data: bytes, width: int, places: Ints) -> bytes:
    return np.frombuffer(data, dtype=f"V{width}")[places].tobytes() if data else b""
