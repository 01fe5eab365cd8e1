"""/api/admin/waitlist."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query
from fastapi.responses import Response

from services.provisioning.answers import named_in_body
from services.provisioning.key import KeyHolder
from services.provisioning.model import Author
from services.provisioning.schemas import TenantId
from services.provisioning.store import audit
from services.provisioning.waitlist import decisions, invitation, lines, store
from services.provisioning.waitlist.schemas import (
    DismissedEntry,
    Entry,
    Imported,
    Invited,
    NewDecision,
    NewEntry,
    OpenEntry,
    Waitlist,
)
from services.provisioning.waitlist.tiers import tier_of
from services.runtime.postgres import Connection, Pool, transaction


def make_router(pool: Pool, *, holder: KeyHolder) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/waitlist", tags=["waitlist"])

    @router.post("", status_code=201)
    async def add_entry(body: NewEntry, author: Author = Depends(holder)) -> Entry:
        """Put somebody on the waitlist. 409 when the address is there already."""
        async with transaction(pool) as db:
            with named_in_body():
                entry_id = await store.insert_entry(db, body)
            target = ("waitlist", str(entry_id))
            await audit(db, author, "waitlist.add", target, {}, tenant_id=body.tenant_id)
            return await read(db, body.tenant_id, entry_id)

    @router.get("")
    async def get_waitlist(
        tenant_id: TenantId, limit: Annotated[int, Query(ge=1, le=1000)] = 500
    ) -> Waitlist:
        """A tenant's waitlist in its two parts; each has at most `limit` entries, /export has all."""
        async with transaction(pool) as db:
            opened = await store.list_open(db, tenant_id, limit)
            dismissed = await store.list_dismissed(db, tenant_id, limit)
        return Waitlist(
            open=[
                OpenEntry(**_rated(row), mailto=invitation.mailto(row["email"], row["name"]))
                for row in opened
            ],
            dismissed=[
                DismissedEntry(**_rated(row), actor=row["decided_by"] or "", at=row["decided_at"])
                for row in dismissed
            ],
        )

    @router.get("/export", response_class=Response, responses={200: {"content": {lines.MEDIA_TYPE: {}}}})
    async def export(
        tenant_id: TenantId,
        after: Annotated[UUID | None, Query(description="last entry_id of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    ) -> Response:
        """A tenant's waitlist as JSON lines, oldest first, a page at a time."""
        async with transaction(pool) as db:
            rows = await store.read_page(db, tenant_id, after, limit)
        return Response("".join(f"{lines.written(row)}\n" for row in rows), media_type=lines.MEDIA_TYPE)

    @router.post("/import")
    async def import_entries(
        tenant_id: TenantId,
        body: Annotated[bytes, Body(media_type=lines.MEDIA_TYPE)],
        author: Author = Depends(holder),
    ) -> Imported:
        """Add the entries of a file of JSON lines, all or none; an address that is there stays as it is."""
        found = lines.read(body)
        async with transaction(pool) as db:
            with named_in_body():
                added = await store.import_lines(db, tenant_id, found)
            if added:
                target, detail = ("tenant", tenant_id), {"added": added}
                await audit(db, author, "waitlist.import", target, detail, tenant_id=tenant_id)
        return Imported(added=added, known=len(found) - added)

    @router.post("/{tenant}/{entry}/decision")
    async def decide(
        tenant: TenantId, entry: UUID, body: NewDecision, author: Author = Depends(holder)
    ) -> Entry:
        """Invite, queue or dismiss; only dismiss takes the entry out of the open ones."""
        async with transaction(pool) as db:
            await decisions.decide(db, tenant, entry, body.decision, author)
            return await read(db, tenant, entry)

    @router.post("/{tenant}/{entry}/invited")
    async def mark_invited(
        tenant: TenantId, entry: UUID, body: Invited | None = None, author: Author = Depends(holder)
    ) -> Entry:
        """The invitation is out: the entry is done. With a token's URL it is sent by mail."""
        async with transaction(pool) as db:
            await decisions.mark_invited(db, tenant, entry, body.token_url if body else None, author)
            return await read(db, tenant, entry)

    @router.post("/{tenant}/{entry}/dismiss")
    async def dismiss(tenant: TenantId, entry: UUID, author: Author = Depends(holder)) -> Entry:
        """The entry is done without an invitation; nobody is written to."""
        async with transaction(pool) as db:
            await decisions.decide(db, tenant, entry, "dismiss", author)
            return await read(db, tenant, entry)

    return router


async def read(db: Connection, tenant_id: str, entry_id: UUID) -> Entry:
    """One entry."""
    return Entry(**_rated(await store.read_entry(db, tenant_id, entry_id)))


def _rated(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "tier": tier_of(row["hardware"])}
