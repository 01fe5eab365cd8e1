"""The SQL of sites."""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from services.provisioning.model import Barred, Taken, Unknown
from services.provisioning.sites.schemas import NewSite
from services.provisioning.store import CHANGED, TENANT_EXISTS
from services.runtime.postgres import Connection

INSERT: Final = """
insert into site (tenant_id, site_id, name, location, external_id) values ($1, $2, $3, $4, $5)
on conflict (tenant_id, site_id) do nothing returning site_id"""
_SITES: Final = """
select s.tenant_id, s.site_id, s.external_id, s.name, s.location, s.created_at,
  array(select b.box_id from box b where b.tenant_id = s.tenant_id and b.site_id = s.site_id
    order by b.box_id) as boxes,
  (select count(*) from device d where d.tenant_id = s.tenant_id and d.site_id = s.site_id) as devices
from site s"""
ONE: Final = f"{_SITES} where s.tenant_id = $1 and s.site_id = $2"
LIST: Final = f"""{_SITES}
where ($1::text is null or s.tenant_id = $1) and ($2::text is null or s.external_id = $2) and s.site_id > $3
order by s.site_id, s.tenant_id limit $4"""
HOLD: Final = "select site_id from site where tenant_id = $1 and site_id = $2 for no key update"
WRITE: Final = """
update site set name = $3, location = $4, external_id = $5,
  renamed_at = case when name = $3 then renamed_at else clock_timestamp() end
where tenant_id = $1 and site_id = $2"""
TOUCH_DEVICES: Final = f"update device set {CHANGED} where tenant_id = $1 and site_id = $2"
DELETE: Final = "delete from site where tenant_id = $1 and site_id = $2"


async def insert_site(db: Connection, new: NewSite) -> None:
    """A new site; raises Unknown for its tenant, Taken."""
    if not await db.fetchval(TENANT_EXISTS, new.tenant_id):
        raise Unknown(f"tenant {new.tenant_id!r} does not exist; make it first", field="tenant_id")
    values = (new.tenant_id, new.site_id, new.name, new.location, new.external_id)
    try:
        made = await db.fetchval(INSERT, *values)
    except asyncpg.UniqueViolationError as error:
        raise _taken_external_id(new.external_id) from error
    if made is None:
        raise Taken(f"site {new.site_id!r} exists in tenant {new.tenant_id!r}")


async def read_site(db: Connection, tenant_id: str, site_id: str, *, hold: bool = False) -> dict[str, Any]:
    """A site, to be changed when it is held; raises Unknown."""
    if hold:
        await db.execute(HOLD, tenant_id, site_id)
    row = await db.fetchrow(ONE, tenant_id, site_id)
    if row is None:
        raise Unknown(f"site {site_id!r} does not exist in tenant {tenant_id!r}", field="site")
    return dict(row)


async def list_sites(
    db: Connection, *, tenant_id: str | None, external_id: str | None, after: str, limit: int
) -> list[dict[str, Any]]:
    """Sites in the order of their ids."""
    return [dict(row) for row in await db.fetch(LIST, tenant_id, external_id, after, limit)]


async def write_site(db: Connection, before: Mapping[str, Any], change: Mapping[str, Any]) -> None:
    """The columns that `change` names; a new name is told with every device of the site. Raises Taken."""
    row = {**before, **change}
    place = (row["tenant_id"], row["site_id"])
    try:
        await db.execute(WRITE, *place, row["name"], row["location"], row["external_id"])
    except asyncpg.UniqueViolationError as error:
        raise _taken_external_id(row["external_id"]) from error
    if "name" in change:
        await db.execute(TOUCH_DEVICES, *place)


async def delete_site(db: Connection, tenant_id: str, site_id: str) -> None:
    """Remove an empty one; raises Barred."""
    try:
        await db.execute(DELETE, tenant_id, site_id)
    except asyncpg.ForeignKeyViolationError as error:
        raise Barred(
            f"site {site_id!r} still has boxes or devices, in use or not; move them, then delete it"
        ) from error


def _taken_external_id(external_id: str | None) -> Taken:
    return Taken(f"external_id {external_id!r} is another site's; each site needs its own")
