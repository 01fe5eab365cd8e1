"""Carries requests through, and forgets accounts when their time is over. Takes up where it was killed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from google.protobuf.message import DecodeError

from overwatt.topics import REGISTRY, identity
from overwatt.v1.agent_pb2 import AgentReply, Reply
from services.provisioning import store as registry
from services.provisioning.enrolment.revocation import revoke
from services.provisioning.erasure import cache, plan, store
from services.provisioning.model import Author
from services.runtime import clock
from services.runtime.bus import Producer, Record, producer
from services.runtime.log import get_logger
from services.runtime.postgres import Connection, Pool, transaction
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

AUTHOR: Final = Author(actor="provisioning")
LOOK_EVERY_S: Final = 30.0
KIND: Final = "data.deleted"
REASON: Final = "cessation_of_operation"


class Eraser:
    """One of these per process; several processes do not get into each other's way."""

    def __init__(
        self, pool: Pool, *, redis_url: str, on_change: Callable[[], None], on_notice: Callable[[], None]
    ) -> None:
        """`on_change` is called when the registry topic has to hear of something, `on_notice` of a mail."""
        self._pool = pool
        self._redis_url = redis_url
        self._on_change = on_change
        self._on_notice = on_notice
        self._work = asyncio.Event()

    def wake(self) -> None:
        """Something was entombed."""
        self._work.set()

    async def run(self, bootstrap: str) -> None:
        """For ever."""
        async with producer(bootstrap, name="provisioning-erasure") as out:
            while True:
                self._work.clear()
                while await until_available("erase data", lambda: self.step(clock.now())):
                    pass
                while await until_available("revoke erased boxes", lambda: self.revoke_erased(clock.now())):
                    pass
                while await until_available("forget accounts", lambda: self.purge(clock.now(), out)):
                    pass
                await happens(self._work, LOOK_EVERY_S)

    async def finish(self, request_id: UUID, within_s: float) -> dict[str, Any]:
        """The request once it is executed, or as it is after so long."""
        deadline_s = time.monotonic() + within_s
        while True:
            async with transaction(self._pool) as db:
                request = await store.read_request(db, request_id, None)
            if request["state"] == "executed" or request["error"] or time.monotonic() > deadline_s:
                return request
            if not await self.step(clock.now()):
                await asyncio.sleep(0.05)

    async def step(self, now: datetime) -> bool:
        """One transaction of one request; False when there is nothing to do. Raises Unavailable."""
        async with transaction(self._pool) as db:
            request = await store.claim(db)
            if request is None:
                return False
            try:
                async with db.transaction():
                    done = await self._advance(db, request, now)
            except asyncpg.ObjectNotInPrerequisiteStateError as error:
                # A table that nobody told us of came in between; people see it in the list of requests.
                log.error("erasure is held up", request=str(request["request_id"]), error=str(error))
                await store.set_error(db, request["request_id"], str(error))
                return False
        if done:
            self._on_notice()
        return True

    async def _advance(self, db: Connection, request: dict[str, Any], now: datetime) -> bool:
        """Answers whether the request is executed now."""
        request_id, tenant_id = request["request_id"], request["tenant_id"]
        if request["state"] == "entombed":
            counts = await store.erase(db, request_id)
            author = Author(request["executed_by"], request["executed_from"])
            target = ("user", str(request["user_id"]))
            detail = {"boxes": request["boxes"]}
            await registry.audit(db, author, "user.delete_executed", target, detail, tenant_id=tenant_id)
            log.info("data erased", request=str(request_id), rows=sum(counts.values()))
        elif level := await store.erase_next_rollup(db, request_id):
            log.info("rollup erased", request=str(request_id), rollup=level)
        else:
            names = [*request["boxes"], *await store.devices_of(db, tenant_id, request["boxes"])]
            await cache.forget(self._redis_url, names)
            await store.set_executed(db, request_id, now)
            if email := await store.email_of(db, tenant_id, request["user_id"]):
                await store.notify(db, tenant_id, KIND, email, text=(plan.SUBJECT, plan.NOTICE))
            log.info("erasure executed", request=str(request_id))
            return True
        return False

    async def take(self, records: Sequence[Record]) -> None:
        """Replies of agents: those that say that a spool is wiped. Raises Unavailable."""
        wiped = [word for record in records if (word := _read(record))]
        if not wiped:
            return
        async with transaction(self._pool) as db:
            for word in wiped:
                await store.set_wiped(db, word.tenant, word.device, clock.now())
        self._work.set()

    async def revoke_erased(self, now: datetime) -> bool:
        """Void the credentials of boxes whose spool is wiped, or that had their time to say so."""
        async with transaction(self._pool) as db:
            boxes = await store.boxes_to_revoke(db, now - plan.KEEP)
            for tenant_id, box_id in boxes:
                for device_id in await store.holders_of(db, tenant_id, box_id):
                    await revoke(db, tenant_id, device_id, reason=REASON, author=AUTHOR)
                await store.set_revoked(db, tenant_id, box_id, now)
        if boxes:
            self._on_change()
        return bool(boxes)

    async def purge(self, now: datetime, out: Producer) -> bool:
        """Forget one account and its boxes, in the registry topic too; False when none is due."""
        async with transaction(self._pool) as db:
            request = await store.claim_purge(db, now - plan.KEEP, now - plan.KEEP - plan.CUT_PATIENCE)
            if request is None:
                return False
            await self._forget(db, request, out, now)
        return True

    async def _forget(self, db: Connection, request: dict[str, Any], out: Producer, now: datetime) -> None:
        await registry.take_turn_to_publish(db)
        tenant_id = request["tenant_id"]
        names = {*request["boxes"], *await store.devices_of(db, tenant_id, request["boxes"])}
        # Before the rows: after a kill in between this runs again, and the tombstones by hash hold anyway.
        await out.settle([await out.enqueue(REGISTRY, identity(tenant_id, name), None) for name in names])
        await store.purge(db, request["request_id"], now)
        target = ("user", str(request["user_id"]))
        await registry.audit(db, AUTHOR, "user.forgotten", target, {}, tenant_id=tenant_id)
        log.info("account forgotten", request=str(request["request_id"]))


def _read(record: Record) -> AgentReply | None:
    try:
        word = AgentReply.FromString(record.value or b"")
    except DecodeError:
        return None  # the controller counts it
    return word if word.reply.state == Reply.ERASED else None
