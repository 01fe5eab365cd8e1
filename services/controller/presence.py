"""Keeps agent_session true: takes status messages, notes who was heard, closes who fell silent."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from google.protobuf.message import DecodeError

from overwatt.topics import AGENT_STATUS
from overwatt.v1.agent_pb2 import AgentStatus
from services.controller import metrics
from services.controller.messages import heard_from_wire
from services.controller.model import Session
from services.controller.sessions import STALE, STALE_AFTER, Heard, Kind, after, next_look_s
from services.controller.store import sessions as store
from services.runtime import clock
from services.runtime.bus import Record
from services.runtime.errors import Invalid
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available

log = get_logger(__name__)

WRITE_SEEN_EVERY_S: Final = 10.0


class Presence:
    """Who is there."""

    def __init__(self, pool: Pool, *, watching_since: datetime, on_connect: Callable[[], None]) -> None:
        self._pool = pool
        self._on_connect = on_connect
        self._watching_since = watching_since
        self._seen: dict[tuple[str, str], datetime] = {}
        self._heard_someone = asyncio.Event()

    def saw(self, tenant_id: str, device_id: str, at_us: int) -> None:
        """Any message is a sign of life."""
        key, at = (tenant_id, device_id), clock.from_us(at_us)
        if key not in self._seen or self._seen[key] < at:
            self._seen[key] = at
            self._heard_someone.set()

    async def take(self, records: Sequence[Record]) -> None:
        """Status messages, in their order; raises Unavailable."""
        heard = [each for record in records if (each := self._read(record))]
        if not heard:
            return
        async with transaction(self._pool) as db:
            known = await store.read_sessions(db, [each.session for each in heard])
            changed: dict[str, Session] = {}
            for each in heard:
                for session in after(each, known):
                    known[session.session_id] = changed[session.session_id] = session
            if changed:
                await store.write_sessions(db, changed.values())
        for session in changed.values():
            self._tell(session)

    async def write_seen(self) -> None:
        """Write who was heard, at most every 10 s."""
        while True:
            await self._heard_someone.wait()
            await until_available("write last_seen_at", self._flush)
            await asyncio.sleep(WRITE_SEEN_EVERY_S)

    async def close_silent(self) -> float:
        """Close what has been silent for 90 s; answers in how many seconds the next can be."""
        await self._flush()
        now = clock.now()
        async with transaction(self._pool) as db:
            if now - self._watching_since >= STALE_AFTER:
                for identity in await store.close_silent(db, now, now - STALE_AFTER):
                    metrics.CLOSED.labels(STALE).inc()
                    log.warning("session closed", agent=identity, reason=STALE)
            return next_look_s(await store.oldest_seen_at(db), self._watching_since, now)

    async def _flush(self) -> None:
        self._heard_someone.clear()
        if not self._seen:
            return
        seen = dict(self._seen)
        async with transaction(self._pool) as db:
            await store.touch(db, seen)
        for key, at in seen.items():
            if self._seen.get(key) == at:
                del self._seen[key]

    def _read(self, record: Record) -> Heard | None:
        try:
            message = AgentStatus.FromString(record.value or b"")
            heard = heard_from_wire(message)
        except (DecodeError, Invalid) as error:
            metrics.UNUSABLE.labels(AGENT_STATUS).inc()
            log.warning("status not usable", offset=record.offset, error=str(error))
            return None
        if heard.kind is Kind.ALIVE:  # the others are retained: they may be older than they look
            self.saw(message.tenant, message.device, message.received_at_us)
        return heard

    def _tell(self, session: Session) -> None:
        agent = f"{session.tenant_id}/{session.device_id}"
        if session.disconnected_at is None:
            metrics.OPENED.inc()
            log.info("session opened", agent=agent, session=session.session_id, assets=len(session.assets))
            self._on_connect()
        else:
            metrics.CLOSED.labels(session.close_reason).inc()
            log.info("session closed", agent=agent, session=session.session_id, reason=session.close_reason)
