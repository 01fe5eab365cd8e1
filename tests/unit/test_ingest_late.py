"""Late rows: found, cut out of their records, grouped by hour."""

import struct
from datetime import UTC, datetime

import numpy as np

from overwatt.v1.telemetry_pb2 import Block, Column, Identity, Record
from services.ingest.gather import gather
from services.ingest.late import HOUR_US, LATE_US, by_hour, late_records, late_rows
from services.runtime.clock import to_us

NOW_US = to_us(datetime(2026, 5, 1, 12, tzinfo=UTC))
OLDEST_US = NOW_US - 80 * 24 * HOUR_US


def an_agents(*times_us: int, first_seq: int = 1, assets: int = 1) -> Record:
    """The same times for each asset; the value of a row is its number."""
    rows = len(times_us)
    blocks = [
        Block(
            asset=f"bat-{asset}",
            device_key=asset + 1,
            ts_us=struct.pack(f"<{rows}q", *times_us),
            seq_offset=struct.pack(f"<{rows}I", *range(asset * rows, asset * rows + rows)),
            quality=bytes(range(rows)),
            columns=[Column(quantity=10, values=struct.pack(f"<{rows}d", *range(rows)))],
        )
        for asset in range(assets)
    ]
    return Record(tenant="t", device="agent", epoch=9, first_seq=first_seq, blocks=blocks)


def simple(*times_us: int) -> Record:
    rows = len(times_us)
    block = Block(
        ts_us=struct.pack(f"<{rows}q", *times_us),
        device_keys=struct.pack(f"<{rows}I", *([7] * rows)),
        seq=struct.pack(f"<{rows}Q", *range(1, rows + 1)),
        columns=[Column(metric="door", values=struct.pack(f"<{rows}d", *range(rows)))],
    )
    return Record(blocks=[block], identities=[Identity(device_key=7, tenant="t", device="door")])


def test_late_is_older_than_two_hours_and_still_kept() -> None:
    edge = NOW_US - LATE_US
    batch = gather([an_agents(edge, edge - 1, OLDEST_US, OLDEST_US - 1, NOW_US)])

    is_late = late_rows(batch, now_us=NOW_US, oldest_us=OLDEST_US)

    assert is_late.tolist() == [False, True, True, False, False]


def test_late_and_live_rows_part_without_losing_or_changing_any() -> None:
    old = NOW_US - 5 * HOUR_US
    records = [
        an_agents(NOW_US, NOW_US - 1),
        an_agents(old, NOW_US - 2, old + 1, first_seq=10, assets=2),
        simple(NOW_US - 3, old + 2),
        an_agents(old + 3, old + 4, first_seq=30),
    ]
    batch = gather(records)
    is_late = late_rows(batch, now_us=NOW_US, oldest_us=OLDEST_US)

    live, late = batch.where(~is_late), gather(late_records(records, is_late))

    assert live.frame.origin.tolist() == list(range(len(live.frame)))
    assert len(late_records(records, is_late)) == 3
    assert late.frame.ts_us.tolist() == [old, old + 1, old, old + 1, old + 2, old + 3, old + 4]
    assert late.seq.tolist() == [10, 12, 13, 15, 2, 30, 31]
    assert late.frame.key.tolist() == [1, 1, 2, 2, 7, 1, 1]
    assert late.frame.quality.tolist() == [0, 2, 0, 2, 0, 0, 1]
    door = late.frame.metrics.index("door")
    assert (late.frame.other.metric.tolist(), late.frame.other.value.tolist()) == ([door], [1.0])
    temp = late.frame.values["temp_c"]
    assert temp[~np.isnan(temp)].tolist() == [0, 2, 0, 2, 0, 1]
    both = sorted([*live.frame.ts_us.tolist(), *late.frame.ts_us.tolist()])
    assert both == sorted(batch.frame.ts_us.tolist())


def test_rows_are_grouped_by_hour_oldest_first() -> None:
    hour = NOW_US - 5 * HOUR_US
    hours = list(by_hour(gather([an_agents(hour + HOUR_US, hour, hour + 1, hour - 1)])))

    assert [each.frame.ts_us.tolist() for each in hours] == [[hour - 1], [hour, hour + 1], [hour + HOUR_US]]
    assert [each.seq.tolist() for each in hours] == [[4], [2, 3], [1]]
