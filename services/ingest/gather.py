"""Telemetry records as one frame. Pure; blocks that fill the same columns are joined byte by byte."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overwatt.quantities import BY_NUMBER
from overwatt.v1.telemetry_pb2 import Block, Record
from services.ingest.frames import Batch, Floats, Frame, Int32s, Name, Other, Sender, joined, other_of
from services.ingest.ranges import Ints


class _Group:
    """Blocks that fill the same columns, joined byte by byte."""

    __slots__ = ("blocks", "columns", "first_seqs", "keys", "offsets", "places", "quality", "rows", "senders",
                 "times", "values")  # fmt: skip

    def __init__(self, columns: tuple[int | str, ...]) -> None:
        self.columns = columns
        self.rows: list[int] = []
        self.places: list[int] = []
        self.keys: list[int] = []
        self.senders: list[int] = []
        self.first_seqs: list[int] = []
        self.times: list[bytes] = []
        self.offsets: list[bytes] = []
        self.quality: list[bytes] = []
        self.values: list[list[bytes]] = []


@dataclass(frozen=True, slots=True)
class _Part:
    """A group or a block of simple devices, as arrays."""

    arrival: Ints
    key: Int32s
    ts_us: Ints
    seq: Ints
    sender: Int32s
    quality: npt.NDArray[np.int16]
    columns: dict[int | str, Floats]


class Misfit(Exception):
    """A record among these cannot be rows; `fault_of` says which and why. The gateway lets none such pass."""


def gather(records: Iterable[Record]) -> Batch:
    """All rows of these records. Raises Misfit."""
    try:
        return _gather(records)
    except (ValueError, KeyError) as error:
        raise Misfit(repr(error)) from error


def _gather(records: Iterable[Record]) -> Batch:
    groups: dict[tuple[int | str, ...], _Group] = {}
    senders: dict[Sender, int] = {}
    names: dict[int, Name] = {}
    parts: list[_Part] = []
    arrived = 0
    for record in records:
        tenant, epoch = record.tenant, record.epoch
        if epoch:
            sender = senders.setdefault(Sender(tenant, record.device, epoch), len(senders))
            for block in record.blocks:
                names[block.device_key] = Name(tenant, block.asset)
                arrived += _append(groups, block, record.first_seq, sender, arrived)
            continue
        by_key = {each.device_key: Name(each.tenant, each.device) for each in record.identities}
        names.update(by_key)
        for block in record.blocks:
            rows = len(block.ts_us) >> 3
            parts.append(_simple(block, arrived, rows, by_key, senders, record.door))
            arrived += rows
    parts.extend(_agents(group) for group in groups.values())
    return _join(parts, tuple(senders), names)


def count_rows(record: Record) -> int:
    """Samples of a record."""
    return sum(len(block.ts_us) >> 3 for block in record.blocks)


def fault_of(record: Record) -> str | None:
    """Why this one cannot be gathered. Looked for only when a Misfit was met: it costs a fifth of a flush."""
    known = None if record.epoch else {each.device_key for each in record.identities}
    try:
        for block in record.blocks:
            _check(block, known)
    except ValueError as error:
        return str(error)
    return None


def _check(block: Block, known: set[int] | None) -> None:
    """A row for each time, and an entry for each row everywhere else; `known` are simple devices' keys."""
    rows, rest = divmod(len(block.ts_us), 8)
    if rest:
        raise ValueError(f"ts_us has {len(block.ts_us)} bytes; a time has 8")
    if known is None:
        _expect("seq_offset", block.seq_offset, 4 * rows)
    else:
        _expect("device_keys", block.device_keys, 4 * rows)
        _expect("seq", block.seq, 8 * rows)
        if not known.issuperset(np.frombuffer(block.device_keys, dtype="<u4").tolist()):
            raise ValueError("device_keys has a key that is not among the identities")
    if block.quality:
        _expect("quality", block.quality, rows)
    for column in block.columns:
        if column.quantity and column.quantity not in BY_NUMBER:
            raise ValueError(
                f"quantity {column.quantity} is unknown; this release knows up to {max(BY_NUMBER)}"
            )
        _expect(column.metric or "values", column.values, 8 * rows)


def _expect(field: str, given: bytes, size: int) -> None:
    if len(given) != size:
        raise ValueError(f"{field} has {len(given)} bytes where its block's times want {size}")


def _append(
    groups: dict[tuple[int | str, ...], _Group], block: Block, first_seq: int, sender: int, arrived: int
) -> int:
    """Put an agent's block to those that fill the same columns; answers its rows."""
    # Once over the columns: each look at a message of protobuf costs.
    names: list[int | str] = []
    values: list[bytes] = []
    for column in block.columns:
        names.append(column.quantity or column.metric)
        values.append(column.values)
    columns = tuple(names)
    group = groups.get(columns)
    if group is None:
        group = groups[columns] = _Group(columns)
    times = block.ts_us
    rows = len(times) >> 3
    group.rows.append(rows)
    group.places.append(arrived)
    group.keys.append(block.device_key)
    group.senders.append(sender)
    group.first_seqs.append(first_seq)
    group.times.append(times)
    group.offsets.append(block.seq_offset)
    group.quality.append(block.quality or bytes(rows))
    group.values.append(values)
    return rows


def _agents(group: _Group) -> _Part:
    rows = np.array(group.rows)
    total = int(rows.sum())
    starts = np.cumsum(rows) - rows
    arrival = np.repeat(np.array(group.places, dtype=np.int64) - starts, rows) + np.arange(total)
    offsets = np.frombuffer(b"".join(group.offsets), dtype="<u4").astype(np.int64)
    return _Part(
        arrival=arrival,
        key=np.repeat(np.array(group.keys, dtype=np.int32), rows),
        ts_us=np.frombuffer(b"".join(group.times), dtype="<i8"),
        seq=np.repeat(np.array(group.first_seqs, dtype=np.int64), rows) + offsets,
        sender=np.repeat(np.array(group.senders, dtype=np.int32), rows),
        quality=np.frombuffer(b"".join(group.quality), dtype=np.uint8).astype(np.int16),
        columns={
            name: np.frombuffer(b"".join([values[place] for values in group.values]), dtype="<f8")
            for place, name in enumerate(group.columns)
        },
    )


def _simple(
    block: Block, arrived: int, rows: int, by_key: dict[int, Name], senders: dict[Sender, int], door: str
) -> _Part:
    key = np.frombuffer(block.device_keys, dtype="<u4").astype(np.int32)
    known, inverse = np.unique(key, return_inverse=True)
    places = [senders.setdefault(Sender(*by_key[each], 0, door), len(senders)) for each in known.tolist()]
    return _Part(
        arrival=np.arange(arrived, arrived + rows, dtype=np.int64),
        key=key,
        ts_us=np.frombuffer(block.ts_us, dtype="<i8"),
        seq=np.frombuffer(block.seq, dtype="<u8").astype(np.int64),
        sender=np.array(places, dtype=np.int32)[inverse],
        quality=np.frombuffer(block.quality or bytes(rows), dtype=np.uint8).astype(np.int16),
        columns={
            column.quantity or column.metric: np.frombuffer(column.values, dtype="<f8")
            for column in block.columns
        },
    )


def _join(parts: list[_Part], senders: tuple[Sender, ...], names: dict[int, Name]) -> Batch:
    """The parts one after the other, in order of arrival."""
    for part in parts:
        sizes = {part.arrival.size, part.ts_us.size, part.seq.size, part.sender.size, part.quality.size}
        if sizes.union(column.size for column in part.columns.values()) != {part.key.size}:
            raise ValueError("columns of different lengths")
    total = sum(part.key.size for part in parts)
    columns = list(dict.fromkeys(name for part in parts for name in part.columns))
    canonical = [name for name in columns if isinstance(name, int)]
    metrics = tuple(name for name in columns if isinstance(name, str))
    values = {BY_NUMBER[number].name: _filled(parts, number, total) for number in canonical}
    frame = Frame(
        origin=np.arange(total, dtype=np.int64),
        key=joined([part.key for part in parts], np.int32),
        ts_us=joined([part.ts_us for part in parts], np.int64),
        quality=joined([part.quality for part in parts], np.int16),
        values=values,
        other=_others(parts, metrics),
        metrics=metrics,
    )
    sender = joined([part.sender for part in parts], np.int32)
    seq = joined([part.seq for part in parts], np.int64)
    if len(parts) > 1:
        order = np.argsort(joined([part.arrival for part in parts], np.int64), kind="stable")
        frame, sender, seq = frame.take(order), sender[order], seq[order]
        frame.origin[:] = np.arange(total)
    return Batch(frame, sender, seq, senders, names)


def _filled(parts: list[_Part], number: int, total: int) -> Floats:
    """One column over all parts; NaN where a part does not have it."""
    if len(parts) == 1:
        return parts[0].columns[number]
    column = np.full(total, np.nan)
    start = 0
    for part in parts:
        if number in part.columns:
            column[start : start + part.key.size] = part.columns[number]
        start += part.key.size
    return column


def _others(parts: list[_Part], metrics: tuple[str, ...]) -> Other:
    present: list[tuple[int, Ints, Floats]] = []
    start = 0
    for part in parts:
        for place, metric in enumerate(metrics):
            if (column := part.columns.get(metric)) is not None:
                rows = np.flatnonzero(~np.isnan(column))
                present.append((place, rows + start, column[rows]))
        start += part.key.size
    return other_of(present)
