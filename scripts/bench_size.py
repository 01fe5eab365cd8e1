"""`make bench-size`: bytes that a point takes on disk, table and index, on plain PostgreSQL.

Ten devices write samples of 8 quantities, 60 a batch as an agent sends them. TimescaleDB's columnstore cannot
be had here as a server; its figure is taken where it runs.
"""

import asyncio
import os
from dataclasses import dataclass

from scripts.bench_fill import preload
from scripts.bench_run import STORAGE, keep_json, options
from scripts.bench_stack import a_home, a_stack, report, run

POINTS_A_ROW = 8
SIZES = (
    "select sum(pg_relation_size(c)), sum(pg_indexes_size(c)) from pg_partition_tree('telemetry') p, "
    "lateral (select p.relid::regclass as c) each where p.isleaf"
)


@dataclass(frozen=True, slots=True)
class Result:
    """Bytes for a point, not a row."""

    rows: int
    table_bytes_per_point: float
    index_bytes_per_point: float
    bytes_per_point: float
    storage: str
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        return (
            f"{self.bytes_per_point:.1f} bytes a point on disk (table {self.table_bytes_per_point:.1f}, "
            f"index {self.index_bytes_per_point:.1f}), not compressed, on {self.storage}"
        )


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    wanted = parser.parse_args()
    load_before = os.getloadavg()[0]
    with a_home() as home, a_stack(home, {}) as stack:
        stack.start("kafka", "postgres")
        stack.migrate()
        asyncio.run(
            preload(stack.env()["DATABASE_URL"], rows_today=0, rows_older=wanted.rows, keys=10, days=1)
        )
        table, index = (int(size) for size in stack.sql(SIZES).split("|"))
    points = wanted.rows * POINTS_A_ROW
    result = Result(
        rows=wanted.rows,
        table_bytes_per_point=round(table / points, 2),
        index_bytes_per_point=round(index / points, 2),
        bytes_per_point=round((table + index) / points, 2),
        storage=STORAGE,
        load_1m_before=round(load_before, 2),
    )
    if wanted.keep:
        keep_json("bench-size", result)
    report(result)


if __name__ == "__main__":
    run(main)
