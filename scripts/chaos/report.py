"""What a run says: one line for people, JSON, a picture, and the figures in docs/chaos.md."""

import os
import platform as machine
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.chaos import simple
from scripts.chaos.plan import PARTS, Fault
from scripts.chaos.verdict import Verdict
from scripts.chaos.watch import Watch
from scripts.chaos.world import World, as_json
from scripts.plots import Mark, Panel, draw

DOCS: Final = Path(__file__).parents[2] / "docs"
MOST_MB: Final = {"ingest-gateway": 300.0, "ingest-writer": 400.0, "mosquitto": 200.0, "agent": 100.0}
"""Memory of their own that they may ever take; an agent's is each one's."""
MOST_SPOOLS_MB: Final = 250.0
COMMITS: Final = """
select extract(epoch from t.ts)::float8 as ts,
  extract(epoch from pg_xact_commit_timestamp(t.xmin))::float8 as at
from telemetry t join device d using (device_key)
where d.device_id <> all($1::text[]) and t.ts between $2 and $3
"""
FIGURES: Final = re.compile(r"(<!-- figures of make chaos -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Result:
    """One run."""

    command: str
    seed: int
    at: str
    faults: int
    by_group: Mapping[str, int]
    killed: Mapping[str, int]
    left_out: str
    seconds: float
    verdict: Mapping[str, Any]
    restarts: int
    """services that found no database when they were started, and were started again"""
    deaths: Sequence[str]
    freshness_p50_s: float
    freshness_p99_s: float
    longest_lag_s: float
    drain_s: float
    longest_lag_records: float
    peak_mb: Mapping[str, float]
    spools_mb: float
    agents: int
    cores: int
    load_1m: float
    machine: str
    wrong: Sequence[str]

    def line(self) -> str:
        """For people."""
        found = self.verdict
        return (
            f"{self.faults} faults, {found['samples']} samples: {found['lost']} lost, "
            f"{found['doubled']} doubled, {found['changed']} changed, {found['foreign']} foreign; "
            f"freshness p50 {self.freshness_p50_s:.2f} s, p99 {self.freshness_p99_s:.1f} s, "
            f"longest lag {self.longest_lag_s:.0f} s; all there {self.drain_s:.0f} s after the last fault; "
            f"{found['bad_buried']} of {found['bad_injected']} bad messages are dead letters; "
            f"seed {self.seed}, {self.seconds:.0f} s" + "".join(f"\nWRONG: {each}" for each in self.wrong)
        )


@dataclass(frozen=True, slots=True)
class Done:
    """A fault as it was: seconds since the start."""

    fault: Fault
    began_s: float
    ended_s: float


async def report(
    world: World, watch: Watch, done: Sequence[Done], verdict: Verdict, *,
    command: str, seed: int, began_at_s: float, ended_at_s: float, left_out: str,
) -> tuple[Result, list[Panel]]:  # fmt: skip
    """Numbers of a run and its lines over time; times are seconds since 1970."""
    aside = [simple.FLOOD, simple.CARELESS, simple.THRICE]
    span = (datetime.fromtimestamp(began_at_s, UTC), datetime.fromtimestamp(ended_at_s, UTC))
    rows = await world.rows(COMMITS, aside, *span)
    committed_s = np.array([row["at"] for row in rows]) - began_at_s
    age_s = np.array([row["at"] - row["ts"] for row in rows])
    peak_mb = {part: max((mb for _, mb in points), default=0.0) for part, points in watch.memory_mb.items()}
    spools_mb = max((mb for _, mb in watch.spools_mb), default=0.0)
    last_s = max((each.ended_s for each in done), default=0.0)
    result = Result(
        command=command,
        seed=seed,
        at=span[0].isoformat(timespec="seconds"),
        faults=len(done),
        by_group=dict(sorted(Counter(each.fault.group for each in done).items())),
        killed={
            part: sum(e.fault.target == part and e.fault.group == "kill" for e in done) for part in PARTS
        },
        left_out=left_out,
        seconds=round(ended_at_s - began_at_s, 1),
        verdict={name: value for name, value in asdict(verdict).items() if name != "wrong"},
        restarts=watch.restarts,
        deaths=watch.deaths,
        freshness_p50_s=round(float(np.percentile(age_s, 50)), 3),
        freshness_p99_s=round(float(np.percentile(age_s, 99)), 3),
        longest_lag_s=round(float(age_s.max()), 1),
        drain_s=round(max(float(committed_s.max()) - last_s, 0.0), 1),
        longest_lag_records=max((lag for _, lag in watch.lag_records), default=0.0),
        peak_mb={part: round(mb, 1) for part, mb in peak_mb.items()},
        spools_mb=round(spools_mb, 1),
        agents=len(world.agents),
        cores=os.cpu_count() or 0,
        load_1m=os.getloadavg()[0],
        machine=f"{machine.machine()} {machine.system()}, everything on it",
        wrong=[
            *verdict.wrong,
            *watch.deaths,
            *(
                f"{part} took {peak_mb[part]:.0f} MB of memory"
                for part, most in MOST_MB.items()
                if peak_mb.get(part, 0) > most * (len(world.agents) if part == "agent" else 1)
            ),
            *([f"the spools took {spools_mb:.0f} MB"] if spools_mb > MOST_SPOOLS_MB else []),
        ],
    )
    lag: defaultdict[int, float] = defaultdict(float)
    for at_s, age in zip(committed_s.tolist(), age_s.tolist(), strict=True):
        lag[int(at_s)] = max(lag[int(at_s)], age)
    rate = Counter(int(at_s) for at_s in committed_s.tolist())
    seconds = range(int(committed_s.max()) + 1)
    panels = [
        Panel("rows committed", "rows/s", {"rows": [(s, rate[s]) for s in seconds]}),
        Panel("oldest sample of each second's commits", "s", {"lag": sorted(lag.items())}),
        Panel("memory of its own", "MB", dict(watch.memory_mb)),
    ]
    return result, panels


def write(result: Result, panels: Sequence[Panel], done: Sequence[Done], directory: Path) -> None:
    """chaos.json and chaos.svg."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "chaos.json").write_text(as_json(asdict(result)))
    marks = [Mark(each.began_s, each.fault.label) for each in done]
    draw(directory / "chaos.svg", result.command, panels, marks)


def publish(result: Result, panels: Sequence[Panel], done: Sequence[Done]) -> None:
    """Into docs: the figures of this run, its JSON and its picture."""
    write(result, panels, done, DOCS / "figures")
    page = DOCS / "chaos.md"
    page.write_text(FIGURES.sub(lambda found: f"{found[1]}{figures(result)}{found[2]}", page.read_text()))


def figures(result: Result) -> str:
    """A table for docs/chaos.md."""
    found = result.verdict
    rows = {
        "faults": f"{result.faults}: " + ", ".join(f"{n} {group}" for group, n in result.by_group.items()),
        "kill -9": ", ".join(f"{part} {n}" for part, n in result.killed.items()),
        "samples of agents and careful devices": found["samples"],
        "lost, doubled, changed, foreign": ", ".join(
            str(found[name]) for name in ("lost", "doubled", "changed", "foreign")
        ),
        "freshness p50, p99, longest": (
            f"{result.freshness_p50_s:.2f} s, {result.freshness_p99_s:.1f} s, {result.longest_lag_s:.0f} s"
        ),
        "everything there after the last fault": f"{result.drain_s:.0f} s",
        "bad messages injected, found as dead letters": f"{found['bad_injected']}, {found['bad_buried']}",
        "same time with another value, rejected": f"{found['thrice']}, {found['conflicts']}",
        "sent once without `seq`, lost": f"{found['careless_sent']}, {found['careless_lost']}",
        "clock ahead: still held; behind a year: refused": f"{found['held']}, {found['too_old']}",
        "went with a wiped disk": found["destroyed"],
        "peak memory": ", ".join(f"{part} {mb:.0f} MB" for part, mb in result.peak_mb.items()),
        "what is wrong": "; ".join(result.wrong) or "nothing",
    }
    ran = f"`{result.command}`, {result.at}, {result.seconds:.0f} s, {result.agents} agents"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    ran += f", {result.cores} cores, load {result.load_1m:.0f} at the end"
    return f"{ran} ({result.machine}).\n\n| | |\n|---|---|\n{table}\n\n![The run](figures/chaos.svg)\n"
