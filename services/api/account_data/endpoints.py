"""/account/data: all that is held about the caller, and its deletion; /admin/data-requests: who asked."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.api.account_data.archive import archive, is_somebody
from services.api.account_data.schemas import DeleteRequest
from services.api.caller import Caller, parts_of
from services.api.registry import AskRegistry, Json
from services.api.roles import OPERATORS, require
from services.api.tokens import Identity
from services.runtime import clock
from services.runtime.web import Refusal

router = APIRouter()
account = APIRouter(prefix="/account/data", tags=["account"])
admin = APIRouter(prefix="/admin/data-requests", tags=["admin"], dependencies=[Depends(require(*OPERATORS))])


@account.post("/delete-request", status_code=201)
async def request_deletion(who: Caller, registry: AskRegistry, body: DeleteRequest | None = None) -> Json:
    """Ask for the deletion of all your data. It is done within 30 days, as a rule within 7."""
    wanted = {"tenant_id": who.tenant, "user_id": str(_user(who)), "reason": body.reason if body else ""}
    return await registry.send("POST", "data-requests", body=wanted)


@account.get(
    "/export", response_class=StreamingResponse, responses={200: {"content": {"application/zip": {}}}}
)
async def export(request: Request, who: Caller) -> Response:
    """All that is held about you, as one zip: JSON lines and CSV, with a description of every field."""
    pool, now = parts_of(request).pool, clock.now()
    if not await is_somebody(pool, who.tenant, str(_user(who))):
        raise Refusal(404, "you have no account here")
    name = f'attachment; filename="data-{now:%Y-%m-%d}.zip"'
    content = archive(pool, who.tenant, str(_user(who)), now)
    return StreamingResponse(
        content,
        media_type="application/zip",
        headers={"Content-Disposition": name, "Cache-Control": "no-store"},
    )


@admin.get("")
async def get_requests(registry: AskRegistry) -> list[Json]:
    """Who asked for deletion, until when it is due (target_at, due_at), and whether it is overdue."""
    return await registry.many("data-requests", tenant_id=registry.tenant)


@admin.post("/{request_id}/execute")
async def execute(
    request_id: UUID,
    registry: AskRegistry,
    response: Response,
    dry_run: Annotated[bool, Query(description="count only, by box and table; nothing is deleted")] = False,
) -> Json:
    """Erase all that it is about. 409 names tables that erasure does not know: then nothing is done."""
    done = await registry.send(
        "POST", "data-requests", str(request_id), "execute", tenant_id=registry.tenant, dry_run=dry_run
    )
    if done.get("state") in ("entombed", "deleted"):
        response.status_code = 202
    return done


def _user(who: Identity) -> UUID:
    try:
        return UUID(who.user)
    except ValueError:
        raise Refusal(404, "you have no account here: your token names no user") from None


router.include_router(account)
router.include_router(admin)
