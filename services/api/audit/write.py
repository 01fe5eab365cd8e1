"""What the api itself does, written into the audit log; the address under its person's key."""

import json
from collections.abc import Mapping
from typing import Final

from fastapi import Request

from services.api.tokens import Identity
from services.runtime.personal import seal, seal_detail
from services.runtime.postgres import Connection
from services.runtime.web import request_id_of

WRITE: Final = """
insert into admin_audit (actor, action, target_type, target_id, detail, result, tenant_id, address,
  request_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""


async def write(
    db: Connection,
    who: Identity,
    request: Request,
    action: str,
    target: tuple[str, str],
    detail: Mapping[str, object],
    *,
    result: str = "ok",
) -> None:
    """Who did what to which (type, id), in the transaction that does it."""
    address = await seal(db, who.user, request.client.host) if request.client else None
    told = json.dumps(await seal_detail(db, detail, who.tenant))
    await db.execute(
        WRITE, who.user, action, *target, told, result, who.tenant, address, request_id_of(request)
    )
