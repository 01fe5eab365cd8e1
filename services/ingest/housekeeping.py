"""What the database does not do by itself: days ahead and days to drop, and rollups of what was written.

With TimescaleDB the same functions leave to its policies what these do.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.ingest import metrics, store
from services.ingest.telemetry_store import Telemetry
from services.runtime import clock
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available

log = get_logger(__name__)

DAYS_AHEAD: Final = 3
LOOK_EVERY_S: Final = 3_600.0
REFRESHED_AT_ONCE: Final = 200


class Housekeeping:
    """Of the telemetry tables."""

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
        """Every hour: partitions ahead, and old ones away."""
        while True:
            days = await until_available("keep the days of telemetry", self._keep_days)
            if days:
                for each in self._telemetry:
                    each.forget_days()
                log.info("old telemetry dropped", days=days)
            await asyncio.sleep(LOOK_EVERY_S)

    async def refresh_rollups(self) -> None:
        """Soon after something was written; at most every so often."""
        while True:
            while refreshed := await until_available("refresh rollups", self._refresh):
                metrics.ROLLUPS.inc(refreshed)
            await self._written.wait()
            await asyncio.sleep(self._rollup_interval_s)
            self._written.clear()

    async def _keep_days(self) -> int:
        now = clock.now()
        async with transaction(self._pool) as db:
            for ahead in range(DAYS_AHEAD + 1):
                await store.ensure_partition(db, (now + timedelta(days=ahead)).date())
            return await store.drop_old(db, (now - self._retention).date(), now)

    async def _refresh(self) -> int:
        async with transaction(self._pool) as db:
            return await store.refresh_rollups(db, REFRESHED_AT_ONCE)
