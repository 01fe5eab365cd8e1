"""`make bench-connections`: 19,000 agents on one broker, each with its connection, each sending every 10 s.

All connections come from this one process; a hard limit of 20,000 files a process is what bounds the number.
"""

import os
import resource
from dataclasses import dataclass

from scripts.bench_fill import TENANT, agents_of, register
from scripts.bench_run import STORAGE, a_platform, keep, load, options, plan_of
from scripts.bench_stack import report, run
from scripts.load.shapes import SHAPES
from scripts.local.problem import Problem

SPARE_FILES = 500


@dataclass(frozen=True, slots=True)
class Result:
    """Counts, and seconds from publish to acknowledged commit."""

    agents: int
    connected: int
    lost_connections: int
    messages_per_s: float
    points_per_s: float
    delay: dict[str, float]
    cpu_cores: dict[str, float]
    broker_rss_bytes: int
    storage: str
    cores: int
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        cpu = ", ".join(f"{name} {cores:.2f}" for name, cores in self.cpu_cores.items())
        return (
            f"{self.connected:,} of {self.agents:,} agents connected, {self.lost_connections} lost; "
            f"{self.messages_per_s:,.0f} messages/s; publish to acknowledged commit p50 "
            f"{self.delay['p50_s']:.2f} s, p99 {self.delay['p99_s']:.2f} s; broker "
            f"{self.broker_rss_bytes / 1e6:.0f} MB; CPU cores: {cpu}; load before {self.load_1m_before}"
        )


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    parser.add_argument("--agents", type=int, default=19_000)
    parser.add_argument("--interval", type=float, default=10, help="seconds between two messages (10)")
    parser.add_argument("--seconds", type=float, default=30, help="the measured window (30)")
    wanted = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < wanted.agents + SPARE_FILES:
        raise Problem(f"a process may open {most} files: give --agents {most - SPARE_FILES} or fewer")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load_before, shape = os.getloadavg()[0], SHAPES["small"]
    with a_platform(lambda stack: register(stack, agents=wanted.agents, devices=1)) as (stack, _):
        plan = plan_of(stack, tenant=TENANT, shape=shape, interval_s=wanted.interval)
        names = agents_of(wanted.agents, devices=1)
        window = load(stack, plan, names, warm_up_s=wanted.warm_up, seconds=wanted.seconds)
    result = Result(
        agents=wanted.agents,
        connected=window.connected,
        lost_connections=window.lost_connections,
        messages_per_s=round(window.rows_per_s / shape.rows),
        points_per_s=round(window.points_per_s),
        delay=window.delay(),
        cpu_cores=window.cpu_cores(),
        broker_rss_bytes=window.last.rss_bytes["mosquitto"],
        storage=STORAGE,
        cores=os.cpu_count() or 0,
        load_1m_before=round(load_before, 2),
    )
    if wanted.keep:
        keep("bench-connections", result, window)
    report(result)


if __name__ == "__main__":
    run(main)
