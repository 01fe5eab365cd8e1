"""/api/admin/data-requests: what a person asked to have deleted, until when, and its execution."""

from collections.abc import Callable
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from services.provisioning import store as registry
from services.provisioning.erasure import plan, store
from services.provisioning.erasure.job import Eraser
from services.provisioning.erasure.schemas import NewRequest, Preview, Request
from services.provisioning.key import KeyHolder
from services.provisioning.model import Author, Taken, Unknown
from services.provisioning.schemas import TenantId
from services.runtime import clock
from services.runtime.log import get_logger
from services.runtime.personal import Personal, seal
from services.runtime.postgres import Connection, Pool, transaction
from services.runtime.web import Refusal

log = get_logger(__name__)

PATIENCE_S: Final = 8.0
"""How long an answer waits for the execution, which goes on without it."""


def make_router(
    pool: Pool, *, holder: KeyHolder, eraser: Eraser, on_change: Callable[[], None], ops_email: str | None
) -> APIRouter:
    """The routes. `on_change` is called after each commit that the registry topic has to hear of."""
    router = APIRouter(prefix="/data-requests", tags=["data requests"])

    @router.post("", status_code=201)
    async def add_request(body: NewRequest, author: Author = Depends(holder)) -> Request:
        """A person asks for the deletion of all data. 409 while an earlier request is under way."""
        now = clock.now()
        async with transaction(pool) as db:
            if await store.email_of(db, body.tenant_id, body.user_id) is None:
                raise Unknown(f"user {body.user_id} has no account in {body.tenant_id!r}", field="user_id")
            boxes = await store.boxes_of(db, body.tenant_id, body.user_id)
            reason = await seal(db, str(body.user_id), body.reason) if body.reason else None
            row = await store.insert_request(
                db,
                body.tenant_id,
                body.user_id,
                boxes,
                reason=reason,
                at=(now, plan.target_at(now), plan.due_at(now)),
            )
            detail: dict[str, object] = {"user_id": str(body.user_id), "boxes": boxes}
            if body.reason:
                detail["reason"] = Personal(str(body.user_id), body.reason)
            target = ("user", str(body.user_id))
            await registry.audit(db, author, "user.delete_request", target, detail, tenant_id=body.tenant_id)
            await _ping(db, row)
        log.warning("a person asks for deletion", request=str(row["request_id"]), due=str(row["due_at"]))
        return _request(row)

    @router.get("")
    async def get_requests(
        tenant_id: Annotated[TenantId | None, Query(description="only this tenant's")] = None,
    ) -> list[Request]:
        """All requests, oldest first, each with when it is due."""
        async with transaction(pool) as db:
            return [_request(row) for row in await store.list_requests(db, tenant_id)]

    @router.post("/{request_id}/execute")
    async def execute(
        request_id: UUID,
        response: Response,
        tenant_id: Annotated[TenantId | None, Query(description="only if it is this tenant's")] = None,
        dry_run: Annotated[bool, Query(description="count only")] = False,
        author: Author = Depends(holder),
    ) -> Request | Preview:
        """Erase. 409 lists the tables that erasure does not know, and nothing is touched. 202: it goes on."""
        async with transaction(pool) as db:
            row = await store.read_request(db, request_id, tenant_id)
            unknown = await store.unaccounted(db)
            if dry_run:
                counts = await store.preview(db, request_id)
                return Preview(request_id=request_id, boxes=counts, unaccounted=unknown)
            if unknown:
                raise Refusal(
                    409,
                    f"these tables may hold the person's data, and erasure does not know them: "
                    f"{', '.join(unknown)}; nothing was deleted",
                    more={"unaccounted": unknown},
                )
            if row["state"] == "executed":
                raise Taken(f"data request {request_id} was executed at {row['executed_at'].isoformat()}")
            if row["state"] == "open":
                address = await seal(db, author.actor, author.address) if author.address else None
                await store.entomb(db, request_id, author.actor, address)
        on_change()
        eraser.wake()
        row = await eraser.finish(request_id, PATIENCE_S)
        response.status_code = 200 if row["state"] == "executed" else 202
        return _request(row)

    async def _ping(db: Connection, row: dict[str, Any]) -> None:
        if ops_email:
            text = (
                "a person asks for the deletion of all data",
                f"Data request {row['request_id']} of tenant {row['tenant_id']}, due at {row['due_at']}.\n",
            )
            await store.notify(db, str(row["tenant_id"]), "ops.data_request", ops_email, text=text)

    return router


def _request(row: dict[str, Any]) -> Request:
    overdue = plan.is_overdue(row["due_at"], row["executed_at"], clock.now())
    return Request.model_validate({**row, "overdue": overdue})
