"""`python -m scripts.bench_erasure`: how long one box of many takes to erase, and what ingest notices of it.

A PostgreSQL of its own, without TimescaleDB. Every box has one battery; a row has 8 quantities, so 8 points.
Measured are whole erasures (tombstones, H-022's transaction, four levels of rollups) while a writer flushes
batches of the other boxes as fast as it can, as it also does before with nothing else going on: first one
erasure every few seconds, which is already more than any operator has, then one right after the other.
"""

import argparse
import asyncio
import json
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

import asyncpg

from overwatt.topics import TELEMETRY
from overwatt.v1.telemetry_pb2 import Block, Column, Record
from scripts.local import services
from scripts.local.ports import Ports
from scripts.local.stack import Stack
from services.ingest import store
from services.ingest.flush import Flush, Taken
from services.runtime.clock import now, to_us
from services.runtime.postgres import connect_pool, transaction

TENANT: Final = "bench"
QUANTITIES: Final = 8
DAYS: Final = 30
APART: Final = 6
"""Boxes erased with a pause after each."""
PAUSE_S: Final = 5.0
CROWDED: Final = 14
"""Boxes erased one right after the other."""
ERASED: Final = APART + CROWDED
ALONE_S: Final = 5.0
BATCHES: Final = 50
SAMPLES: Final = 20
COLUMNS: Final = (
    "active_power_w, reactive_power_var, voltage_v, current_a, frequency_hz, soc_pct, temp_c,"
    " energy_import_wh"
)

REGISTRY: Final = f"""
insert into tenant (tenant_id, name) values ('{TENANT}', '{TENANT}');
insert into "user" (user_id, tenant_id, email, role)
  select md5('user-' || n)::uuid, '{TENANT}', 'user-' || n || '@example.org', 'customer'
  from generate_series(1, $boxes) n;
insert into box (tenant_id, box_id, user_id)
  select '{TENANT}', 'box-' || n, md5('user-' || n)::uuid from generate_series(1, $boxes) n;
insert into device (tenant_id, device_id, box_id, type)
  select '{TENANT}', 'battery-' || n, 'box-' || n, 'battery' from generate_series(1, $boxes) n;"""
FILL_DAY: Final = f"""
insert into telemetry (device_key, ts, {COLUMNS})
select k, $1::timestamptz + s * $2::interval, s, s, 230 + s % 7, s, 50, s % 100, 20 + s % 5, s
from generate_series(1, $3::int) k, generate_series(0, $4::int - 1) s"""
FILL_ROLLUP: Final = """
insert into telemetry_{level} (device_key, bucket, n, active_power_w_sum, active_power_w_n)
select device_key, date_bin('{width}', ts, timestamptz '2000-01-01 00:00+00'),
  count(*), sum(active_power_w), count(*)
from telemetry group by 1, 2"""
WIDTHS: Final = {"1m": "1 minute", "15m": "15 minutes", "1h": "1 hour", "1d": "1 day"}
REQUEST: Final = """
insert into data_request (tenant_id, user_id, boxes, requested_at, target_at, due_at)
select tenant_id, user_id, array[box_id], now(), now(), now() from box where box_id = $1
returning request_id"""


@dataclass
class Pace:
    """Flushes of the other boxes."""

    seconds: list[float] = field(default_factory=list)

    def told(self) -> dict[str, float]:
        """Points a second while flushing, and the longest flush."""
        points = len(self.seconds) * BATCHES * SAMPLES * QUANTITIES
        return {
            "points_per_s": round(points / sum(self.seconds)),
            "median_flush_ms": round(median(self.seconds) * 1000, 1),
            "longest_flush_ms": round(max(self.seconds) * 1000, 1),
        }


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench_erasure", description=__doc__)
    parser.add_argument("--points", type=int, default=50_000_000, help="in the database (50,000,000)")
    parser.add_argument("--boxes", type=int, default=1_000, help="that share them (1,000)")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="overwatt-bench-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        with Stack(directory, Ports.free()) as stack:
            stack.start("postgres")
            services.migrate(stack.env()["DATABASE_URL"])
            found = asyncio.run(measure(stack.env()["DATABASE_URL"], options.points, options.boxes))
        stack.remove_data()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(found, indent=2))
    alone, apart, crowded = (found[f"ingest_{how}"] for how in ("alone", "apart", "crowded"))
    print(
        f"One box of {options.boxes:,} with {found['points']:,} points: {found['median_ms']} ms"
        f" (longest {found['longest_ms']} ms). Ingest alone: {alone['points_per_s']:,} points/s; beside one"
        f" erasure every {PAUSE_S:g} s: {apart['points_per_s']:,}, longest flush"
        f" {apart['longest_flush_ms']} ms;"
        f" beside one right after the other: {crowded['points_per_s']:,}."
    )
    sys.exit(0 if found["left"] == 0 else 1)


async def measure(url: str, points: int, boxes: int) -> dict[str, Any]:
    """All figures."""
    db = await asyncpg.connect(url)
    rows = await fill(db, points, boxes)
    alone, apart, crowded = Pace(), Pace(), Pace()
    async with connect_pool(url, name="bench", max_size=2) as pool:
        writer = Writer(pool, range(ERASED + 1, boxes + 1))
        await writer.begin()
        await writer.run(alone, for_s=ALONE_S)
        times = await beside(writer, apart, erase(db, range(1, APART + 1), pause_s=PAUSE_S))
        times += await beside(writer, crowded, erase(db, range(APART + 1, ERASED + 1), pause_s=0))
    left = await db.fetchval(
        "select count(*) from telemetry where device_key <= $1", ERASED
    ) + await db.fetchval("select count(*) from telemetry_1m where device_key <= $1", ERASED)
    await db.close()
    return {
        "boxes": boxes,
        "points": rows * QUANTITIES,
        "rows_of_a_box": rows // boxes,
        "erased_boxes": len(times),
        "median_ms": round(median(times) * 1000),
        "longest_ms": round(max(times) * 1000),
        "left": left,
        "ingest_alone": alone.told(),
        "ingest_apart": apart.told(),
        "ingest_crowded": crowded.told(),
    }


async def beside(writer: "Writer", pace: Pace, erasing: Coroutine[Any, Any, list[float]]) -> list[float]:
    """Flush for as long as boxes are erased; what `erasing` says."""
    task = asyncio.create_task(erasing)
    while not task.done():
        await writer.run(pace, for_s=0)
    return await task


async def fill(db: Any, points: int, boxes: int) -> int:
    """Rows in telemetry, evenly over boxes and days."""
    await db.execute(REGISTRY.replace("$boxes", str(boxes)))
    a_day = max(1, points // QUANTITIES // boxes // DAYS)
    first = now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    for day in range(DAYS):
        start = first + timedelta(days=day)
        await db.execute("select ensure_telemetry_partition($1)", start.date())
        await db.execute(FILL_DAY, start, timedelta(days=1) / a_day, boxes, a_day)
    for level, width in WIDTHS.items():
        await db.execute(FILL_ROLLUP.format(level=level, width=width))
    await db.execute("vacuum analyze")
    return a_day * DAYS * boxes


async def erase(db: Any, numbers: range, *, pause_s: float) -> list[float]:
    """Box after box, as provisioning's job does it; seconds each."""
    times = []
    for number in numbers:
        request = await db.fetchval(REQUEST, f"box-{number}")
        began = time.perf_counter()
        await db.execute("select entomb($1)", request)
        await db.execute("select * from erase_data($1)", request)
        while await db.fetchval("select erase_next_rollup($1)", request):
            pass
        times.append(time.perf_counter() - began)
        await asyncio.sleep(pause_s)
    return times


class Writer:
    """The real flush on records of the other boxes; its Kafka is an offset that counts up."""

    def __init__(self, pool: Any, keys: range) -> None:
        self._pool = pool
        self._flush = Flush(pool=pool, owner=uuid4(), retention_days=90)
        self._keys = keys
        self._offset = 0
        self._at_us = to_us(datetime.now(UTC)) - 3_600_000_000

    async def begin(self) -> None:
        """Take the partition."""
        async with transaction(self._pool) as db:
            await store.set_offset(db, TELEMETRY, 0, 0, uuid4())
            await store.ensure_partition(db, now().date())

    async def run(self, pace: Pace, *, for_s: float) -> None:
        """Flush until the time is over, at least once."""
        ends = time.perf_counter() + for_s
        while True:
            taken = Taken(self._records(), [(0, self._offset, self._offset + 1)])
            began = time.perf_counter()
            await self._flush.store(taken, now())
            pace.seconds.append(time.perf_counter() - began)
            self._offset += 1
            if time.perf_counter() >= ends:
                return

    def _records(self) -> list[Record]:
        self._at_us += SAMPLES * 1_000
        times = struct.pack(f"<{SAMPLES}q", *(self._at_us + i * 1_000 for i in range(SAMPLES)))
        values = struct.pack(f"<{SAMPLES}d", *range(SAMPLES))
        first = self._offset * BATCHES
        return [
            Record(
                tenant=TENANT,
                device=f"battery-{key}",
                epoch=key,
                first_seq=self._offset * SAMPLES + 1,
                blocks=[
                    Block(
                        device_key=key,
                        ts_us=times,
                        seq_offset=struct.pack(f"<{SAMPLES}I", *range(SAMPLES)),
                        columns=[Column(quantity=q, values=values) for q in range(1, QUANTITIES + 1)],
                    )
                ],
            )
            for key in (self._keys[(first + i) % len(self._keys)] for i in range(BATCHES))
        ]


if __name__ == "__main__":
    main()
