"""PostgreSQL's binary COPY format out of numpy arrays. Pure; no row becomes a Python object.

    header, then for each row: int16 number of fields, then for each field: int32 length, value; then -1

Everything is big endian. Rows without a NULL all have the same shape: one structured array is the file. With
NULLs (length -1 and no value) the bytes that they do not have are cut out of it.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.ingest.frames import Frame
from services.ingest.ranges import Bools, Ints

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TRAILER: Final = struct.pack("!h", -1)
NULL: Final = -1
EPOCH_US: Final = 946_684_800_000_000
"""PostgreSQL counts timestamps from 2000-01-01."""
MOST_SETS: Final = 8
"""Of columns, in one batch; with still more, NULLs are cheaper than COPYs."""


def timestamps(us: Ints) -> Ints:
    """As PostgreSQL stores them."""
    return us - EPOCH_US


def arrays_of(frame: Frame, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Columns of `telemetry`: device_key, ts, quality, and these."""
    return [frame.key, timestamps(frame.ts_us), frame.quality, *(frame.values[name] for name in names)]


def encode(columns: Sequence[npt.NDArray[Any]]) -> memoryview:
    """A whole COPY. Integers are never NULL; in float columns NaN is."""
    rows = columns[0].size
    fields: list[tuple[str, str]] = [("n", ">i2")]
    for place, column in enumerate(columns):
        fields += [(f"l{place}", ">i4"), (f"v{place}", column.dtype.newbyteorder(">").str)]
    shape = np.dtype(fields)
    # The rows are written where they will be sent from: a copy of megabytes costs more than all else here.
    whole = np.empty(len(HEADER) + rows * shape.itemsize + len(TRAILER), dtype=np.uint8)
    table: npt.NDArray[np.void] = np.ndarray(rows, shape, buffer=whole.data, offset=len(HEADER))
    table["n"] = len(columns)
    nulls: list[tuple[int, Bools]] = []
    for place, column in enumerate(columns):
        table[f"l{place}"] = column.dtype.itemsize
        table[f"v{place}"] = column
        if column.dtype.kind == "f" and (absent := np.isnan(column)).any():
            table[f"l{place}"][absent] = NULL
            nulls.append((place, absent))
    if nulls:
        return memoryview(HEADER + _without_nulls(table, nulls) + TRAILER)
    whole[: len(HEADER)] = np.frombuffer(HEADER, dtype=np.uint8)
    whole[-len(TRAILER) :] = np.frombuffer(TRAILER, dtype=np.uint8)
    return whole.data


def _without_nulls(table: npt.NDArray[np.void], nulls: list[tuple[int, Bools]]) -> bytes:
    assert table.dtype.fields
    keep = np.ones((table.size, table.dtype.itemsize), dtype=np.bool_)
    for place, absent in nulls:
        dtype, start = table.dtype.fields[f"v{place}"][:2]
        keep[absent, start : start + dtype.itemsize] = False
    return table.view(np.uint8).reshape(table.size, -1)[keep].tobytes()


def column_sets(
    values: Mapping[str, npt.NDArray[np.float64]], rows: int
) -> Iterator[tuple[tuple[str, ...], Bools]]:
    """Rows by the columns that they fill: (columns, which rows)."""
    names = tuple(values)
    present = {name: ~np.isnan(column) for name, column in values.items()}
    if all(filled.all() for filled in present.values()):
        yield names, np.ones(rows, dtype=np.bool_)
        return
    mask = np.zeros(rows, dtype=np.int64)
    for bit, filled in enumerate(present.values()):
        mask |= filled.astype(np.int64) << bit
    found = np.unique(mask)
    if found.size > MOST_SETS:
        yield names, np.ones(rows, dtype=np.bool_)
        return
    for bits in found.tolist():
        yield (
            tuple(name for bit, name in enumerate(names) if bits >> bit & 1),
            mask == bits,
        )
