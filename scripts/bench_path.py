"""`make bench-path`: how long a sample takes to a queryable row, and a dispatch to changed power.

It runs the whole platform in a home of its own with the demo's fleet, so what is measured is the demo's
load: seven assets read every second over Modbus. Printed: JSON, and a line for people.

- freshness: from the instant an agent stamped on a sample to the moment a query first saw its row
- dispatch to power: from the POST to the agent's first reading that changed, by its own stamp (U-D12)
- dispatch to row: from the POST to the moment a query first saw that reading
"""

import argparse
import asyncio
import json
import os
import platform as machine
import statistics
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from scripts.bench_stack import a_home, a_stack, report, run
from scripts.demo import hardware
from scripts.local.problem import Problem
from scripts.local.stack import Stack

POLL_S: Final = 0.005
NEW_ROWS: Final = """
select d.device_id, t.ts, t.active_power_w
from telemetry t join device d using (device_key)
where t.ts > $1
"""
CHANGED_W: Final = 50_000.0
"""Less than the smallest share of a dispatch here, more than the noise of a standing battery (0)."""
DISPATCHES_MW: Final = (12.0, -6.0)


@dataclass(frozen=True, slots=True)
class Row:
    """A row and when a query first saw it."""

    asset_id: str
    at: datetime
    power_w: float | None
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds, but for the counts."""

    samples: int
    freshness_p50_s: float
    freshness_p99_s: float
    freshness_max_s: float
    dispatches: int
    dispatch_to_power_p50_s: float
    dispatch_to_power_max_s: float
    dispatch_to_row_p50_s: float
    dispatch_to_row_max_s: float
    cores: int
    load_1m: float
    machine: str

    def line(self) -> str:
        """For people."""
        return (
            f"sample to row p50 {self.freshness_p50_s * 1e3:.0f} ms, p99 {self.freshness_p99_s * 1e3:.0f} ms "
            f"({self.samples} samples); dispatch to changed power p50 {self.dispatch_to_power_p50_s:.2f} s, "
            f"longest {self.dispatch_to_power_max_s:.2f} s; to its row {self.dispatch_to_row_p50_s:.2f} s, "
            f"longest {self.dispatch_to_row_max_s:.2f} s ({self.dispatches} dispatches)"
        )


async def watch(database_url: str, rows: list[Row]) -> None:
    """Append every new row to `rows` within a few milliseconds of its commit."""
    connection = await asyncpg.connect(database_url)
    seen: set[tuple[str, datetime]] = set()
    # Rows of several agents commit out of order: look back, and count each once.
    while True:
        since = datetime.now(UTC) - timedelta(seconds=30)
        found = await connection.fetch(NEW_ROWS, since)
        seen_at = datetime.now(UTC)
        for asset_id, at, power_w in found:
            if (asset_id, at) not in seen:
                seen.add((asset_id, at))
                rows.append(Row(asset_id, at, power_w, seen_at))
        await asyncio.sleep(POLL_S)


async def dispatch(api: str, mw: float) -> datetime:
    """POST a site dispatch; the instant before."""
    request = urllib.request.Request(
        f"{api}/dispatch",
        json.dumps({"site_id": "park", "mw": mw}).encode(),
        {"content-type": "application/json"},
    )
    asked_at = datetime.now(UTC)
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=10).read())
    return asked_at


async def first_change(
    rows: list[Row], before_w: dict[str, float], asked_at: datetime, limit_s: float
) -> Row:
    """The first row of any asset in `before_w` whose power moved after the dispatch."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        moved = [
            row
            for row in rows
            if row.at > asked_at
            and row.asset_id in before_w
            and row.power_w is not None
            and abs(row.power_w - before_w[row.asset_id]) > CHANGED_W
        ]
        if moved:
            return min(moved, key=lambda row: row.at)
        await asyncio.sleep(POLL_S)
    raise Problem(f"no battery's power moved within {limit_s:g} s of a dispatch")


async def measure(stack: Stack, batteries: list[str], seconds: float, dispatches: int) -> Result:
    """Freshness without any dispatch, then dispatches."""
    rows: list[Row] = []
    watcher = asyncio.create_task(watch(stack.env()["DATABASE_URL"], rows))
    try:
        while not {row.asset_id for row in rows} >= set(batteries):
            if watcher.done():
                watcher.result()
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(5)  # what was spooled before the platform knew the assets is not its pace
        rows.clear()
        begun_at = datetime.now(UTC)
        await asyncio.sleep(seconds)
        fresh = sorted((row.seen_at - row.at).total_seconds() for row in rows if row.at > begun_at)
        to_power, to_row = [], []
        for number in range(dispatches):
            before = {asset: _latest(rows, asset) for asset in batteries}
            asked_at = await dispatch(stack.env()["API_URL"], DISPATCHES_MW[number % len(DISPATCHES_MW)])
            row = await first_change(rows, before, asked_at, limit_s=30)
            to_power.append((row.at - asked_at).total_seconds())
            to_row.append((row.seen_at - asked_at).total_seconds())
            await asyncio.sleep(
                8
            )  # let the batteries reach their setpoint, so that the next change is its own
    finally:
        watcher.cancel()
    return Result(
        samples=len(fresh),
        freshness_p50_s=statistics.median(fresh),
        freshness_p99_s=fresh[min(len(fresh) - 1, int(len(fresh) * 0.99))],
        freshness_max_s=fresh[-1],
        dispatches=dispatches,
        dispatch_to_power_p50_s=statistics.median(to_power),
        dispatch_to_power_max_s=max(to_power),
        dispatch_to_row_p50_s=statistics.median(to_row),
        dispatch_to_row_max_s=max(to_row),
        cores=os.cpu_count() or 0,
        load_1m=os.getloadavg()[0],
        machine=f"{machine.machine()} {machine.system()}, everything on it",
    )


def _latest(rows: list[Row], asset: str) -> float:
    powers = [row for row in rows if row.asset_id == asset and row.power_w is not None]
    last = max(powers, key=lambda row: row.at)
    return last.power_w or 0.0


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long freshness is watched (60)")
    parser.add_argument("--dispatches", type=int, default=10, help="how many dispatches are timed (10)")
    arguments = parser.parse_args()
    with a_home() as home, ExitStack() as on_exit:
        assets = home / "assets.yaml"
        free = iter(range(15_400, 15_400 + hardware.asset_count()))
        sites = hardware.write_assets(assets, list(free))
        stack = on_exit.enter_context(a_stack(home, {"ASSETS_PATH": str(assets)}))
        stack.up()
        on_exit.enter_context(hardware.fleet(stack, assets))
        for site in sites:
            on_exit.enter_context(hardware.agent(stack, site, assets))
        batteries = [asset for asset in sites["park"] if "bess" in asset]
        result = asyncio.run(measure(stack, batteries, arguments.seconds, arguments.dispatches))
    report(result)


if __name__ == "__main__":
    run(main)
