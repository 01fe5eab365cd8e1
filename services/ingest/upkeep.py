"""What keeps the telemetry tables in order, piece by piece. Each may be repeated, and run beside a writer.

With TimescaleDB the functions of the same names leave to its policies what these do. All raise Unavailable.
"""

from datetime import datetime, timedelta
from typing import Final

from services.ingest import store
from services.runtime.errors import Unavailable
from services.runtime.postgres import CONNECT_TIMEOUT_S, GONE, Pool, transaction

DAYS_AHEAD: Final = 3
PAIRS_AT_ONCE: Final = 200
HOURS_AT_ONCE: Final = 24


async def keep_days(pool: Pool, now: datetime, retention: timedelta) -> int:
    """Partitions ahead, and old ones away; answers how many days went."""
    async with transaction(pool) as db:
        for ahead in range(DAYS_AHEAD + 1):
            await store.ensure_partition(db, (now + timedelta(days=ahead)).date())
        await store.drop_events(db, now - retention)
        return await store.drop_old(db, (now - retention).date(), now)


async def refresh_rollups(pool: Pool) -> int:
    """Brings some device hours up to date; answers how many, 0 when none is left."""
    async with transaction(pool) as db:
        return await store.refresh_rollups(db, PAIRS_AT_ONCE)


async def refresh_late(pool: Pool) -> int:
    """Refreshes aggregates over the oldest hours that late rows have touched; answers how many hours.

    Outside a transaction, as TimescaleDB wants it: what was interrupted is done again.
    """
    try:
        async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as db:
            return await store.refresh_late(db, HOURS_AT_ONCE)
    except GONE as error:
        raise Unavailable(f"PostgreSQL: {error or type(error).__name__}") from error


async def forget_spools(pool: Pool) -> int:
    """What is committed of devices that are gone; answers of how many spools."""
    async with transaction(pool) as db:
        return await store.forget_spools(db)


async def mark_since(pool: Pool, since: datetime) -> int:
    """All device hours with data since then count as behind; answers how many."""
    async with transaction(pool) as db:
        return await store.mark_dirty_since(db, since)
