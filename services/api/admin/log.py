"""/admin/audit: what operators and users did lately (H-004)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.api.admin import store
from services.api.admin.schemas import AuditEntry
from services.api.caller import Caller, TenantDb
from services.api.roles import OPERATORS, require

router = APIRouter(prefix="/admin/audit", tags=["admin"], dependencies=[Depends(require(*OPERATORS))])


@router.get("")
async def get_audit(
    who: Caller,
    db: TenantDb,
    action: Annotated[
        str | None, Query(pattern="^[a-z._]{1,100}$", description="only these, e.g. box.mode_flip")
    ] = None,
    before: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="last seq of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[AuditEntry]:
    """The tenant's audit log, newest first."""
    rows = await store.read_audit(db, who.tenant, action=action, before=before, limit=limit)
    return [AuditEntry(**row) for row in rows]
