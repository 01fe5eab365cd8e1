"""`make bench-narrow`: as `make bench-ingest`, but with metrics beyond the canonical quantities.

Each value is a row of its own in telemetry_other, and each sample one in telemetry: raw COPY fills both.
"""

from scripts.bench_ingest import measure, with_options
from scripts.bench_run import options
from scripts.bench_stack import report, run


def main() -> None:
    """Run it."""
    report(measure(with_options(options(__doc__), minutes=1, preload=0).parse_args(), "narrow"))


if __name__ == "__main__":
    run(main)
