"""The SQL of devices."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from services.provisioning.devices.schemas import NewDevice
from services.provisioning.model import Barred, Taken, Unknown
from services.provisioning.store import CHANGED, SITE_EXISTS, TENANT_EXISTS
from services.runtime.postgres import Connection

INSERT: Final = """
insert into device (tenant_id, device_id, site_id, type, name, external_id) values ($1, $2, $3, $4, $5, $6)
on conflict (tenant_id, device_id) do nothing returning device_key"""
# What a person saved goes before what the list of assets says.
_DEVICES: Final = """
select d.device_key, d.tenant_id, d.device_id, d.external_id, d.site_id, d.box_id, b.user_id, d.type, d.name,
  d.state, d.assets, coalesce(d.host, a.details ->> 'host') as host,
  coalesce(d.host_mac, a.details ->> 'host_mac') as host_mac, d.created_at, d.changed_at, d.decommissioned_at,
  b.source
from device d
left join box b on b.tenant_id = d.tenant_id and b.box_id = d.box_id
left join asset a on a.device_key = d.device_key"""
ONE: Final = f"{_DEVICES} where d.tenant_id = $1 and d.device_id = $2"
LIST: Final = f"""{_DEVICES}
where ($1::text is null or d.tenant_id = $1) and ($2::text is null or d.box_id = $2)
  and ($3::text is null or d.external_id = $3) and d.device_key > $4
order by d.device_key limit $5"""
HOLD: Final = "select device_key from device where tenant_id = $1 and device_id = $2 for no key update"
COLUMNS: Final = ("name", "host", "host_mac", "site_id", "external_id", "assets")
STRANGERS: Final = """
select id from unnest($2::text[]) id
where id = $3 or not exists
  (select from device where tenant_id = $1 and device_id = id and box_id is null and state <> 'erased')
order by id"""
SET_STATE: Final = f"""
update device set state = $3, left_file_at = null, {CHANGED} where tenant_id = $1 and device_id = $2"""


async def insert_device(db: Connection, new: NewDevice) -> None:
    """A new device; raises Unknown for its tenant or site, Taken for itself."""
    if not await db.fetchval(TENANT_EXISTS, new.tenant_id):
        raise Unknown(
            f"tenant {new.tenant_id!r} does not exist; make it with POST /api/admin/tenants",
            field="tenant_id",
        )
    await _refuse_unknown_site(db, new.tenant_id, new.site_id)
    values = (new.tenant_id, new.device_id, new.site_id, new.type, new.name, new.external_id)
    try:
        made = await db.fetchval(INSERT, *values)
    except asyncpg.UniqueViolationError as error:
        raise _taken_external_id(new.external_id) from error
    if made is None:
        raise Taken(f"device {new.tenant_id}/{new.device_id} exists")


async def read_device(
    db: Connection, tenant_id: str, device_id: str, *, hold: bool = False
) -> dict[str, Any]:
    """A device, to be changed when it is held; raises Unknown."""
    if hold:
        await db.execute(HOLD, tenant_id, device_id)
    row = await db.fetchrow(ONE, tenant_id, device_id)
    if row is None:
        raise Unknown(f"device {device_id!r} does not exist in tenant {tenant_id!r}", field="device")
    return dict(row)


async def list_devices(
    db: Connection,
    *,
    tenant_id: str | None,
    box_id: str | None,
    external_id: str | None,
    after_key: int,
    limit: int,
) -> list[dict[str, Any]]:
    """Devices in the order of their keys."""
    rows = await db.fetch(LIST, tenant_id, box_id, external_id, after_key, limit)
    return [dict(row) for row in rows]


async def write_change(
    db: Connection, tenant_id: str, before: Mapping[str, Any], change: Mapping[str, Any]
) -> None:
    """The columns that `change` names. Raises Unknown for the site and for assets, Taken, Barred."""
    device_id = before["device_id"]
    if "site_id" in change and before["box_id"] is not None:
        raise Barred(f"device {device_id!r} stands where its box {before['box_id']!r} does; move the box")
    if "name" in change and before["source"] == "file":
        raise Barred(f"device {device_id!r} has its name from the assets file; change it there")
    await _refuse_unknown_site(db, tenant_id, change.get("site_id"))
    if "assets" in change:
        await _refuse_assets(db, tenant_id, before, change["assets"])
    names = [name for name in COLUMNS if name in change]
    columns = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, start=3))
    values = [change[name] for name in names]
    sql = f"update device set {columns}, {CHANGED} where tenant_id = $1 and device_id = $2"
    try:
        await db.execute(sql, tenant_id, device_id, *values)
    except asyncpg.UniqueViolationError as error:
        raise _taken_external_id(change["external_id"]) from error


async def set_state(db: Connection, tenant_id: str, device_id: str, state: str) -> None:
    """From a person: an import does not take it back."""
    await db.execute(SET_STATE, tenant_id, device_id, state)


async def _refuse_unknown_site(db: Connection, tenant_id: str, site_id: str | None) -> None:
    if site_id is not None and not await db.fetchval(SITE_EXISTS, tenant_id, site_id):
        raise Unknown(
            f"site {site_id!r} does not exist in tenant {tenant_id!r}; name one that does, or none",
            field="site_id",
        )


async def _refuse_assets(
    db: Connection, tenant_id: str, before: Mapping[str, Any], assets: Sequence[str]
) -> None:
    device_id = before["device_id"]
    if before["box_id"] is not None:
        raise Barred(f"what device {device_id!r} speaks for is said by its box {before['box_id']!r}")
    strangers = [row["id"] for row in await db.fetch(STRANGERS, tenant_id, assets, device_id)]
    if strangers:
        raise Unknown(
            f"{', '.join(strangers[:5])}: not another device of tenant {tenant_id!r} outside of boxes; "
            "register it first, or leave it out",
            field="assets",
        )


def _taken_external_id(external_id: str | None) -> Taken:
    return Taken(f"external_id {external_id!r} is another device's; each device needs its own")
