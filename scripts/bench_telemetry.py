"""`make bench-telemetry`: every benchmark of the telemetry path, one after the other, into docs/figures.

Each prints its line; with the default settings all of them take about half an hour. One that fails, or takes
longer than it may, is named at the end, and the others still run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.bench_run import FIGURES
from scripts.bench_stack import run, say
from scripts.local.part import ROOT

RUNS: Final = (
    # module, its options, the most seconds that it may take
    ("bench_ingest", ("--minutes", "{minutes}", "--preload", "{preload}"), 1_500),
    ("bench_narrow", (), 300),
    ("bench_messages", (), 300),
    ("bench_latency", (), 360),
    ("bench_connections", (), 300),
    ("bench_outage", ("--outage", "{outage}"), 900),
    ("bench_fleets", (), 480),
    ("bench_size", (), 240),
)


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="of bench-ingest (10)")
    parser.add_argument("--preload", type=int, default=20_000_000, help="of bench-ingest (20000000)")
    parser.add_argument("--outage", type=float, default=120, help="seconds, of bench-outage (120)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="e.g. ingest messages")
    wanted = parser.parse_args()
    failed = []
    for module, options, most_s in RUNS:
        name = module.removeprefix("bench_")
        if wanted.only and name not in wanted.only:
            continue
        say(f"{name}:")
        filled = [option.format(**vars(wanted)) for option in options]
        command = [sys.executable, "-m", f"scripts.{module}", *filled, "--keep"]
        with subprocess.Popen(command, cwd=ROOT) as bench:
            try:
                if bench.wait(most_s):
                    failed.append(name)
            except subprocess.TimeoutExpired:
                bench.terminate()  # and wait: it takes its platform down
                failed.append(f"{name} (not done within {most_s} s)")
    tell(FIGURES)
    if failed:
        sys.exit(f"Error: these benchmarks failed: {', '.join(failed)}")


def tell(directory: Path) -> None:
    """README.md of the figures: each one's line and picture. What failed keeps its last ones."""
    parts = ["# Figures", "Written by `make bench-telemetry`; `docs/benchmarks.md` says how to read them."]
    for path in sorted(directory.glob("bench-*.json")):
        parts += [f"## make {path.stem}", str(json.loads(path.read_text())["line"])]
        if path.with_suffix(".svg").exists():
            parts.append(f"![{path.stem}]({path.stem}.svg)")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    run(main)
