"""The sealer: chains the audit log every second, and says its head where nobody can reach from the table."""

import asyncio
import json
from typing import Final

from overwatt.topics import AUDIT_HEAD
from services.api import metrics
from services.api.audit import store
from services.runtime import clock
from services.runtime.bus import producer
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available

log = get_logger(__name__)

PERIOD_S: Final = 1.0
BATCH: Final = 1000
SEALED: Final = "audit sealed"
"""The event of the log lines that `audit verify` compares."""
KEY: Final = "head"


class Sealer:
    """Seals, and tells: a Kafka that is away delays no seal."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._head = (0, "")
        self._to_tell = asyncio.Event()

    async def seal(self) -> None:
        """For ever, once a second, and at once again while there is more than a batch."""
        while True:
            if await until_available("seal the audit log", self._seal_batch) < BATCH:
                await asyncio.sleep(PERIOD_S)

    async def tell(self, bootstrap: str) -> None:
        """For ever, each new head to Kafka; the newest one where they come faster."""
        async with producer(bootstrap, name="api-sealer") as out:
            while True:
                await self._to_tell.wait()
                self._to_tell.clear()
                count, head = self._head
                value = json.dumps({"count": count, "head": head, "at": clock.now().isoformat()}).encode()
                await until_available(
                    "tell the audit head",
                    lambda value=value: out.send(AUDIT_HEAD, KEY, value),  # type: ignore[misc]
                )

    async def _seal_batch(self) -> int:
        async with transaction(self._pool) as db:
            sealed, count, head = await store.seal(db, BATCH)
        metrics.LAST_SEAL.set(clock.now().timestamp())
        if (count, head) != self._head:
            self._head = (count, head)
            metrics.SEALED.inc(sealed)
            metrics.CHAIN_LENGTH.set(count)
            log.info(SEALED, rows=sealed, count=count, head=head)
            self._to_tell.set()
        return sealed
