"""What the database does not do by itself: days ahead and to drop, rollups, hours that late rows touched.

The writer does it all the time; `python -m services.ingest housekeeping` does it once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from services.ingest import metrics, upkeep
from services.ingest.telemetry_store import Telemetry
from services.runtime import clock
from services.runtime.log import get_logger
from services.runtime.postgres import Pool
from services.runtime.retry import until_available

log = get_logger(__name__)

LOOK_EVERY_S: Final = 3_600.0
LATE_EVERY_S: Final = 60.0
"""Touched hours gather: the first refresh near a compressed chunk costs seconds, the next one little."""


class Housekeeping:
    """Beside a writer."""

    def __init__(
        self, *, pool: Pool, telemetry: Sequence[Telemetry], retention_days: int, rollup_interval_s: float
    ) -> None:
        self._pool = pool
        self._telemetry = telemetry
        self._retention = timedelta(days=retention_days)
        self._rollup_interval_s = rollup_interval_s
        self._written = asyncio.Event()

    def wrote(self) -> None:
        """The writer has committed."""
        self._written.set()

    async def keep_days(self) -> None:
        """Every hour: partitions ahead, old ones away, and spools of devices that are gone."""
        while True:
            days = await until_available("keep the days of telemetry", self._keep_days)
            if days:
                for each in self._telemetry:
                    each.forget_days()
                log.info("old telemetry dropped", days=days)
            spools = await until_available("forget spools", lambda: upkeep.forget_spools(self._pool))
            if spools:
                log.info("spools of devices that are gone forgotten", spools=spools)
            await asyncio.sleep(LOOK_EVERY_S)

    async def refresh_rollups(self) -> None:
        """Soon after something was written; at most every so often."""
        while True:
            while refreshed := await until_available("refresh rollups", self._refresh):
                metrics.ROLLUPS.inc(refreshed)
            await self._written.wait()
            await asyncio.sleep(self._rollup_interval_s)
            self._written.clear()

    async def refresh_late(self) -> None:
        """Every minute: the hours that late rows have touched, where policies do not look so far back."""
        while True:
            await asyncio.sleep(LATE_EVERY_S)
            try:
                while await until_available("refresh late hours", lambda: upkeep.refresh_late(self._pool)):
                    pass
            except asyncpg.PostgresError as error:
                # Two that refresh the same hours at once: one of them is told to come again.
                log.warning("late hours not refreshed; again in a minute", error=str(error))

    async def _keep_days(self) -> int:
        return await upkeep.keep_days(self._pool, clock.now(), self._retention)

    async def _refresh(self) -> int:
        return await upkeep.refresh_rollups(self._pool)


async def once(
    pool: Pool, now: datetime, *, retention_days: int, since: datetime | None
) -> AsyncIterator[str]:
    """Everything once; says what it did, step by step. Raises Unavailable."""
    before = (now - timedelta(days=retention_days)).date()
    days = await upkeep.keep_days(pool, now, timedelta(days=retention_days))
    yield f"days: {upkeep.DAYS_AHEAD} ahead are there; {days} before {before} dropped"
    if since:
        yield f"marked: {await upkeep.mark_since(pool, since)} device hours since {since.isoformat()}"
    hours = 0
    while refreshed := await upkeep.refresh_rollups(pool):
        hours += refreshed
    yield f"rollups: {hours} device hours brought up to date"
    late = 0
    while refreshed := await upkeep.refresh_late(pool):
        late += refreshed
    yield f"late: {late} hours of the aggregates refreshed"
    yield f"spools: {await upkeep.forget_spools(pool)} of devices that are gone forgotten"
