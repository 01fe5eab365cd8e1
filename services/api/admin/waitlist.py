"""/admin/waitlist, passed on to provisioning."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query

from services.api.registry import AskRegistry, Json
from services.api.roles import OPERATORS, require

router = APIRouter(prefix="/admin/waitlist", tags=["admin"], dependencies=[Depends(require(*OPERATORS))])

NewEntry = Annotated[Json, Body(examples=[{"email": "a@b.c", "hardware": "SolarEdge SE5K"}])]
NewDecision = Annotated[Json, Body(examples=[{"decision": "queue"}])]
Invited = Annotated[Json | None, Body(examples=[{"token_url": "https://..."}])]


@router.get("")
async def get_waitlist(registry: AskRegistry, limit: Annotated[int, Query(ge=1, le=1000)] = 500) -> Json:
    """Open entries, newest first, each with its tier and a link that opens the invitation; dismissed ones."""
    return await registry.one("waitlist", tenant_id=registry.tenant, limit=limit)


@router.post("", status_code=201)
async def add_entry(body: NewEntry, registry: AskRegistry) -> Json:
    """Put somebody on the waitlist."""
    return await registry.send("POST", "waitlist", body={**body, "tenant_id": registry.tenant})


@router.post("/{entry_id}/decision")
async def decide(entry_id: UUID, body: NewDecision, registry: AskRegistry) -> Json:
    """invite, queue or dismiss; only dismiss takes the entry out of the open ones."""
    return await registry.send("POST", "waitlist", registry.tenant, str(entry_id), "decision", body=body)


@router.post("/{entry_id}/{end}")
async def end(
    entry_id: UUID, end: Literal["invited", "dismiss"], registry: AskRegistry, body: Invited = None
) -> Json:
    """Done: invited, with a token's URL by mail, or dismissed, and then nobody is written to."""
    return await registry.send("POST", "waitlist", registry.tenant, str(entry_id), end, body=body)
