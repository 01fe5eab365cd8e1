"""POST /dispatch, GET /dispatch/history, GET /dispatch/{dispatch_id}."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from services.api.audit.write import write
from services.api.caller import Caller, TenantDb, parts_of
from services.api.database import tenant_transaction
from services.api.dispatch import store
from services.api.dispatch.schemas import Accepted, Dispatch, NewDispatch, Refused
from services.api.tokens import Identity
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.web import Refusal, request_id_of

log = get_logger(__name__)
router = APIRouter(tags=["dispatch"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such asset or site"},
    409: {"description": "The box observes, or the capability is closed: it says which", "model": Refused},
    503: {"description": "The controller does not answer; nothing was dispatched"},
}


@router.post("/dispatch", responses=_ANSWERS)
async def post_dispatch(request: Request, body: NewDispatch, who: Caller) -> Accepted:
    """Send power to an asset, or to a site, whose agent shares it by capacity within each asset's limits."""
    order = body.model_dump(exclude_none=True)
    try:
        accepted = await parts_of(request).controller.dispatch(order, who, request_id_of(request))
    except Refusal as refusal:
        if refusal.status == 409:
            await _remember(request, who, order, "refused", {"why": refusal.detail})
        raise
    await _remember(request, who, order, "ok", {"dispatch_id": accepted["dispatch_id"]})
    return Accepted(**accepted)


@router.get("/dispatch/history")
async def get_history(
    who: Caller, db: TenantDb, limit: Annotated[int, Query(ge=1, le=200)] = 200
) -> list[Dispatch]:
    """The last dispatches, newest first, with their split and what was measured since."""
    return [Dispatch(**row) for row in await store.read_history(db, who.tenant, limit)]


@router.get("/dispatch/{dispatch_id}")
async def get_dispatch(dispatch_id: UUID, who: Caller, db: TenantDb) -> Dispatch:
    """One dispatch."""
    row = await store.read_one(db, who.tenant, str(dispatch_id))
    if row is None:
        raise Refusal(404, f"dispatch {dispatch_id} does not exist; /dispatch/history lists them")
    return Dispatch(**row)


async def _remember(
    request: Request, who: Identity, order: dict[str, Any], result: str, more: dict[str, Any]
) -> None:
    """Write the audit row. The dispatch happened: a database that fails now must not change the answer."""
    target = ("asset", order["asset_id"]) if order.get("asset_id") else ("site", order["site_id"])
    try:
        async with tenant_transaction(parts_of(request).pool, who.tenant) as db:
            detail = {**order, **more, "role": who.role}
            await write(db, who, request, "dispatch.create", target, detail, result=result)
    except Unavailable as error:
        log.error("a dispatch is missing in the audit log", result=result, order=order, error=str(error))
