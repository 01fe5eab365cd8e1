"""Users, and the audit log of the caller's tenant."""

import json
from typing import Any, Final
from uuid import UUID

from services.runtime.personal import open_rows
from services.runtime.postgres import Connection

_USERS: Final = 'select user_id, email, role, created_at from "user" where tenant_id = $1'
USERS: Final = f"{_USERS} order by created_at, user_id limit 1000"
USER: Final = f"{_USERS} and user_id = $2"
INSERT_USER: Final = """
insert into "user" (tenant_id, email, role) values ($1, $2, $3)
on conflict do nothing returning user_id, email, role, created_at"""
AUDIT: Final = """
select seq, at, actor, action, target_type, target_id, tenant_id, detail, result, address, request_id
from admin_audit_log
where tenant_id = $1 and ($2::text is null or action = $2) and ($3::bigint is null or seq < $3)
order by seq desc limit $4"""


async def list_users(db: Connection, tenant: str) -> list[dict[str, Any]]:
    """The tenant's users."""
    return [dict(row) for row in await db.fetch(USERS, tenant)]


async def read_user(db: Connection, tenant: str, user_id: UUID) -> dict[str, Any] | None:
    """One of them."""
    row = await db.fetchrow(USER, tenant, user_id)
    return dict(row) if row else None


async def insert_user(db: Connection, tenant: str, email: str, role: str) -> dict[str, Any] | None:
    """A new one; None when the address is taken."""
    row = await db.fetchrow(INSERT_USER, tenant, email, role)
    return dict(row) if row else None


async def read_audit(
    db: Connection, tenant: str, *, action: str | None, before: int | None, limit: int
) -> list[dict[str, Any]]:
    """The newest entries; personal values are readable as long as their person's key is there."""
    rows = [dict(row) for row in await db.fetch(AUDIT, tenant, action, before, limit)]
    return [{**row, "detail": json.loads(row["detail"])} for row in await open_rows(db, rows)]
