"""Kafka `alert.events`: what happened to alerts, for whoever likes to know.

Best effort, after the commit: nothing that must happen hangs on it. While Kafka is away events wait in
memory, and beyond a limit they are dropped and counted. The table alerts is the truth.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from overwatt.topics import ALERT_EVENTS
from services.escalation import metrics
from services.escalation.escalate import payload
from services.escalation.model import Alert
from services.runtime import bus
from services.runtime.retry import until_available

MOST_WAITING: Final = 10_000


class Events:
    """A queue in memory and the task that empties it."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MOST_WAITING)

    def tell(self, alerts: Iterable[Alert], kind: str, now: str) -> None:
        """Never waits."""
        for alert in alerts:
            try:
                self._waiting.put_nowait((alert.tenant_id, payload(alert, kind, now)))
            except asyncio.QueueFull:
                metrics.EVENTS_DROPPED.inc()

    async def send(self, bootstrap: str) -> None:
        """Send what waits, for ever."""
        async with bus.producer(bootstrap, name="escalation") as producer:
            while True:
                key, value = await self._waiting.get()
                await until_available(
                    f"send to {ALERT_EVENTS}",
                    lambda key=key, value=value: producer.send(ALERT_EVENTS, key, value),  # type: ignore[misc]
                )
