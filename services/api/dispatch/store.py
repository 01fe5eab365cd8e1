"""Dispatches, newest first, and who asked for them in the audit log."""

import json
from typing import Any, Final

import asyncpg

from services.api.dispatch.split import told_split
from services.runtime.postgres import Connection

_DISPATCH: Final = """
select dispatch_id::text, asset_id, site_id, power_mw as mw, duration_s, state, reason, requested_by, source,
  created_at, updated_at, expires_at, preview, result
from dispatch where tenant_id = $1"""
HISTORY: Final = f"{_DISPATCH} order by created_at desc, dispatch_id limit $2"
ONE: Final = f"{_DISPATCH} and dispatch_id = $2::uuid"


async def read_history(db: Connection, tenant: str, limit: int) -> list[dict[str, Any]]:
    """The last ones."""
    return [_dispatch(row) for row in await db.fetch(HISTORY, tenant, limit)]


async def read_one(db: Connection, tenant: str, dispatch_id: str) -> dict[str, Any] | None:
    """One of them."""
    row = await db.fetchrow(ONE, tenant, dispatch_id)
    return _dispatch(row) if row else None


def _dispatch(row: asyncpg.Record) -> dict[str, Any]:
    values = dict(row)
    preview, result = (json.loads(values.pop(name) or "null") for name in ("preview", "result"))
    return {**values, **told_split(preview, result)}
