"""`python -m services.ingest housekeeping`: once and by hand, or by cron, what a writer does all the time."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from services.ingest.housekeeping import once
from services.ingest.settings import Settings
from services.runtime import clock
from services.runtime.errors import Unavailable
from services.runtime.postgres import connect_pool
from services.runtime.settings import load_settings

HELP: Final = """\
Keeps the telemetry tables in order, once, and says what it did:
  days     partitions for today and three days ahead; raw data older than TELEMETRY_RETENTION_DAYS (90) are
           dropped and events with them, rollups by their own age (1 min 90 days, 15 min 400, 1 h 1100,
           1 day never)
  rollups  of every device hour that is behind; on TimescaleDB where counters started again
  late     hours that rows older than two hours have touched: on TimescaleDB its aggregates are refreshed
  spools   what is committed of devices that are gone is forgotten

A running writer does the same; both at once do no harm. Nothing is refreshed below the oldest raw data: the
rollups of that time are all that is left of it. Alerts and the audit log are never touched.

Environment: DATABASE_URL (as the role ingest, or as the owner), TELEMETRY_RETENTION_DAYS
"""


def main(arguments: Sequence[str]) -> int:
    """Read the arguments and the environment, run, print."""
    parser = argparse.ArgumentParser(
        prog="python -m services.ingest housekeeping",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--since",
        type=_time,
        metavar="TIME",
        help="also count every hour with data since then as behind: 2026-11-01, or 2026-11-01T12:00 (UTC)",
    )
    since = parser.parse_args(arguments).since
    try:
        asyncio.run(_run(load_settings(Settings), since))
    except Unavailable as error:
        print(f"housekeeping: {error}; run it again, what was done stays done", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Settings, since: datetime | None) -> None:
    async with connect_pool(settings.database_url, name="ingest-housekeeping") as pool:
        keep_days = settings.telemetry_retention_days
        async for line in once(pool, clock.now(), retention_days=keep_days, since=since):
            print(line, flush=True)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time; it must be like 2026-11-01 or 2026-11-01T12:00"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
