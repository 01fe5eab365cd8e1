"""The SQL of tenants."""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from services.provisioning.model import Taken, Unknown
from services.provisioning.store import CHANGED
from services.runtime.postgres import Connection

_COLUMNS: Final = "tenant_id, name, code, state, created_at"
INSERT: Final = f"""
insert into tenant (tenant_id, name, code) values ($1, $2, $3) on conflict (tenant_id) do nothing
returning {_COLUMNS}"""
LIST: Final = f"select {_COLUMNS} from tenant order by tenant_id"
ONE: Final = f"select {_COLUMNS} from tenant where tenant_id = $1"
HOLD: Final = f"{ONE} for no key update"
WRITE: Final = "update tenant set name = $2, code = $3, state = $4 where tenant_id = $1"
TOUCH_DEVICES: Final = f"update device set {CHANGED} where tenant_id = $1"


async def insert_tenant(db: Connection, tenant_id: str, name: str, code: str | None) -> dict[str, Any]:
    """A new tenant; raises Taken."""
    try:
        row = await db.fetchrow(INSERT, tenant_id, name, code)
    except asyncpg.UniqueViolationError as error:
        raise _taken_code(code) from error
    if row is None:
        raise Taken(f"tenant {tenant_id!r} exists")
    return dict(row)


async def list_tenants(db: Connection) -> list[dict[str, Any]]:
    """All of them."""
    return [dict(row) for row in await db.fetch(LIST)]


async def read_tenant(db: Connection, tenant_id: str, *, hold: bool = False) -> dict[str, Any]:
    """A tenant, to be changed when it is held; raises Unknown."""
    row = await db.fetchrow(HOLD if hold else ONE, tenant_id)
    if row is None:
        raise Unknown(f"tenant {tenant_id!r} does not exist", field="tenant")
    return dict(row)


async def write_tenant(db: Connection, before: Mapping[str, Any], change: Mapping[str, Any]) -> None:
    """The columns that `change` names; the devices are told with their tenant's state. Raises Taken."""
    row = {**before, **change}
    try:
        await db.execute(WRITE, row["tenant_id"], row["name"], row["code"], row["state"])
    except asyncpg.UniqueViolationError as error:
        raise _taken_code(row["code"]) from error
    if "state" in change:
        await db.execute(TOUCH_DEVICES, row["tenant_id"])


def _taken_code(code: str | None) -> Taken:
    return Taken(f"code {code!r} is another tenant's; choose one that is free")
