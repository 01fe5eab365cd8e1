"""The keeper: every second, or when woken, the broker is told what the tables say, and sessions are cut.

The order matters: first nobody new gets in and nothing counts, then the old session ends.
"""

import asyncio
from datetime import datetime
from typing import Final, Protocol

from services.provisioning.brokers import metrics, store
from services.provisioning.brokers.wanted import Cut, Wanted
from services.runtime import clock
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import Backoff, until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

PERIOD_S: Final = 1.0
MOST_CUTS: Final = 50
"""In one round, all at the same time."""
RETRY: Final = Backoff(first_s=0.1, longest_s=PERIOD_S)


class Broker(Protocol):
    """What a broker must be able to do. Both calls raise Unavailable and may be repeated."""

    @property
    def wants_credentials(self) -> bool:
        """Whether it needs our lists of tokens and revoked certificates, or finds them by itself."""

    async def keep(self, wanted: Wanted, now: datetime) -> None:
        """Know this from now on."""

    async def cut(self, identity: str, now: datetime) -> None:
        """End the session of this identity if there is one."""


class Keeper:
    """Keeps one broker."""

    def __init__(self, pool: Pool, broker: Broker) -> None:
        self._pool = pool
        self._broker = broker
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    async def run(self) -> None:
        """Round after round."""
        while True:
            self._woken.clear()
            await until_available("keep the broker's rules", self._round, backoff=RETRY)
            await happens(self._woken, PERIOD_S)

    async def _round(self) -> None:
        async with transaction(self._pool) as db:
            # The cuts first: each was written together with the change that the others show.
            cuts = await store.read_cuts(db, MOST_CUTS)
            wanted = await store.read_wanted(db, with_credentials=self._broker.wants_credentials)
        await self._broker.keep(wanted, clock.now())
        metrics.DENIED.set(len(wanted.denied))
        metrics.LAST_ROUND.set(clock.now().timestamp())
        errors = await asyncio.gather(*(self._cut(cut) for cut in cuts))
        async with transaction(self._pool) as db:
            for cut, error in zip(cuts, errors, strict=True):
                await store.settle_cut(db, cut, error)

    async def _cut(self, cut: Cut) -> str | None:
        try:
            await self._broker.cut(cut.identity, clock.now())
        except Unavailable as error:
            metrics.CUTS.labels("failed").inc()
            log.warning("session not cut yet", identity=cut.identity, error=str(error))
            return str(error)
        metrics.CUTS.labels("done").inc()
        log.info("session cut", identity=cut.identity)
        return None
