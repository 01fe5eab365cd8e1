"""The SQL of boxes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID

from services.provisioning.boxes.schemas import NewBox
from services.provisioning.model import Taken, Unknown
from services.provisioning.store import CHANGED, SITE_EXISTS, TENANT_EXISTS
from services.runtime.postgres import Connection

INSERT_SITE: Final = """
insert into site (tenant_id, site_id, name) values ($1, $2, $3) on conflict do nothing returning site_id"""
INSERT_BOX: Final = """
insert into box (tenant_id, box_id, site_id, source, name, serial, hardware, user_id)
values ($1, $2, $2, 'admin', $3, $4, $5, $6) on conflict do nothing returning box_id"""
INSERT_AGENT: Final = """
insert into device (tenant_id, device_id, site_id, box_id, type, name) values ($1, $2, $2, $2, 'agent', $3)
on conflict do nothing returning device_id"""
_BOXES: Final = """
select b.tenant_id, b.box_id, b.site_id, coalesce(s.name, '') as site_name, b.name, b.serial, b.hardware,
  b.user_id, b.source, b.state, b.mode, b.mode_changed_at, b.mode_epoch, b.opt_ins, b.created_at,
  b.enrolled_at, b.support_tunnel, coalesce(d.assets, '{}') as assets,
  (select max(c.not_after) from certificate c
    where c.tenant_id = b.tenant_id and c.device_id = b.box_id and c.revoked_at is null)
    as certificate_ends_at
from box b
left join site s on s.tenant_id = b.tenant_id and s.site_id = b.site_id
left join device d on d.tenant_id = b.tenant_id and d.device_id = b.box_id"""
ONE_BOX: Final = f"{_BOXES} where b.tenant_id = $1 and b.box_id = $2"
LIST_BOXES: Final = f"""{_BOXES}
where ($1::text is null or b.tenant_id = $1) and ($2::text is null or b.mode = $2)
  and ($3::text is null or b.state = $3) and ($4::uuid is null or b.user_id = $4) and b.box_id > $5
order by b.box_id limit $6"""
MOVE_DEVICES: Final = f"update device set site_id = $3, {CHANGED} where tenant_id = $1 and box_id = $2"
NAME_AGENT: Final = f"update device set name = $3, {CHANGED} where tenant_id = $1 and device_id = $2"
SET_STATE: Final = "update box set state = $3, left_file_at = null where tenant_id = $1 and box_id = $2"
# The agent shares the fate of its box; the assets of a disabled one are silent with their agent.
SET_DEVICES: Final = f"""
update device set {CHANGED}, left_file_at = null,
  state = case when device_id = $2 or $3 = 'decommissioned' then $3 else state end
where tenant_id = $1 and box_id = $2 and state <> 'erased'"""
SAVED: Final = "select device_id, host, host_mac from device where tenant_id = $1 and box_id = $2"
COLUMNS: Final = ("name", "serial", "hardware", "user_id", "support_tunnel", "site_id")


async def insert_box(db: Connection, new: NewBox) -> None:
    """Site, box and agent, all of one name. Raises Unknown, Taken."""
    if not await db.fetchval(TENANT_EXISTS, new.tenant_id):
        raise Unknown(f"tenant {new.tenant_id!r} does not exist; make it first", field="tenant_id")
    inserts = (
        ("site", INSERT_SITE, (new.site_name,)),
        ("box", INSERT_BOX, (new.name, new.serial, new.hardware, new.user_id)),
        ("device", INSERT_AGENT, (new.name,)),
    )
    for noun, statement, values in inserts:
        if await db.fetchval(statement, new.tenant_id, new.box_id, *values) is None:
            raise Taken(f"a {noun} with the id {new.box_id!r} exists; choose another box_id")


async def read_box(db: Connection, tenant_id: str, box_id: str) -> dict[str, Any]:
    """A box; raises Unknown."""
    row = await db.fetchrow(ONE_BOX, tenant_id, box_id)
    if row is None:
        raise Unknown(f"box {box_id!r} does not exist in tenant {tenant_id!r}", field="box")
    return dict(row)


async def list_boxes(
    db: Connection,
    *,
    tenant_id: str | None,
    mode: str | None,
    state: str | None,
    user_id: UUID | None,
    after: str,
    limit: int,
) -> list[dict[str, Any]]:
    """Boxes in the order of their ids."""
    return [dict(row) for row in await db.fetch(LIST_BOXES, tenant_id, mode, state, user_id, after, limit)]


async def write_change(db: Connection, tenant_id: str, box_id: str, change: Mapping[str, Any]) -> None:
    """The columns that `change` names; its devices follow to the site, the agent bears its name."""
    names = [name for name in COLUMNS if name in change]
    columns = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, start=3))
    values = [change[name] for name in names]
    if "site_id" in change:
        if not await db.fetchval(SITE_EXISTS, tenant_id, change["site_id"]):
            raise Unknown(
                f"site {change['site_id']!r} does not exist in tenant {tenant_id!r}", field="site_id"
            )
        await db.execute(MOVE_DEVICES, tenant_id, box_id, change["site_id"])
    if "name" in change:
        await db.execute(NAME_AGENT, tenant_id, box_id, change["name"])
    if names:
        await db.execute(
            f"update box set {columns} where tenant_id = $1 and box_id = $2", tenant_id, box_id, *values
        )


async def set_state(db: Connection, tenant_id: str, box_id: str, state: str) -> None:
    """Of the box and its agent, or of all its devices when it goes for good."""
    await db.execute(SET_STATE, tenant_id, box_id, state)
    await db.execute(SET_DEVICES, tenant_id, box_id, state)


async def read_saved(db: Connection, tenant_id: str, box_id: str) -> dict[str, dict[str, str]]:
    """Addresses that a person saved, by device."""
    rows = await db.fetch(SAVED, tenant_id, box_id)
    return {row.pop("device_id"): _given(row) for row in map(dict, rows)}


async def forget_saved(
    db: Connection, tenant_id: str, device_ids: Sequence[str], name: Literal["host", "host_mac"]
) -> None:
    """What these devices' list of assets says counts again."""
    await db.execute(
        f"update device set {name} = null where tenant_id = $1 and device_id = any($2)",
        tenant_id,
        list(device_ids),
    )


def _given(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in row.items() if value is not None}
