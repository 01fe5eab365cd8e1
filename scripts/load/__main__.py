"""`make load`: many agents or simple devices against a platform that runs, with a live view.

  make load                                        100 agents of 10 devices, a batch every 10 s each
  make load SENDERS=1000 INTERVAL=0                as fast as it is acknowledged
  make load SHAPE=json3 SENDERS=2000 INTERVAL=1    simple devices, a JSON sample a second each
  make load OUTAGE_EVERY=60 OUTAGE=20 TLS=1        cut off once a minute for 20 s, over mutual TLS

Shapes: batch (60 samples of 8 quantities), narrow (the same with metrics of its own), small (10 of 4), json3,
json6 (one sample of 3 or 6). Agents are acknowledged after the commit: what they wait is what a person would
wait to see the data. Simple devices hear of nothing but the broker. A process a core sends; Ctrl-C ends it.
"""

import argparse
import asyncio
import json
import multiprocessing as mp
import os
import queue
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop

from scripts.load.fleet import Fleet, Plan
from scripts.load.platform import certificates, register, senders_of
from scripts.load.shapes import SHAPES
from scripts.local.problem import Problem
from services.ingest.link import Tls

HOST: Final = "127.0.0.1"
EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """Of one process, since its last one; counts since its start."""

    process: int
    counts: dict[str, Any]
    remembered: int
    waiting_rows: int
    delays_s: list[float]


def work(process: int, plan: Plan, senders: dict[str, list[str]], reports: "mp.Queue[Report]") -> None:
    """One process: send until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    with suppress(KeyboardInterrupt):
        uvloop.run(_work(process, plan, senders, reports))


async def _work(process: int, plan: Plan, senders: dict[str, list[str]], reports: "mp.Queue[Report]") -> None:
    fleet = Fleet(plan, senders, seed=process)
    await fleet.connect()
    sending = asyncio.create_task(fleet.run())
    while not sending.done():
        await asyncio.wait([sending], timeout=EVERY_S)
        delays = [each.delay_s for each in fleet.delays]
        fleet.delays.clear()
        reports.put(
            Report(process, asdict(fleet.counts), fleet.remembered, max(0, fleet.waiting_rows), delays)
        )
    sending.result()


class View:
    """All processes together."""

    def __init__(self, processes: int, points: int) -> None:
        self._last: dict[int, Report] = {}
        self._processes = processes
        self._points = points
        self._start_s = time.monotonic()
        self._before = (self._start_s, 0, 0)
        self.delays: list[float] = []
        self.seconds: list[dict[str, float]] = []

    def add(self, report: Report) -> None:
        """From a process."""
        self._last[report.process] = report
        self.delays += report.delays_s
        if len(self._last) == self._processes and report.process == min(self._last):
            self._tell(report.delays_s)

    def total(self, name: str) -> int:
        """Of a count."""
        return sum(int(report.counts[name]) for report in self._last.values())

    def result(self) -> dict[str, Any]:
        """What goes into the file."""
        seconds = time.monotonic() - self._start_s
        counts = (
            {name: self.total(name) for name in next(iter(self._last.values())).counts if name != "reasons"}
            if self._last
            else {}
        )
        reasons: dict[str, int] = {}
        for report in self._last.values():
            for reason, rows in report.counts["reasons"].items():
                reasons[reason] = reasons.get(reason, 0) + rows
        return {"seconds": round(seconds, 1), **counts, "reasons": reasons, **_delays(self.delays),
                "by_second": self.seconds}  # fmt: skip

    def _tell(self, delays: list[float]) -> None:
        now_s, sent, settled = time.monotonic(), self.total("sent_rows"), self.total("settled_rows")
        before_s, before_sent, before_settled = self._before
        elapsed_s = max(now_s - before_s, 1e-3)
        self._before = (now_s, sent, settled)
        second = {
            "at_s": round(now_s - self._start_s, 1),
            "sent_points_per_s": round((sent - before_sent) * self._points / elapsed_s),
            "acknowledged_points_per_s": round((settled - before_settled) * self._points / elapsed_s),
            "connected": self.total("connected"),
            "waiting_rows": sum(report.waiting_rows for report in self._last.values()),
            "remembered_messages": sum(report.remembered for report in self._last.values()),
            **_delays(delays),
        }
        self.seconds.append(second)
        waited = f"; waited p50 {second['p50_s']:.2f} s, p99 {second['p99_s']:.2f} s" if delays else ""
        print(
            f"{second['at_s']:6.0f} s  {second['connected']:,} connected  "
            f"sent {second['sent_points_per_s']:>9,} points/s  "
            f"acknowledged {second['acknowledged_points_per_s']:>9,}  "
            f"spooled {second['remembered_messages']:,}{waited}  refused {self.total('refused_rows'):,}",
            file=sys.stderr,
        )


def _delays(delays_s: list[float]) -> dict[str, float]:
    if not delays_s:
        return {}
    p50, p99 = np.percentile(delays_s, [50, 99])
    return {"p50_s": round(float(p50), 3), "p99_s": round(float(p99), 3)}


def run(wanted: argparse.Namespace) -> dict[str, Any]:
    """Register, send, watch; answers the result."""
    shape, processes = SHAPES[wanted.shape], min(wanted.processes, wanted.senders)
    senders = senders_of(shape, wanted.tenant, wanted.senders, wanted.devices)
    if not wanted.registered:
        register(
            wanted.url, wanted.key, wanted.tenant, shape, senders, lambda line: print(line, file=sys.stderr)
        )
    plan = Plan(
        host=wanted.host, port=wanted.port, shape=shape, tenant=wanted.tenant, interval_s=wanted.interval,
        jitter=wanted.jitter, late=wanted.late, repeated=wanted.repeated,
        outage_every_s=wanted.outage_every, outage_s=wanted.outage,
        ahead_rows=wanted.ahead // processes,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="overwatt-load-") as scratch:
        if wanted.authority:
            plan = replace(plan, tls=Tls(wanted.authority / "root.pem", Path(scratch), Path(scratch)))
            for name in senders:
                certificates(wanted.authority, wanted.tenant, name, Path(scratch))
        context = mp.get_context("spawn")
        reports: mp.Queue[Report] = context.Queue()
        names = list(senders)
        workers = [
            context.Process(
                target=work,
                args=(n, plan, {name: senders[name] for name in names[n::processes]}, reports),
                daemon=True,
            )
            for n in range(processes)
        ]
        for worker in workers:
            worker.start()
        view = View(processes, shape.points)
        ends_s = time.monotonic() + (wanted.duration or float("inf"))
        try:
            while time.monotonic() < ends_s:
                with suppress(queue.Empty):
                    view.add(reports.get(timeout=0.2))
                if dead := next((each for each in workers if each.exitcode), None):
                    raise Problem(f"a sending process ended with {dead.exitcode}; its reason stands above")
        except KeyboardInterrupt:
            pass
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
    return view.result()


def main() -> None:
    """Run it."""
    offset = int(os.environ.get("PORT_OFFSET") or 0)
    parser = argparse.ArgumentParser(
        prog="make load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--shape", choices=sorted(SHAPES), default="batch")
    add("--senders", type=int, default=100, help="agents, or simple devices (100)")
    add("--devices", type=int, default=10, help="of each agent (10)")
    add("--interval", type=float, default=10.0, help="seconds between two messages; 0: as fast as possible")
    add("--jitter", type=float, default=0.1, help="share of the interval, to either side (0.1)")
    add("--late", type=float, default=0.0, help="share of messages three hours old (0)")
    add("--repeated", type=float, default=0.0, help="share of messages sent twice (0)")
    add("--outage-every", type=float, default=0.0, help="seconds between outages of a sender; 0: none")
    add("--outage", type=float, default=10.0, help="how long one is, in seconds (10)")
    add("--ahead", type=int, default=400_000, help="rows without an acknowledgement at full speed (400000)")
    add("--duration", type=float, default=0.0, help="seconds; 0: until Ctrl-C")
    add("--processes", type=int, default=os.cpu_count() or 1, help="that send (one a core)")
    add("--tenant", default="load")
    add("--registered", action="store_true", help="the senders are registered already")
    add("--host", default=os.environ.get("MQTT_HOST") or HOST)
    add("--port", type=int, default=0, help="of the broker (1883, or 8883 with --authority)")
    add("--authority", type=Path, help="a directory with issuing.pem and .key: mutual TLS")
    add("--url", default=os.environ.get("PROVISIONING_URL") or f"http://{HOST}:{8081 + offset}")
    add("--key", default=os.environ.get("PROVISION_ADMIN_KEY") or "change-me-now", help="X-Admin-Key")
    add("--result", type=Path, help="a JSON file to write")
    wanted = parser.parse_args()
    usual = ("MQTT_TLS_PORT", 8883) if wanted.authority else ("MQTT_PORT", 1883)
    wanted.port = wanted.port or int(os.environ.get(usual[0]) or usual[1] + offset)
    try:
        result = run(wanted)
    except Problem as problem:
        sys.exit(f"Error: {problem}")
    if wanted.result:
        wanted.result.write_text(json.dumps(result, indent=1) + "\n")
    result.pop("by_second")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
