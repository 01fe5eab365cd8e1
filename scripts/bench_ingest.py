"""`make bench-ingest`: points a second from agents' batches to committed rows, beside raw COPY of them.

Everything is real and on this machine: Mosquitto (QoS 1), the gateway, Kafka (acks=all, idempotent), the
writer, PostgreSQL (synchronous_commit on), rollups running. 1,000 agents of ten devices each send 60 samples
of 8 canonical quantities a message into tables that hold rows already; 1 % of the messages are late, 0.1 %
come twice. Samples without an acknowledgement are bounded, so what is measured is a pace that holds.
Afterwards stored rows are copied by one COPY, in their order, into an identical empty table.

lag: from the moment a batch became due to its acknowledgement, which is sent after the commit; the average
of ten seconds, at the end and at minute 3 (or a third of the run, if that is shorter).
"""

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from statistics import fmean

from scripts.bench_fill import TENANT, agents_of, preload, raw_copy, register
from scripts.bench_meter import between
from scripts.bench_run import STORAGE, Window, a_platform, keep, load, options, plan_of
from scripts.bench_stack import report, run, say
from scripts.load.shapes import SHAPES, with_step
from scripts.local.stack import Stack

BACK_S = 90 * 60
"""Where the data begin before now: nothing of it late, and enough of it for ten minutes."""
STEP_US = 500_000
ROLLUPS_WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class Result:
    """Points are values: a sample of a batch has eight."""

    shape: str
    points_per_s: float
    rows_per_s: float
    seconds: float
    raw_copy_points_per_s: float
    ratio_to_raw_copy: float
    cpu_cores: dict[str, float]
    cpu_s_per_million_points: dict[str, float]
    delay: dict[str, float]
    lag_early_s: float
    lag_end_s: float
    rollups_behind_s: float
    late_rows: int
    repeated_rows: int
    refused: dict[str, int]
    rows_before: int
    storage: str
    devices: int
    agents: int
    cores: int
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        cpu = ", ".join(f"{name} {cores:.2f}" for name, cores in self.cpu_cores.items())
        return (
            f"{self.points_per_s:,.0f} points/s over {self.seconds:.0f} s, {self.ratio_to_raw_copy:.2f} of "
            f"raw COPY ({self.raw_copy_points_per_s:,.0f} points/s) on {self.storage}; lag "
            f"{self.lag_early_s:.1f} s early, {self.lag_end_s:.1f} s at the end; rollups "
            f"{self.rollups_behind_s:.0f} s behind; CPU cores: {cpu}; load before {self.load_1m_before:.2f}"
        )


def lag_s(window: Window, at_s: float) -> float:
    """Average of the ten seconds before."""
    delays = between(window.delays, at_s - 10, at_s)
    return round(fmean(each.delay_s for each in delays), 2) if delays else float("nan")


def rollups_behind_s(stack: Stack) -> float:
    """How long the rollups take, after the load has ended, until no hour waits for them."""
    begun_s = time.monotonic()
    while stack.sql("select exists (select from rollup_dirty)") == "t":
        if time.monotonic() - begun_s > ROLLUPS_WITHIN_S:
            return float("inf")
        time.sleep(0.5)
    return round(time.monotonic() - begun_s, 1)


def measure(wanted: argparse.Namespace, shape_name: str) -> Result:
    """One run."""
    shape = with_step(SHAPES[shape_name], STEP_US)
    names = agents_of(wanted.agents, wanted.devices)
    load_before = os.getloadavg()[0]
    before = wanted.preload * 1.1
    with a_platform(lambda stack: fill(stack, wanted)) as (stack, _):
        start_us = int((time.time() - BACK_S) * 1e6)
        plan = plan_of(
            stack, tenant=TENANT, shape=shape, start_us=start_us, late=wanted.late, repeated=wanted.repeated
        )
        window = load(stack, plan, names, warm_up_s=wanted.warm_up, seconds=wanted.minutes * 60)
        behind_s = rollups_behind_s(stack)
        for part in ("ingest-gateway", "ingest-writer", "provisioning"):
            stack.stop_part(part)
        say("  raw COPY of stored rows")
        table, values = ("telemetry_other", 1) if shape.form == "narrow" else ("telemetry", shape.points)
        copy_s, copied = asyncio.run(
            raw_copy(stack.env()["DATABASE_URL"], table, start_us, wanted.raw_rows * shape.points // values)
        )
        if shape.form == "narrow":
            extra_s, _ = asyncio.run(
                raw_copy(stack.env()["DATABASE_URL"], "telemetry", start_us, copied // shape.points)
            )
            copy_s += extra_s
    raw_points_per_s = copied * values / copy_s
    early_s = window.first.at_s + min(180.0, window.seconds / 3)
    result = Result(
        shape=shape_name,
        points_per_s=round(window.points_per_s),
        rows_per_s=round(window.rows_per_s),
        seconds=round(window.seconds, 1),
        raw_copy_points_per_s=round(raw_points_per_s),
        ratio_to_raw_copy=round(window.points_per_s / raw_points_per_s, 3),
        cpu_cores=window.cpu_cores(),
        cpu_s_per_million_points=window.cpu_s_per_million_points(),
        delay=window.delay(),
        lag_early_s=lag_s(window, early_s),
        lag_end_s=lag_s(window, window.last.at_s),
        rollups_behind_s=behind_s,
        late_rows=window.counts.late_rows,
        repeated_rows=window.counts.repeated_rows,
        refused=window.counts.reasons,
        rows_before=int(before),
        storage=STORAGE,
        devices=wanted.agents * wanted.devices,
        agents=wanted.agents,
        cores=os.cpu_count() or 0,
        load_1m_before=load_before,
    )
    if wanted.keep:
        keep("bench-ingest" if shape_name == "batch" else f"bench-{shape_name}", result, window)
    return result


def fill(stack: Stack, wanted: argparse.Namespace) -> None:
    """A registry, and older rows of the same devices."""
    register(stack, agents=wanted.agents, devices=wanted.devices)
    if wanted.preload:
        say(f"  loading {wanted.preload * 1.1:,.0f} older rows")
        asyncio.run(
            preload(
                stack.env()["DATABASE_URL"],
                rows_today=wanted.preload // 10,
                rows_older=wanted.preload,
                keys=wanted.agents * wanted.devices,
            )
        )


def with_options(parser: argparse.ArgumentParser, *, minutes: float, preload: int) -> argparse.ArgumentParser:
    """Shared with `make bench-narrow`."""
    parser.add_argument("--minutes", type=float, default=minutes, help=f"the measured window ({minutes:g})")
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--devices", type=int, default=10, help="of each agent (10)")
    parser.add_argument(
        "--preload", type=int, default=preload, help=f"rows of days before; a tenth more today ({preload})"
    )
    parser.add_argument("--late", type=float, default=0.01, help="share of messages (0.01)")
    parser.add_argument("--repeated", type=float, default=0.001, help="share of messages (0.001)")
    parser.add_argument("--raw-rows", type=int, default=3_000_000, help="copied at most (3000000)")
    return parser


def main() -> None:
    """Run it."""
    report(measure(with_options(options(__doc__), minutes=10, preload=20_000_000).parse_args(), "batch"))


if __name__ == "__main__":
    run(main)
