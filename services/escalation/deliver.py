"""Deliveries: claimed under a lease, sent outside any transaction, marked by whoever still holds the lease.

Killed before the POST, the lease ends and another sender takes it. Killed after it, the same: the receiver
gets it once more, with the same webhook-id. A sender that was paused past its lease marks nothing.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from services.escalation import metrics, store
from services.escalation.backoff import Retries
from services.escalation.engine import bounded_delay_s
from services.escalation.model import Delivery
from services.escalation.notifiers import Answer, GaveUp, Notifier, Retry, Sent
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)


class Deliverer:
    """Sends due deliveries, a limited number at a time."""

    def __init__(
        self,
        pool: Pool,
        notifier: Notifier,
        wake: asyncio.Event,
        *,
        retries: Retries,
        lease_s: float,
        concurrency: int,
    ) -> None:
        self._pool = pool
        self._notifier = notifier
        self._wake = wake
        self._retries = retries
        self._lease_s = lease_s
        self._concurrency = concurrency
        self._running = 0

    async def run(self) -> None:
        """Claim as many as can be sent at once, send, and wait for the next."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                free = self._concurrency - self._running
                claimed = await until_available("claim deliveries", self._claim) if free else []
                for delivery in claimed:
                    self._running += 1
                    group.create_task(self._deliver(delivery), name=f"deliver {delivery.delivery_id}")
                if self._running >= self._concurrency:
                    await self._wake.wait()
                elif len(claimed) < free:
                    delay_s = await until_available("read when the next delivery is due", self._delay_s)
                    await happens(self._wake, delay_s)

    async def _claim(self) -> list[Delivery]:
        async with transaction(self._pool) as db:
            return await store.claim_deliveries(db, self._concurrency - self._running, self._lease_s)

    async def _delay_s(self) -> float:
        async with transaction(self._pool) as db:
            return bounded_delay_s(await store.seconds_to_next_delivery(db))

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            started_s = time.monotonic()
            answer = await self._notifier.send(delivery)
            took_s = time.monotonic() - started_s
            metrics.ATTEMPT_SECONDS.observe(took_s)
            await until_available(
                "note a delivery attempt", lambda: self._note(delivery, answer, round(took_s * 1_000))
            )
        finally:
            self._running -= 1
            self._wake.set()

    async def _note(self, delivery: Delivery, answer: Answer, took_ms: int) -> None:
        ended = outcome(answer, delivery.attempts + 1, self._retries)
        async with transaction(self._pool) as db:
            is_ours = await store.finish_delivery(
                db,
                delivery,
                status=ended.status,
                http_status=answer.status,
                took_ms=took_ms,
                error_class=ended.error_class,
                delay_s=ended.delay_s,
            )
            if is_ours and isinstance(answer, GaveUp) and answer.disable:
                await store.disable_channel(db, delivery.channel_id)
        if not is_ours:
            metrics.LEASES_LOST.inc()
        metrics.ATTEMPTS.labels(ended.status if is_ours else "lease_lost").inc()
        log.info(
            "escalation.attempt", **_told(delivery, answer), became=ended.status, ms=took_ms, ours=is_ours
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a delivery after an attempt."""

    status: str
    error_class: str | None = None
    delay_s: float = 0.0


def outcome(answer: Answer, attempts: int, retries: Retries) -> Outcome:
    """Delivered, pending again after a delay, or failed for good."""
    match answer:
        case Sent():
            return Outcome("delivered")
        case GaveUp(reason=reason):
            return Outcome("failed", reason)
        case Retry(reason=reason, after_s=after_s):
            delay_s = retries.next_delay_s(attempts, after_s)
            return Outcome("failed", reason) if delay_s is None else Outcome("pending", reason, delay_s)


def _told(delivery: Delivery, answer: Answer) -> Mapping[str, object]:
    return {
        "delivery_id": str(delivery.delivery_id),
        "tenant": delivery.tenant_id,
        "alert_id": str(delivery.alert_id),
        "channel_id": str(delivery.channel_id),
        "attempt": delivery.attempts + 1,
        "http_status": answer.status,
    }
