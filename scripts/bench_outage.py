"""`make bench-outage`: the writer is killed under a quarter of the floor's load, and comes back.

1,000 agents send 150,000 points/s; each keeps at most 30 s of data without an acknowledgement and remembers
the rest, as edge_agent's spool does. Printed: how long after the writer's return a batch that became due
after it is acknowledged, and when nothing of the outage waits any more.
"""

import asyncio
import os
import time
from dataclasses import dataclass, field

from scripts.bench_fill import TENANT, agents_of, register
from scripts.bench_run import STORAGE, a_platform, keep, load, options, plan_of
from scripts.bench_stack import report, run, say
from scripts.load.fleet import Fleet
from scripts.load.shapes import SHAPES, with_step
from scripts.local.problem import Problem
from scripts.local.stack import Stack
from scripts.plots import Mark

WINDOW_S = 30.0
STEP_US = 500_000


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds, but for what names say."""

    outage_s: float
    newest_acknowledged_s: float
    """after the return: the first batch that became due after it"""
    drained_s: float
    """after the return: nothing of the outage waits"""
    drained_over_outage: float
    remembered_messages: int
    resent_messages: int
    points_per_s: float
    delay: dict[str, float]
    agents: int
    storage: str
    cores: int
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        return (
            f"writer away for {self.outage_s:.0f} s at {self.points_per_s:,.0f} points/s: newest data "
            f"acknowledged {self.newest_acknowledged_s:.1f} s after its return, all of the outage after "
            f"{self.drained_s:.0f} s ({self.drained_over_outage:.2f} of it); "
            f"{self.remembered_messages:,} messages had waited; load before {self.load_1m_before}"
        )


@dataclass
class Outage:
    """Kills the writer, starts it again, watches until all is as before."""

    stack: Stack
    seconds: float
    away_s: float = 0.0
    back_s: float = 0.0
    remembered: int = 0
    newest_s: float = 0.0
    drained_s: float = 0.0
    within_s: float = field(default=0.0)

    async def __call__(self, fleet: Fleet) -> None:
        """In the middle of the load."""
        say(f"  writer killed; {self.seconds:g} s without it")
        usual = fleet.waiting_rows
        self.away_s = time.monotonic()
        await asyncio.to_thread(self.stack.kill_part, "ingest-writer")
        await asyncio.sleep(self.seconds)
        self.remembered = fleet.remembered
        await asyncio.to_thread(self.stack.start_part, "ingest-writer")
        self.back_s = time.monotonic()
        say(f"  writer back; {self.remembered:,} messages wait in spools")
        while fleet.remembered or fleet.waiting_rows > 2 * usual + 10_000:
            await asyncio.sleep(0.1)
            if time.monotonic() - self.back_s > self.seconds + 120:
                raise Problem(f"{fleet.remembered} messages still wait: see {self.stack.home / 'log'}")
        self.drained_s = time.monotonic() - self.back_s
        fresh = [each.at_s for each in fleet.delays if each.at_s - each.delay_s > self.back_s]
        self.newest_s = min(fresh, default=float("nan")) - self.back_s


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--points", type=float, default=150_000, help="a second (150000)")
    parser.add_argument("--outage", type=float, default=600, help="seconds (600)")
    wanted = parser.parse_args()
    load_before, shape = os.getloadavg()[0], with_step(SHAPES["batch"], STEP_US)
    interval_s = wanted.agents * shape.rows * shape.points / wanted.points
    with a_platform(lambda stack: register(stack, agents=wanted.agents)) as (stack, _):
        window = max(2, round(WINDOW_S / interval_s))
        plan = plan_of(stack, tenant=TENANT, shape=shape, interval_s=interval_s, window=window)
        outage = Outage(stack, wanted.outage)
        seen = load(stack, plan, agents_of(wanted.agents), warm_up_s=wanted.warm_up, during=outage)
    away_s = outage.back_s - outage.away_s
    result = Result(
        outage_s=round(away_s, 1),
        newest_acknowledged_s=round(outage.newest_s, 2),
        drained_s=round(outage.drained_s, 1),
        drained_over_outage=round(outage.drained_s / away_s, 3),
        remembered_messages=outage.remembered,
        resent_messages=seen.counts.resent,
        points_per_s=wanted.points,
        delay=seen.delay(),
        agents=wanted.agents,
        storage=STORAGE,
        cores=os.cpu_count() or 0,
        load_1m_before=round(load_before, 2),
    )
    if wanted.keep:
        start_s = seen.meter.readings[0].at_s
        marks = [
            Mark(outage.away_s - start_s, "writer killed"),
            Mark(outage.back_s - start_s, "writer back"),
            Mark(outage.back_s + outage.drained_s - start_s, "all stored"),
        ]
        keep("bench-outage", result, seen, marks)
    report(result)


if __name__ == "__main__":
    run(main)
