"""The table `branding`: one row a tenant."""

import json
from typing import Final

from services.api.branding.schemas import Branding
from services.runtime.postgres import Connection

READ: Final = "select name, colours, logo from branding where tenant_id = $1"
WRITE: Final = """
insert into branding (tenant_id, name, colours, logo) values ($1, $2, $3, $4)
on conflict (tenant_id) do update
  set name = excluded.name, colours = excluded.colours, logo = excluded.logo, changed_at = now()"""


async def read(db: Connection, tenant: str) -> Branding:
    """As it was set; empty before."""
    row = await db.fetchrow(READ, tenant)
    if row is None:
        return Branding()
    return Branding.model_construct(
        name=row["name"], colours=json.loads(row["colours"]), logo=row["logo"] or None
    )


async def write(db: Connection, tenant: str, branding: Branding) -> None:
    """In place of what was there."""
    await db.execute(WRITE, tenant, branding.name, json.dumps(branding.colours), branding.logo)
