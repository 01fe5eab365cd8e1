"""The clock of escalations: small modules in a fixed order, the same on every replica.

Each module is one transaction on PostgreSQL and needs nothing else. Due alerts are claimed with SKIP LOCKED,
so that replicas share the work without a leader; what is decided and the deliveries that follow from it are
committed together, so that neither can be without the other. Sending is `deliver.py`'s.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from services.escalation import metrics, store
from services.escalation.escalate import Decision, decide
from services.runtime.clock import now
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

BATCH: Final = 500
LONGEST_SLEEP_S: Final = 10.0
"""Alerts that another process opened make no event here: they are found this late at worst."""
SHORTEST_SLEEP_S: Final = 0.05
"""What is due may be locked by another replica just now."""
TIDY_EVERY_S: Final = 3_600.0


class Engine:
    """Turns due alerts into deliveries. `wake` is set by whoever makes an alert due."""

    def __init__(self, pool: Pool, wake: asyncio.Event, on_pages: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake
        self._on_pages = on_pages
        self._tidied_at_s = 0.0

    async def run(self) -> None:
        """Tick when woken, when the next alert is due, and every 10 s."""
        while True:
            self._wake.clear()
            await until_available("escalate", self.tick)
            delay_s = await until_available("read when the next alert is due", self._delay_s)
            await happens(self._wake, delay_s)

    async def tick(self) -> int:
        """All modules once; answers how many alerts moved. Raises Unavailable."""
        started_s = time.monotonic()
        alerts, pages = await self._escalate()
        await self._tidy(started_s)
        metrics.TICKS.inc()
        metrics.TICK_SECONDS.observe(time.monotonic() - started_s)
        log.info("escalation.tick", alerts=alerts, pages=pages, ms=_ms_since(started_s))  # P-026
        return alerts

    async def _escalate(self) -> tuple[int, int]:
        alerts = pages = 0
        while True:
            decisions = await self._escalate_batch()
            alerts += len(decisions)
            pages += sum(len(decision.pages) for decision in decisions)
            if pages:
                self._on_pages()
            if len(decisions) < BATCH:
                return alerts, pages

    async def _escalate_batch(self) -> list[Decision]:
        async with transaction(self._pool) as db:
            due = await store.claim_due(db, BATCH)
            if not due:
                return []
            channels = await store.read_channels(db, (alert.tenant_id for alert in due))
            told = await store.read_told(db, [alert.alert_id for alert in due])
            at = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
            decisions = [
                decide(alert, channels.get(alert.tenant_id, []), told.get(alert.alert_id, []), at)
                for alert in due
            ]
            await store.write_decisions(db, decisions)
        for decision in decisions:
            if decision.alert.status == "OPEN" and not decision.pages:
                metrics.UNHEARD.inc()
                log.warning(
                    "nobody to tell: the tenant has no enabled channel",
                    tenant=decision.alert.tenant_id,
                    alert_id=str(decision.alert.alert_id),
                )
        return decisions

    async def _tidy(self, monotonic_s: float) -> None:
        if self._tidied_at_s and monotonic_s - self._tidied_at_s < TIDY_EVERY_S:
            return
        async with transaction(self._pool) as db:
            await store.forget_old(db)
        self._tidied_at_s = monotonic_s

    async def _delay_s(self) -> float:
        async with transaction(self._pool) as db:
            return bounded_delay_s(await store.seconds_to_next_escalation(db))


def bounded_delay_s(until_due_s: float | None) -> float:
    """How long to sleep when the next work is due in so many seconds, or is not known."""
    return (
        LONGEST_SLEEP_S if until_due_s is None else min(max(until_due_s, SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
    )


def _ms_since(started_s: float) -> int:
    return round((time.monotonic() - started_s) * 1_000)
