"""One load on one platform: start what telemetry passes through, send, warm up, measure a window."""

import argparse
import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from scripts.bench_meter import Meter, Reading, between, cpu_s_per_million_points, percentiles, used
from scripts.bench_stack import a_home, a_stack, say
from scripts.load.fleet import Counts, Delay, Fleet, Plan
from scripts.local.ports import HOST
from scripts.local.problem import Problem
from scripts.local.stack import Stack
from scripts.plots import Mark, draw

FIGURES: Final = Path("docs/figures")
PARTS: Final = ("provisioning", "ingest-writer", "ingest-gateway")
STORAGE: Final = "plain PostgreSQL, day partitions, unique (device_key, ts)"
TELL_S: Final = 10.0


@contextmanager
def a_platform(
    fill: Callable[[Stack], None], settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Stack, Path]]:
    """Running, with what `fill` puts into its database before the services start."""
    # Kafka with its usual compilers: our default gives them up for a quick start.
    os.environ.setdefault("KAFKA_JVM_OPTS", "")
    with a_home() as home, a_stack(home, {"ASSETS_PATH": "", **(settings or {})}) as stack:
        stack.start("kafka", "postgres", "mosquitto")
        stack.migrate()
        fill(stack)
        stack.start(*PARTS)
        yield stack, home


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured."""

    first: Reading
    last: Reading
    delays: list[Delay]
    counts: Counts
    connected: int
    """when it ended"""
    lost_connections: int
    meter: Meter

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.last.at_s - self.first.at_s

    @property
    def points_per_s(self) -> float:
        """Committed."""
        return (self.last.points - self.first.points) / self.seconds

    @property
    def rows_per_s(self) -> float:
        """Committed."""
        return (self.last.rows - self.first.rows) / self.seconds

    def cpu_cores(self) -> dict[str, float]:
        """By process."""
        return used(self.first, self.last)

    def cpu_s_per_million_points(self) -> dict[str, float]:
        """By process."""
        return cpu_s_per_million_points(self.first, self.last)

    def delay(self) -> dict[str, float]:
        """Publish to acknowledged commit."""
        return percentiles(between(self.delays, self.first.at_s, self.last.at_s))


def keep(name: str, result: Any, window: Window, marks: Sequence[Mark] = ()) -> None:
    """docs/figures/<name>.json and .svg."""
    draw(FIGURES / f"{name}.svg", f"make {name}", window.meter.panels(), marks)
    keep_json(name, result)


def keep_json(name: str, result: Any) -> None:
    """docs/figures/<name>.json."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / f"{name}.json").write_text(
        json.dumps({"line": result.line(), **asdict(result)}, indent=1) + "\n"
    )


def options(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark of the telemetry path takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="write docs/figures/*.json and *.svg")
    parser.add_argument(
        "--warm-up",
        type=float,
        default=25,
        help="seconds before what is measured: Kafka's code gets hot (25)",
    )
    return parser


def plan_of(stack: Stack, **fields: object) -> Plan:
    """For a fleet on this platform."""
    return Plan(host=HOST, port=stack.ports.mosquitto, **fields)  # type: ignore[arg-type]


def load(
    stack: Stack,
    plan: Plan,
    names: dict[str, list[str]],
    *,
    warm_up_s: float,
    seconds: float = 0.0,
    during: Callable[[Fleet], Coroutine[Any, Any, None]] | None = None,
) -> Window:
    """Send for so long, or until `during` returns. Raises Problem when nothing is stored."""
    return uvloop.run(_load(stack, plan, names, warm_up_s, seconds, during))


async def _load(
    stack: Stack,
    plan: Plan,
    names: dict[str, list[str]],
    warm_up_s: float,
    seconds: float,
    during: Callable[[Fleet], Coroutine[Any, Any, None]] | None,
) -> Window:
    fleet = Fleet(plan, names)
    meter = Meter(stack, fleet)
    await fleet.connect()
    say(f"  {fleet.counts.connected} connections; warming up for {warm_up_s:g} s")
    tasks = [asyncio.create_task(work) for work in (fleet.run(), meter.run(), _tell(meter))]
    try:
        await _unless_failed(tasks, warm_up_s)
        first = await meter.read()
        if during:
            await during(fleet)
        else:
            await _unless_failed(tasks, seconds)
        last = await meter.read()
        connected, lost = fleet.counts.connected, fleet.counts.lost_connections
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        fleet.close()
    if last.points <= first.points:
        raise Problem(f"nothing was stored in {seconds:g} s: see {stack.home / 'log'}")
    return Window(first, last, list(fleet.delays), fleet.counts, connected, lost, meter)


async def _unless_failed(tasks: "list[asyncio.Task[None]]", seconds: float) -> None:
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _tell(meter: Meter) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        if len(meter.readings) > 1:
            now = meter.readings[-1]
            before = next(each for each in meter.readings if each.at_s > now.at_s - TELL_S)
            rate = (now.points - before.points) / (now.at_s - before.at_s)
            cores = ", ".join(f"{name} {value:.2f}" for name, value in used(before, now).items())
            say(f"  {rate:,.0f} points/s; {now.waiting_rows:,} rows on their way; cores: {cores}")
