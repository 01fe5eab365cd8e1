"""Sends commands: at once, and every second again while their agent is connected and has not answered."""

from datetime import timedelta
from typing import Final

from overwatt.topics import COMMANDS, identity
from services.controller import metrics
from services.controller.store import commands as store
from services.runtime import clock
from services.runtime.bus import Producer
from services.runtime.postgres import Pool, transaction

REPEAT_AFTER: Final = timedelta(seconds=1)
SHORTEST_WAIT_S: Final = 0.01
"""A twin may hold what is due."""


class Outbox:
    """What stands in the table `command` and has no answer is its only state: it survives a restart."""

    def __init__(self, pool: Pool, producer: Producer) -> None:
        self._pool = pool
        self._producer = producer

    async def publish(self) -> float | None:
        """Send what is due; answers in how many seconds more will be, None for nothing."""
        now = clock.now()
        async with transaction(self._pool) as db:
            due = await store.claim_due(db, now, REPEAT_AFTER)
            next_at = await store.next_due_at(db, now, REPEAT_AFTER)
        # Sent after the commit: a command that gets lost here is due again in a second.
        futures = [
            await self._producer.enqueue(
                COMMANDS, identity(command["tenant_id"], command["device_id"]), command["payload"]
            )
            for command in due
        ]
        await self._producer.settle(futures)
        metrics.PUBLISHED.inc(len(due))
        return None if next_at is None else max((next_at - clock.now()).total_seconds(), SHORTEST_WAIT_S)
