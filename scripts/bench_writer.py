"""`python -m scripts.bench_writer`: CPU time a row costs the writer, from Record bytes to COPY bytes.

Batches of agents: 60 samples of 8 quantities. Counted is what our code does: decode, gather, drop what is
known, judge, sort, merge, acknowledge, encode. Not counted: Kafka, PostgreSQL, the network. Prints JSON and
a line, and fails when even the least disturbed round costs 1 µs a row or more.
"""

import json
import sys
import time
from datetime import UTC, datetime
from statistics import median
from typing import Final

import numpy as np

from overwatt.v1.telemetry_pb2 import Block, Column, Record
from services.ingest.copy_format import arrays_of, column_sets, encode
from services.ingest.flush import dirty_hours, known_rows, outcomes, settled_ranges
from services.ingest.frames import judge, merge
from services.ingest.gather import count_rows, gather
from services.ingest.heap import keep_heap
from services.ingest.late import late_rows
from services.runtime.clock import to_us

BATCHES: Final = 200
SAMPLES: Final = 60
QUANTITIES: Final = 8
ROUNDS: Final = 200
LIMIT_US: Final = 1.0
NOW: Final = datetime(2026, 5, 1, tzinfo=UTC)


def make_records() -> list[bytes]:
    """A flush of 200 agents with a second of data a sample."""
    chance = np.random.default_rng(1)
    start_us = to_us(NOW) - SAMPLES * 1_000_000
    times = (start_us + np.arange(SAMPLES, dtype="<i8") * 1_000_000).tobytes()
    offsets = np.arange(SAMPLES, dtype="<u4").tobytes()
    return [
        Record(
            tenant="tenant-a",
            device=f"site-{number}",
            epoch=number + 1,
            first_seq=SAMPLES * 1_000 + 1,
            received_at_us=start_us,
            blocks=[
                Block(
                    asset=f"battery-{number}",
                    device_key=number + 1,
                    ts_us=times,
                    seq_offset=offsets,
                    columns=[
                        Column(quantity=quantity, values=chance.normal(size=SAMPLES).astype("<f8").tobytes())
                        for quantity in range(1, QUANTITIES + 1)
                    ],
                )
            ],
        ).SerializeToString()
        for number in range(BATCHES)
    ]


def flush(payloads: list[bytes]) -> tuple[int, int]:
    """All that the writer computes for one flush; rows and bytes of COPY."""
    records = [Record.FromString(payload) for payload in payloads]
    rows = sum(map(count_rows, records))
    batch = gather(records)
    # As when every spool has sent before: one range of committed numbers each.
    known = known_rows(batch, {place: [(1, SAMPLES * 1_000)] for place in range(len(batch.senders))})
    now_us = to_us(NOW)
    oldest_us = now_us - 80 * 86_400_000_000
    assert not late_rows(batch, now_us=now_us, oldest_us=oldest_us).any()
    verdict = judge(batch.frame, now_us=now_us, oldest_us=oldest_us)
    frame = merge(batch.frame.where(~known & (verdict == 0))).frame
    size = 0
    for names, stored in column_sets(frame.values, len(frame)):
        size += len(encode(arrays_of(frame.where(stored), names)))
    settled_ranges(batch, verdict, known)
    dirty_hours(frame)
    outcomes(batch, verdict, NOW)
    return rows, size


def main() -> None:
    """Measure, print, judge."""
    keep_heap()
    payloads = make_records()
    rows, size = flush(payloads)
    costs_us = []
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        flush(payloads)
        costs_us.append((time.process_time_ns() - begun) / 1e3 / rows)
    result = {
        "us_per_row": round(median(costs_us), 3),
        "us_per_row_min": round(min(costs_us), 3),
        "us_per_row_max": round(max(costs_us), 3),
        "rows": rows,
        "quantities": QUANTITIES,
        "copy_bytes_per_row": round(size / rows, 1),
        "limit_us_per_row": LIMIT_US,
    }
    print(json.dumps(result))
    print(
        f"writer: {result['us_per_row']} µs CPU a row of {QUANTITIES} quantities, undisturbed "
        f"{result['us_per_row_min']} (limit {LIMIT_US:g}); {rows} rows a flush"
    )
    if median(costs_us) >= LIMIT_US:
        sys.exit(1)


if __name__ == "__main__":
    main()
