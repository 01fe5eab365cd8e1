"""Sends what stands in `notice`: mails written together with what they tell of, repeated until they are out.

What was sent is not kept: of a notice that is out only its kind and times remain.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from prometheus_client import Counter

from services.runtime import clock
from services.runtime.errors import Invalid, Unavailable
from services.runtime.log import get_logger
from services.runtime.mail import Mailer
from services.runtime.postgres import Connection, Pool, transaction
from services.runtime.retry import Backoff, until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
GIVE_UP_AFTER: Final = timedelta(days=3)
STEPS: Final = Backoff(first_s=10, longest_s=3600)

SENT: Final = Counter("provisioning_notices_total", "Mails by what became of them", ["outcome"])

# Held while the server is asked, so that no twin sends it too.
CLAIM: Final = """
select notice_id, kind, recipient, subject, body, attempts, created_at from notice
where sent_at is null and failed_at is null and next_attempt_at <= $1
order by next_attempt_at limit 1 for update skip locked"""
SENT_NOW: Final = """
update notice set sent_at = $2, attempts = attempts + 1, error = null, recipient = '', subject = '', body = ''
where notice_id = $1"""
FAILED: Final = "update notice set failed_at = $2, attempts = attempts + 1, error = $3 where notice_id = $1"
AGAIN: Final = """
update notice set next_attempt_at = $2, attempts = attempts + 1, error = $3 where notice_id = $1"""


class Notices:
    """The queue of mails."""

    def __init__(self, pool: Pool, mailer: Mailer | None) -> None:
        """Without a mailer notices wait in the table."""
        self._pool = pool
        self._mailer = mailer
        self._written = asyncio.Event()

    def wake(self) -> None:
        """One was committed."""
        self._written.set()

    async def run(self) -> None:
        """For ever."""
        if self._mailer is None:
            log.warning("SMTP_URL is not set: mails wait in the table notice")
            return
        while True:
            self._written.clear()
            while await until_available("send mails", lambda: self.send_next(clock.now())):
                pass
            await happens(self._written, LOOK_EVERY_S)

    async def send_next(self, now: datetime) -> bool:
        """Try the one that is due; False when none is. Raises Unavailable for the database alone."""
        assert self._mailer
        async with transaction(self._pool) as db:
            row = await db.fetchrow(CLAIM, now)
            if row is None:
                return False
            notice_id: UUID = row["notice_id"]
            try:
                await self._mailer.send(
                    row["recipient"], row["subject"], row["body"], message_id=str(notice_id)
                )
            except Unavailable as error:
                is_over = now - row["created_at"] > GIVE_UP_AFTER
                await _put_off(db, notice_id, row["attempts"], now, str(error), is_over=is_over)
            except Invalid as error:
                await _put_off(db, notice_id, row["attempts"], now, str(error), is_over=True)
            else:
                await db.execute(SENT_NOW, notice_id, now)
                SENT.labels("sent").inc()
                log.info("mail sent", kind=row["kind"], notice=str(notice_id))
        return True


async def _put_off(
    db: Connection, notice_id: UUID, attempts: int, now: datetime, error: str, *, is_over: bool
) -> None:
    SENT.labels("failed" if is_over else "put off").inc()
    log.warning("mail not sent", notice=str(notice_id), error=error, gives_up=is_over)
    if is_over:
        await db.execute(FAILED, notice_id, now, error)
    else:
        later = now + timedelta(seconds=STEPS.delay_s(attempts, 1.0))
        await db.execute(AGAIN, notice_id, later, error)
