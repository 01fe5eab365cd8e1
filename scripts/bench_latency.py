"""`make bench-latency`: how long a batch takes from its publish to the acknowledgement of its commit.

1,000 agents send 100,000 points/s together, once with TIMESCALE_FLUSH_INTERVAL_MS=10 and once with the
default settings. The acknowledgement leaves after the commit, so a query could see the rows a little earlier.
"""

import os
from dataclasses import dataclass

from scripts.bench_fill import TENANT, agents_of, register
from scripts.bench_run import STORAGE, Window, a_platform, keep, load, options, plan_of
from scripts.bench_stack import report, run
from scripts.load.shapes import SHAPES

SETTINGS = {"10 ms": {"TIMESCALE_FLUSH_INTERVAL_MS": "10"}, "defaults": {}}


@dataclass(frozen=True, slots=True)
class Result:
    """By flush interval."""

    delay: dict[str, dict[str, float]]
    points_per_s: dict[str, float]
    cpu_cores: dict[str, dict[str, float]]
    agents: int
    storage: str
    cores: int
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        each = "; ".join(
            f"{name}: p50 {delay['p50_s'] * 1e3:.0f} ms, p99 {delay['p99_s'] * 1e3:.0f} ms at "
            f"{self.points_per_s[name]:,.0f} points/s"
            for name, delay in self.delay.items()
        )
        return f"publish to acknowledged commit, {each}; load before {self.load_1m_before}"


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--points", type=float, default=100_000, help="a second, of all together (100000)")
    parser.add_argument("--seconds", type=float, default=40, help="measured with each setting (40)")
    wanted = parser.parse_args()
    load_before, shape = os.getloadavg()[0], SHAPES["batch"]
    interval_s = wanted.agents * shape.rows * shape.points / wanted.points
    windows: dict[str, Window] = {}
    for name, settings in SETTINGS.items():
        with a_platform(lambda stack: register(stack, agents=wanted.agents), settings) as (stack, _):
            plan = plan_of(stack, tenant=TENANT, shape=shape, interval_s=interval_s)
            names = agents_of(wanted.agents)
            windows[name] = load(stack, plan, names, warm_up_s=wanted.warm_up, seconds=wanted.seconds)
    result = Result(
        delay={name: window.delay() for name, window in windows.items()},
        points_per_s={name: round(window.points_per_s) for name, window in windows.items()},
        cpu_cores={name: window.cpu_cores() for name, window in windows.items()},
        agents=wanted.agents,
        storage=STORAGE,
        cores=os.cpu_count() or 0,
        load_1m_before=round(load_before, 2),
    )
    if wanted.keep:
        keep("bench-latency", result, windows["10 ms"])
    report(result)


if __name__ == "__main__":
    run(main)
