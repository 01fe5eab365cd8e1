"""The writer's columns against a plain Python model of what they must come to."""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.quantities import BY_NAME, COLUMNS
from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import Block, Column, Identity, Outcomes, Record
from services.ingest.acks import Acks
from services.ingest.buffer import Buffer, Due
from services.ingest.copy_format import column_sets, encode
from services.ingest.flush import dirty_hours, known_rows, outcomes, settled_ranges
from services.ingest.frames import VERDICT, Sender, judge, merge
from services.ingest.gather import Misfit, count_rows, fault_of, gather
from services.ingest.refusals import Told
from services.runtime.clock import from_us

NAN = float("nan")
NAMES = ("temp_c", "soc_pct", "rssi", "door")
"""Two with a column of their own, two without."""


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as these tests draw it."""

    key: int
    ts_us: int
    values: tuple[float | None, ...]
    quality: int = 0


def a_column(name: str, values: Sequence[float]) -> Column:
    known = BY_NAME.get(name)
    data = struct.pack(f"<{len(values)}d", *values)
    return Column(quantity=known.number, values=data) if known else Column(metric=name, values=data)


def a_record(
    blocks: Sequence[Sequence[Row]], *, epoch: int = 9, first_seq: int = 1, simple: bool = False
) -> Record:
    """Rows of one block fill the columns that any of them has; their numbers run on."""
    made, seq = [], 0
    for rows in blocks:
        names = [name for i, name in enumerate(NAMES) if any(row.values[i] is not None for row in rows)]
        places = [NAMES.index(name) for name in names]
        count = len(rows)
        block = Block(
            asset=f"a{rows[0].key}",
            ts_us=struct.pack(f"<{count}q", *(row.ts_us for row in rows)),
            quality=bytes(row.quality for row in rows),
            columns=[
                a_column(name, [NAN if row.values[i] is None else row.values[i] for row in rows])  # type: ignore[misc]
                for name, i in zip(names, places, strict=True)
            ],
        )
        if simple:
            block.device_keys = struct.pack(f"<{count}I", *(row.key for row in rows))
            block.seq = struct.pack(f"<{count}Q", *range(seq + 1, seq + count + 1))
        else:
            block.device_key = rows[0].key
            block.seq_offset = struct.pack(f"<{count}I", *range(seq, seq + count))
        seq += count
        made.append(block)
    if simple:
        keys = {row.key for rows in blocks for row in rows}
        who = [Identity(device_key=key, tenant="t", device=f"d{key}") for key in keys]
        return Record(blocks=made, identities=who)
    return Record(tenant="t", device="agent", epoch=epoch, first_seq=first_seq, blocks=made)


a_value = st.none() | st.sampled_from([1.0, 2.0])
a_row = st.builds(
    Row, st.integers(1, 2), st.integers(1, 3), st.tuples(*[a_value] * len(NAMES)), st.integers(0, 2)
)


@st.composite
def blocks_of_rows(draw: st.DrawFn, *, one_key: bool) -> list[list[Row]]:
    """An agent's block is of one device."""
    blocks = draw(st.lists(st.lists(a_row, min_size=1, max_size=5), min_size=1, max_size=4))
    if not one_key:
        return blocks
    return [[Row(rows[0].key, row.ts_us, row.values, row.quality) for row in rows] for rows in blocks]


def rows_of(frame: object) -> list[tuple[int, int, int, tuple[float | None, ...]]]:
    """A frame as Python values: key, time, quality, values by NAMES."""
    found = []
    for place in range(len(frame)):  # type: ignore[arg-type]
        values: list[float | None] = [None] * len(NAMES)
        for name, column in frame.values.items():  # type: ignore[attr-defined]
            if not np.isnan(column[place]):
                values[NAMES.index(name)] = float(column[place])
        other = frame.other  # type: ignore[attr-defined]
        for entry in np.flatnonzero(other.row == place):
            values[NAMES.index(frame.metrics[other.metric[entry]])] = float(other.value[entry])  # type: ignore[attr-defined]
        found.append(
            (int(frame.key[place]), int(frame.ts_us[place]), int(frame.quality[place]), tuple(values))  # type: ignore[attr-defined]
        )
    return found


def naive_merge(rows: Sequence[Row]) -> tuple[dict[tuple[int, int], Row], list[int], dict[int, int]]:
    """What is left by key, who contradicts, and who went into whom; one row after the other."""
    left: dict[tuple[int, int], Row] = {}
    first: dict[tuple[int, int], int] = {}
    conflicts, into = list[int](), dict[int, int]()
    for number, row in enumerate(rows):
        key = (row.key, row.ts_us)
        if key not in left:
            left[key], first[key] = row, number
            continue
        old = left[key]
        pairs = list(zip(old.values, row.values, strict=True))
        if any(a is not None and b is not None and a != b for a, b in pairs):
            conflicts.append(number)
            continue
        filled = any(a is None and b is not None for a, b in pairs)
        quality = max(old.quality, row.quality) if filled else old.quality
        left[key] = Row(*key, tuple(b if a is None else a for a, b in pairs), quality)
        into[number] = first[key]
    return left, conflicts, into


@given(blocks_of_rows(one_key=True), st.booleans())
def test_gathered_rows_keep_their_order_values_and_numbers(blocks: list[list[Row]], twice: bool) -> None:
    records = [a_record(blocks)] * (2 if twice else 1)
    flat = [row for rows in blocks for row in rows] * len(records)

    batch = gather(records)

    assert rows_of(batch.frame) == [(row.key, row.ts_us, row.quality, row.values) for row in flat]
    numbers = list(range(1, len(flat) // len(records) + 1))
    assert batch.seq.tolist() == numbers * len(records)
    assert batch.frame.origin.tolist() == list(range(len(flat)))
    assert [sender.epoch for sender in batch.senders] == [9]


@given(blocks_of_rows(one_key=True), blocks_of_rows(one_key=False))
def test_merging_is_what_one_row_after_the_other_would_come_to(
    agent: list[list[Row]], simple: list[list[Row]]
) -> None:
    flat = [row for blocks in (agent, simple) for rows in blocks for row in rows]
    batch = gather([a_record(agent), a_record(simple, simple=True)])

    merged = merge(batch.frame)

    left, conflicts, into = naive_merge(flat)
    assert rows_of(merged.frame) == [(*key, left[key].quality, left[key].values) for key in sorted(left)]
    assert sorted(merged.conflicts.tolist()) == conflicts
    assert dict(zip(merged.doubles.tolist(), merged.heads.tolist(), strict=True)) == into


def one_sided(*values: tuple[float | None, float | None]) -> Record:
    rows = [Row(1, 100 + i, (*pair, None, None)) for i, pair in enumerate(values)]
    return a_record([rows])


def test_a_row_is_judged_by_its_time_and_for_infinity() -> None:
    now = 10**15
    rows = [
        Row(1, now, (1.0, None, None, None)),
        Row(1, now + 300_000_000, (1.0, None, None, None)),
        Row(1, now + 300_000_001, (1.0, None, None, None)),
        Row(1, now - 1_001, (1.0, None, None, None)),
        Row(1, now + 1, (float("inf"), None, None, None)),
        Row(1, now + 2, (1.0, None, float("-inf"), None)),
    ]

    verdict = judge(gather([a_record([rows])]).frame, now_us=now, oldest_us=now - 1_000)

    reasons = (
        None,
        None,
        Reason.TIME_IN_FUTURE,
        Reason.TIME_TOO_OLD,
        Reason.NOT_A_NUMBER,
        Reason.NOT_A_NUMBER,
    )
    assert verdict.tolist() == [VERDICT[reason] if reason else 0 for reason in reasons]


@given(st.sets(st.integers(1, 40)), st.integers(1, 40), st.integers(1, 20))
def test_what_is_committed_is_known_and_only_that(held: set[int], first_seq: int, rows: int) -> None:
    record = a_record([[Row(1, i, (1.0, None, None, None)) for i in range(rows)]], first_seq=first_seq)
    batch = gather([record, a_record([[Row(2, 5, (1.0, None, None, None))]], epoch=10)])
    ranges = [(number, number) for number in sorted(held)]

    known = known_rows(batch, {0: ranges})

    assert known.tolist() == [seq in held for seq in range(first_seq, first_seq + rows)] + [False]


def test_an_acknowledgement_tells_committed_final_and_later() -> None:
    batch = gather([a_record([[Row(1, i, (1.0, None, None, None)) for i in range(6)]])])
    verdict = np.array([0, 0, VERDICT[Reason.CONFLICTING_SAMPLE], 0, VERDICT[Reason.TIME_IN_FUTURE], 0], "i1")

    [outcome] = outcomes(batch, verdict, from_us(5))

    ack = outcome.ack
    assert (outcome.tenant, outcome.device, ack.epoch) == ("t", "agent", 9)
    assert [(r.first, r.last) for r in ack.committed] == [(1, 2), (4, 4), (6, 6)]
    refused = {each.reason: (each.ranges[0].first, each.final, each.retry_after_s) for each in ack.refused}
    assert refused == {"CONFLICTING_SAMPLE": (3, True, 0), "TIME_IN_FUTURE": (5, False, 300)}
    # A final refusal is settled, a later one is not.
    known = np.zeros(6, dtype=np.bool_)
    assert settled_ranges(batch, verdict, known) == {("t", "agent", 9): "{[1,4],[6,6]}"}


def test_simple_devices_are_answered_by_number_and_keep_no_ranges() -> None:
    rows = [Row(1, 5, (1.0, None, None, None)), Row(2, 5, (1.0, None, None, None))]
    batch = gather([a_record([rows], simple=True)])
    verdict = np.zeros(2, dtype=np.int8)

    told = {
        outcome.device: outcome.ack.committed[0].first for outcome in outcomes(batch, verdict, from_us(5))
    }

    assert told == {"d1": 1, "d2": 2}
    assert settled_ranges(batch, verdict, np.zeros(2, dtype=np.bool_)) == {}


def test_what_came_by_http_is_answered_there_and_not_by_mqtt() -> None:  # U-P06
    row = Row(1, 5, (1.0, None, None, None))
    by_http, by_mqtt = a_record([[row]], simple=True), a_record([[row]], simple=True)
    by_http.door = "http-1"
    batch = gather([by_http, by_mqtt])
    told = outcomes(batch, np.zeros(2, dtype=np.int8), from_us(5))

    published: list[str] = []
    acks = Acks(lambda tenant, device, channel, payload, kind: not published.append(device))
    asyncio.run(acks.take([SimpleNamespace(value=Outcomes(outcomes=told).SerializeToString())]))  # type: ignore[list-item]

    assert [outcome.door for outcome in told] == ["http-1", ""]
    assert published == ["d1"]


def test_rollups_of_each_device_and_hour_are_marked_once() -> None:
    hour = 3_600_000_000
    rows = [Row(1, ts, (1.0, None, None, None)) for ts in (hour, hour + 300_000_000, 2 * hour - 1, 2 * hour)]

    assert dirty_hours(gather([a_record([rows])]).frame) == ([1, 1], [1, 2], [0, 0], [59, 0])


def parse_copy(data: bytes) -> list[list[bytes | None]]:
    """A small reader of the binary COPY format."""
    assert data[:11] == b"PGCOPY\n\xff\r\n\0"
    place, rows = 19, []
    while True:
        (fields,) = struct.unpack_from("!h", data, place)
        place += 2
        if fields == -1:
            assert place == len(data)
            return rows
        row: list[bytes | None] = []
        for _ in range(fields):
            (length,) = struct.unpack_from("!i", data, place)
            place += 4
            row.append(None if length == -1 else data[place : place + length])
            place += max(length, 0)
        rows.append(row)


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1),
                          st.integers(0, 2), st.floats(), st.floats()), max_size=20))  # fmt: skip
def test_what_is_encoded_reads_back_the_same(rows: list[tuple[int, int, int, float, float]]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    arrays = [np.array(c, dtype=d) for c, d in zip(columns, ("i4", "i8", "i2", "f8", "f8"), strict=True)]

    read = parse_copy(bytes(encode(arrays)))

    expected = [
        [
            struct.pack("!i", key), struct.pack("!q", ts), struct.pack("!h", quality),
            *(None if value != value else struct.pack("!d", value) for value in values),
        ]
        for key, ts, quality, *values in rows
    ]  # fmt: skip
    assert read == expected


def test_rows_are_copied_by_the_columns_that_they_fill() -> None:
    frame = gather([one_sided((1.0, 2.0), (None, 2.0), (3.0, 4.0), (None, None))]).frame

    found = {names: np.flatnonzero(rows).tolist() for names, rows in column_sets(frame.values, len(frame))}

    assert found == {("temp_c", "soc_pct"): [0, 2], ("soc_pct",): [1], (): [3]}


def test_with_too_many_sets_of_columns_there_is_one_copy_with_nulls() -> None:
    values = {name: np.array([NAN if (row >> i) & 1 else 1.0 for row in range(16)]) for i, name in
              enumerate(COLUMNS[:4])}  # fmt: skip

    [(names, rows)] = column_sets(values, 16)

    assert names == COLUMNS[:4]
    assert rows.all()


def due(rows: int, age_s: float) -> float:
    return Due(batch_size=1_000, interval_s=1.0).in_s(rows=rows, age_s=age_s, idle_s=age_s)


def test_a_flush_is_due_at_its_size_or_its_age() -> None:
    assert due(1_000, 0) == 0  # P-039
    assert due(999, 0.25) == 0.75  # P-039: not before the timer
    assert due(1, 1.0) == 0  # P-040
    assert due(0, 1.5) == 0


def test_late_rows_gather_until_nothing_comes_any_more() -> None:
    late = Due(batch_size=1_000, interval_s=10.0, quiet_s=1.0)
    assert late.in_s(rows=1, age_s=5.0, idle_s=0.25) == 0.75
    assert late.in_s(rows=1, age_s=9.5, idle_s=0.0) == 0.5
    assert late.in_s(rows=1, age_s=1.0, idle_s=1.0) == 0


def test_a_buffer_moves_offsets_on_and_takes_nothing_twice() -> None:
    buffer, record = Buffer(), a_record([[Row(1, 1, (1.0, None, None, None))]])
    buffer.assign({0: 5, 1: 7})
    assert not buffer.wants(0, 4)
    assert not buffer.wants(2, 9)

    for offset in (5, 6):
        assert buffer.wants(0, offset)
        buffer.add(0, offset, record, 1, at_s=1.0)
    assert not buffer.wants(0, 6)
    buffer.add(1, 9, None, 0, at_s=2.0)
    assert (buffer.rows, buffer.first_at_s) == (2, 1.0)

    assert list(buffer.take().moves) == [(0, 5, 7), (1, 7, 10)]
    assert buffer.is_empty
    assert not buffer.wants(0, 6)
    buffer.add(0, 7, record, 1, at_s=3.0)
    assert list(buffer.take().moves) == [(0, 7, 8)]


AN_AGENTS: Final = Block(
    asset="a",
    device_key=1,
    ts_us=bytes(16),
    seq_offset=bytes(8),
    columns=[Column(quantity=1, values=bytes(16))],
)
SIMPLE: Final = Block(
    device_keys=struct.pack("<2I", 7, 7), ts_us=bytes(16), seq=bytes(16),
    columns=[Column(metric="fan_rpm", values=bytes(16))],
)  # fmt: skip


def a_block(block: Block, **different: object) -> Block:
    changed = Block()
    changed.CopyFrom(block)
    for name, value in different.items():
        changed.ClearField(name)  # type: ignore[arg-type]
        changed.MergeFrom(Block(**{name: value}))  # type: ignore[arg-type]
    return changed


@pytest.mark.parametrize(
    ("block", "epoch", "says"),
    [
        (a_block(AN_AGENTS, ts_us=bytes(15)), 5, "ts_us has 15 bytes"),
        (a_block(AN_AGENTS, seq_offset=bytes(4)), 5, "seq_offset has 4 bytes"),
        (a_block(AN_AGENTS, quality=bytes(3)), 5, "quality has 3 bytes"),
        (a_block(AN_AGENTS, columns=[Column(quantity=1, values=bytes(8))]), 5, "values has 8 bytes"),
        (a_block(AN_AGENTS, columns=[Column(quantity=9999, values=bytes(16))]), 5, "quantity 9999"),
        (a_block(SIMPLE, device_keys=b""), 0, "device_keys has 0 bytes"),
        (a_block(SIMPLE, device_keys=struct.pack("<2I", 7, 8)), 0, "not among the identities"),
        (a_block(SIMPLE, seq=bytes(8)), 0, "seq has 8 bytes"),
        (a_block(SIMPLE, ts_us=b"", device_keys=b"", seq=b""), 0, "fan_rpm has 16 bytes"),
        (AN_AGENTS, 0, "device_keys has 0 bytes"),
    ],
)
def test_a_record_whose_columns_do_not_fit_is_named_and_not_gathered(
    block: Block, epoch: int, says: str
) -> None:
    record = Record(epoch=epoch, blocks=[block], identities=[Identity(device_key=7, tenant="t", device="d")])

    good = Record(epoch=5, blocks=[AN_AGENTS])
    with pytest.raises(Misfit):
        gather([good, record])
    assert says in (fault_of(record) or "")


def test_a_record_that_fits_has_no_fault() -> None:
    identities = [Identity(device_key=7, tenant="t", device="d")]
    for record, rows in (
        (Record(epoch=5, blocks=[AN_AGENTS, AN_AGENTS]), 4),
        (Record(blocks=[SIMPLE], identities=identities), 2),
        (Record(), 0),
    ):
        assert (fault_of(record), count_rows(record), gather([record]).seq.size) == (None, rows, rows)


def test_a_flush_that_failed_has_told_nobody_anything() -> None:
    told, kind, now = Told(), (Sender("t", "d", 7), 1, 2), datetime(2026, 5, 1, tzinfo=UTC)

    told.begin(now)
    assert told.take(kind, 25) == 10
    told.begin(now)  # the same flush again
    assert told.take(kind, 25) == 10
    told.committed()
    told.begin(now)
    assert told.take(kind, 1) == 0
    told.committed()
    told.begin(now + timedelta(minutes=1))
    assert told.take(kind, 4) == 4
