"""`make bench-fleets`: processor seconds for a million points, with 1,000, 10,000 and 100,000 devices.

A hundred devices an agent, batches of 60 samples of 8 quantities, as fast as they are acknowledged.
"""

import os
import time
from dataclasses import dataclass
from functools import partial

from scripts.bench_fill import TENANT, agents_of, register
from scripts.bench_run import STORAGE, Window, a_platform, keep_json, load, options, plan_of
from scripts.bench_stack import report, run
from scripts.load.shapes import SHAPES, with_step

DEVICES_OF_AN_AGENT = 100
BACK_S = 3_600
STEP_US = 10_000
"""Few devices send much: with a second between samples they would soon be ahead of the clock, and refused."""


@dataclass(frozen=True, slots=True)
class Result:
    """By number of devices; the platform without the load generator."""

    cpu_s_per_million_points: dict[str, float]
    by_process: dict[str, dict[str, float]]
    points_per_s: dict[str, float]
    largest_over_smallest: float
    storage: str
    cores: int
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        each = ", ".join(
            f"{int(devices):,} devices {cost:.2f}" for devices, cost in self.cpu_s_per_million_points.items()
        )
        return (
            f"CPU-seconds for a million points: {each}; largest over smallest "
            f"{self.largest_over_smallest:.2f}; load before {self.load_1m_before}"
        )


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=30, help="measured with each number (30)")
    wanted = parser.parse_args()
    load_before = os.getloadavg()[0]
    windows: dict[str, Window] = {}
    shape = with_step(SHAPES["batch"], STEP_US)
    for devices in wanted.devices:
        agents = max(1, devices // DEVICES_OF_AN_AGENT)
        fill = partial(register, agents=agents, devices=DEVICES_OF_AN_AGENT)
        # An agent alone is held back by its quota, which is not what is asked here.
        with a_platform(fill, {"INGEST_AGENT_RATE": "0"}) as (stack, _):
            start_us = int((time.time() - BACK_S) * 1e6)
            plan = plan_of(stack, tenant=TENANT, shape=shape, window=1_000, start_us=start_us)
            names = agents_of(agents, DEVICES_OF_AN_AGENT)
            windows[str(devices)] = load(stack, plan, names, warm_up_s=wanted.warm_up, seconds=wanted.seconds)
    costs = {name: window.cpu_s_per_million_points() for name, window in windows.items()}
    totals = {
        name: round(sum(cost for part, cost in cost_of.items() if part != "load generator"), 3)
        for name, cost_of in costs.items()
    }
    result = Result(
        cpu_s_per_million_points=totals,
        by_process=costs,
        points_per_s={name: round(window.points_per_s) for name, window in windows.items()},
        largest_over_smallest=round(max(totals.values()) / min(totals.values()), 3),
        storage=STORAGE,
        cores=os.cpu_count() or 0,
        load_1m_before=round(load_before, 2),
    )
    if wanted.keep:
        keep_json("bench-fleets", result)
    report(result)


if __name__ == "__main__":
    run(main)
