"""The revocation list that the door serves: signed when it changes, and every day.

A list whose time is over makes brokers refuse everybody, so its age is watched long before: at 2 days an
error is logged every round, while 5 days are left.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from services.provisioning.enrolment import metrics
from services.provisioning.enrolment.authority import Authority, Revoked
from services.provisioning.enrolment.store import read_revoked
from services.runtime import clock
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction

log = get_logger(__name__)

PERIOD_S: Final = 30.0
SIGN_AFTER: Final = timedelta(days=1)
ALARM_AFTER: Final = timedelta(days=2)


class RevocationList:
    """The newest list."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._revoked: tuple[Revoked, ...] | None = None
        self._signed_at: datetime | None = None
        self.pem = b""
        """as it was signed last"""

    async def current(self, pool: Pool, now: datetime) -> bytes:
        """What is revoked now, PEM. Raises Unavailable."""
        async with transaction(pool) as db:
            self.sign(await read_revoked(db), now)
        return self.pem

    def sign(self, revoked: tuple[Revoked, ...], now: datetime) -> None:
        """Again, if it has changed or is a day old."""
        if self._signed_at is None or revoked != self._revoked or now - self._signed_at >= SIGN_AFTER:
            self.pem = self._authority.crl(revoked, now)
            self._revoked, self._signed_at = revoked, now
            metrics.CRL_REVOKED.set(len(revoked))

    def watch(self, now: datetime) -> bool:
        """Whether it is fresh; sets the metric."""
        if self._signed_at is None:
            return True
        age = now - self._signed_at
        metrics.CRL_AGE.set(age.total_seconds())
        return age < ALARM_AFTER

    async def keep_fresh(self, pool: Pool) -> None:
        """Sign again in time, for ever."""
        while True:
            try:
                await self.current(pool, clock.now())
            except Unavailable as error:
                log.warning("unavailable", what="sign the revocation list", error=str(error))
            if not self.watch(clock.now()):
                log.error("the revocation list is old; when it is 7 days old nobody can connect any more")
            await asyncio.sleep(PERIOD_S)
