"""What a benchmark sees of the platform while it runs: rows, processor time and memory by process, delays."""

import asyncio
import os
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from scripts.load.fleet import Delay, Fleet
from scripts.local.ports import HOST
from scripts.local.stack import Stack
from scripts.plots import Panel

PARTS: Final = ("mosquitto", "ingest-gateway", "kafka", "ingest-writer", "postgres")
GENERATOR: Final = "load generator"
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
EVERY_S: Final = 0.5
STORED: Final = ("ingest_points_written_total", "ingest_rows_written_total")


@dataclass(frozen=True, slots=True)
class Reading:
    """One look, since the start of each process."""

    at_s: float
    """monotonic"""
    points: int
    rows: int
    sent_rows: int
    waiting_rows: int
    cpu_s: dict[str, float]
    rss_bytes: dict[str, int]


@dataclass(slots=True)
class Meter:
    """Readings of one run."""

    stack: Stack
    fleet: Fleet
    readings: list[Reading] = field(default_factory=list)
    _rows_before: int | None = None
    _last: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _before: list[float] = field(default_factory=lambda: [0.0, 0.0])

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.read()
            await asyncio.sleep(EVERY_S)

    async def read(self) -> Reading:
        """Look now; simple devices are told how far the writer is."""
        found = await asyncio.to_thread(metrics, self.stack.ports.writer_health)
        counters = [sum(value for key, value in found.items() if key.startswith(name)) for name in STORED]
        if found and counters[0] < self._last[0]:  # the writer started again, and counts from 0
            self._before = [a + b for a, b in zip(self._before, self._last, strict=True)]
        self._last = counters if found else self._last
        points, rows = (int(a + b) for a, b in zip(self._before, self._last, strict=True))
        self._rows_before = rows if self._rows_before is None else self._rows_before
        if not self.fleet.plan.shape.is_agent:
            self.fleet.stored(rows - self._rows_before)
        cpu, rss = usage(self.stack)
        reading = Reading(
            time.monotonic(), points, rows, self.fleet.counts.sent_rows, self.fleet.waiting_rows, cpu, rss
        )
        self.readings.append(reading)
        return reading

    def panels(self) -> list[Panel]:
        """Rate, waiting, delay, processor, memory over the run."""
        start_s = self.readings[0].at_s
        pairs = list(zip(self.readings, self.readings[1:], strict=False))

        def series(value: "list[float]") -> list[tuple[float, float]]:
            return [(after.at_s - start_s, each) for (_, after), each in zip(pairs, value, strict=True)]

        return [
            Panel(
                "Stored",
                "points/s",
                {"points": series([(b.points - a.points) / (b.at_s - a.at_s) for a, b in pairs])},
            ),
            Panel(
                "Sent and not yet acknowledged", "rows", {"rows": series([b.waiting_rows for _, b in pairs])}
            ),
            Panel("Publish to acknowledged commit", "s", by_second(self.fleet.delays, start_s)),
            Panel(
                "Processor",
                "cores",
                {
                    name: series([(b.cpu_s[name] - a.cpu_s[name]) / (b.at_s - a.at_s) for a, b in pairs])
                    for name in self.readings[0].cpu_s
                },
            ),
            Panel(
                "Memory",
                "MB",
                {
                    name: series([b.rss_bytes[name] / 1e6 for _, b in pairs])
                    for name in self.readings[0].rss_bytes
                    if name != "postgres"  # its processes share most of theirs
                },
            ),
        ]


def used(first: Reading, last: Reading) -> dict[str, float]:
    """Cores by process between two readings."""
    return {
        name: round((last.cpu_s[name] - first.cpu_s[name]) / (last.at_s - first.at_s), 3)
        for name in last.cpu_s
    }


def cpu_s_per_million_points(first: Reading, last: Reading) -> dict[str, float]:
    """Processor seconds by process, for a million stored points."""
    millions = (last.points - first.points) / 1e6
    return {name: round((last.cpu_s[name] - first.cpu_s[name]) / millions, 3) for name in last.cpu_s}


def percentiles(delays: Sequence[Delay]) -> dict[str, float]:
    """p50 and p99 of what rows waited, and the longest, in seconds."""
    if not delays:
        return {}
    values = np.array([each.delay_s for each in delays])
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50_s": round(p50, 4), "p99_s": round(p99, 4), "longest_s": round(values.max(), 4)}


def between(delays: Sequence[Delay], first_s: float, last_s: float) -> list[Delay]:
    """Those that ended then."""
    return [each for each in delays if first_s <= each.at_s <= last_s]


def by_second(delays: Sequence[Delay], start_s: float) -> dict[str, list[tuple[float, float]]]:
    """p50 and p99 of each second."""
    seconds: dict[int, list[float]] = {}
    for each in delays:
        seconds.setdefault(int(each.at_s - start_s), []).append(each.delay_s)
    lines: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
    for second, values in sorted(seconds.items()):
        p50, p99 = np.percentile(values, [50, 99])
        lines["p50"].append((second, float(p50)))
        lines["p99"].append((second, float(p99)))
    return lines


def metrics(port: int) -> dict[str, float]:
    """A process's metrics by name with labels; empty while it does not answer."""
    found: dict[str, float] = {}
    with suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
    return found


def usage(stack: Stack) -> tuple[dict[str, float], dict[str, int]]:
    """CPU seconds so far and resident bytes: each part with its children, and this process."""
    parents: dict[int, list[int]] = {}
    own: dict[int, tuple[float, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents.setdefault(int(fields[1]), []).append(pid)
        # With the children that have ended: backends come and go.
        own[pid] = (sum(map(int, fields[11:15])) / TICKS_PER_S, int(fields[21]) * PAGE_BYTES)

    def family(pid: int) -> tuple[float, int]:
        cpu, rss = own.get(pid, (0.0, 0))
        for child in parents.get(pid, []):
            more_cpu, more_rss = family(child)
            cpu, rss = cpu + more_cpu, rss + more_rss
        return cpu, rss

    found = {name: family(stack.pid(name) or 0) for name in PARTS}
    found[GENERATOR] = own[os.getpid()]
    return {name: cpu for name, (cpu, _) in found.items()}, {name: rss for name, (_, rss) in found.items()}
