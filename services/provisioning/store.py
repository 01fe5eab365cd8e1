"""The registry's tables."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from services.provisioning.model import (
    DECOMMISSIONED,
    AssetRow,
    Author,
    Box,
    DeviceRow,
    Holdings,
    Taken,
    Unknown,
)
from services.runtime import personal
from services.runtime.postgres import Connection

# A device's next change is always later than its last: the publisher tells changes apart by this time.
CHANGED: Final = "changed_at = greatest(clock_timestamp(), device.changed_at + interval '1 microsecond')"

IMPORT_LOCK: Final = "select pg_advisory_xact_lock(hashtext('overwatt.provisioning.import'))"
PUBLISH_LOCK: Final = "select pg_advisory_xact_lock(hashtext('overwatt.provisioning.publish'))"

ENSURE_TENANT: Final = "insert into tenant (tenant_id, name) values ($1, $1) on conflict do nothing"
SITES: Final = "select site_id, name from site where tenant_id = $1"
# What a person put out of use reads as erased: an import leaves both alone.
BOXES: Final = """
select box_id,
  case when state = 'decommissioned' and left_file_at is null then 'erased' else state end as state
from box where tenant_id = $1 and source = 'file'"""
GIVEN_NAMES: Final = "select site_id, name from site where tenant_id = $1 and renamed_at is not null"
BY_HAND: Final = """
select d.device_id, d.box_id from device d join box b on b.tenant_id = d.tenant_id and b.box_id = d.box_id
where d.tenant_id = $1 and d.device_id = any($2) and b.source = 'admin' order by d.device_id limit 1"""
_DEVICE_ROWS: Final = """
select d.device_id, d.site_id, coalesce(s.name, '') as site_name, d.box_id, d.type, d.name, d.assets,
  d.state, d.left_file_at, a.asset_id is not null as is_asset, a.capacity_mwh, a.max_mw, a.min_mw,
  a.efficiency, a.ramp_rate_mw_per_min, a.location, a.details
from device d
left join site s using (tenant_id, site_id)
left join asset a using (device_key)"""
DEVICES: Final = f"""{_DEVICE_ROWS}
where d.tenant_id = $1
  and (d.device_id = any($2)
    or (a.asset_id is not null or d.device_id = d.box_id)
      and (d.tenant_id, d.box_id) in (select tenant_id, box_id from box where source = 'file'))"""
BOX_DEVICES: Final = f"""{_DEVICE_ROWS}
where d.tenant_id = $1 and (d.device_id = any($2)
  or d.box_id = $3 and (a.asset_id is not null or d.device_id = d.box_id))
order by d.device_key"""

WRITE_SITE: Final = """
insert into site (tenant_id, site_id, name) values ($1, $2, $3)
on conflict (tenant_id, site_id) do update set name = excluded.name"""
WRITE_BOX: Final = """
insert into box (tenant_id, box_id, site_id, mode, opt_ins) values ($1, $2, $2, 'active', '{battery}')
on conflict (tenant_id, box_id) do update
  set state = case box.state when 'decommissioned' then 'active' else box.state end"""
WRITE_DEVICE: Final = f"""
insert into device (tenant_id, device_id, site_id, box_id, type, name, assets)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (tenant_id, device_id) do update
  set site_id = excluded.site_id, box_id = excluded.box_id, type = excluded.type, name = excluded.name,
    assets = excluded.assets, {CHANGED},
    state = case device.state when 'decommissioned' then 'active' else device.state end
returning device_key"""
WRITE_ASSET: Final = """
insert into asset (tenant_id, asset_id, device_key, capacity_mwh, max_mw, min_mw, efficiency,
  ramp_rate_mw_per_min, location, details)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (tenant_id, asset_id) do update
  set capacity_mwh = excluded.capacity_mwh, max_mw = excluded.max_mw, min_mw = excluded.min_mw,
    efficiency = excluded.efficiency, ramp_rate_mw_per_min = excluded.ramp_rate_mw_per_min,
    location = excluded.location, details = excluded.details"""
RETIRE_DEVICES: Final = f"""
update device set state = 'decommissioned', left_file_at = now(), {CHANGED}
where tenant_id = $1 and device_id = any($2)"""
RETIRE_BOXES: Final = """
update box set state = 'decommissioned', left_file_at = now() where tenant_id = $1 and box_id = any($2)"""


async def take_turn_to_import(db: Connection) -> None:
    """One import at a time, whichever process runs it."""
    await db.execute(IMPORT_LOCK)


async def ensure_tenant(db: Connection, tenant_id: str) -> None:
    """The tenant of the assets file exists."""
    await db.execute(ENSURE_TENANT, tenant_id)


async def read_holdings(db: Connection, tenant_id: str, device_ids: Sequence[str]) -> Holdings:
    """What came from an assets file, and what bears one of these names."""
    return Holdings(
        sites={row["site_id"]: row["name"] for row in await db.fetch(SITES, tenant_id)},
        boxes={row["box_id"]: row["state"] for row in await db.fetch(BOXES, tenant_id)},
        devices={
            row["device_id"]: _device(row) for row in await db.fetch(DEVICES, tenant_id, list(device_ids))
        },
    )


async def read_given_names(db: Connection, tenant_id: str) -> dict[str, str]:
    """Sites that a person renamed."""
    return {row["site_id"]: row["name"] for row in await db.fetch(GIVEN_NAMES, tenant_id)}


async def refuse_made_by_hand(db: Connection, tenant_id: str, device_ids: Sequence[str]) -> None:
    """Raises Taken where a box that a person made has one of these."""
    row = await db.fetchrow(BY_HAND, tenant_id, list(device_ids))
    if row is not None:
        raise Taken(
            f"{row['device_id']!r} is of box {row['box_id']!r}, which was registered by hand; "
            "take it out of the file, or give it another id there"
        )


async def read_box_devices(
    db: Connection, tenant_id: str, box_id: str, device_ids: Sequence[str] = ()
) -> dict[str, DeviceRow]:
    """The box's agent and assets by id, and what bears one of these names."""
    rows = await db.fetch(BOX_DEVICES, tenant_id, list(device_ids), box_id)
    return {row["device_id"]: _device(row) for row in rows}


async def write_site(db: Connection, tenant_id: str, site_id: str, name: str) -> None:
    """A site with this name."""
    await db.execute(WRITE_SITE, tenant_id, site_id, name)


async def write_box(db: Connection, tenant_id: str, site_id: str) -> None:
    """The site's box exists and is in use; mode and opt-ins of one that exists stay. Raises Taken."""
    try:
        await db.execute(WRITE_BOX, tenant_id, site_id)
    except asyncpg.UniqueViolationError as error:
        raise Taken(f"site {site_id!r} cannot have a box: another tenant has a box of that id") from error


async def write_device(db: Connection, tenant_id: str, device: DeviceRow) -> None:
    """The device, and what it can do if it is an asset."""
    key = await db.fetchval(
        WRITE_DEVICE,
        tenant_id,
        device.device_id,
        device.site_id,
        device.box_id,
        device.type,
        device.name,
        list(device.assets),
    )
    if asset := device.asset:
        await db.execute(
            WRITE_ASSET,
            tenant_id,
            device.device_id,
            key,
            asset.capacity_mwh,
            asset.max_mw,
            asset.min_mw,
            asset.efficiency,
            asset.ramp_rate_mw_per_min,
            asset.location,
            json.dumps(asset.details),
        )


async def retire(db: Connection, tenant_id: str, device_ids: Sequence[str], box_ids: Sequence[str]) -> None:
    """Decommission; nothing is deleted."""
    await db.execute(RETIRE_DEVICES, tenant_id, list(device_ids))
    await db.execute(RETIRE_BOXES, tenant_id, list(box_ids))


TENANT_EXISTS: Final = "select exists (select from tenant where tenant_id = $1)"
SITE_EXISTS: Final = "select exists (select from site where tenant_id = $1 and site_id = $2)"


# NO KEY: sessions and devices that refer to the box are not held up, commands under way are waited for.
HOLD_BOX: Final = """
select tenant_id, box_id, site_id, mode, mode_epoch, opt_ins, state, mode_changed_at
from box where tenant_id = $1 and box_id = $2 for no key update"""
SET_BOX: Final = """
update box set mode = $3, opt_ins = $4, mode_epoch = mode_epoch + 1, mode_changed_at = clock_timestamp()
where tenant_id = $1 and box_id = $2
returning tenant_id, box_id, site_id, mode, mode_epoch, opt_ins, state, mode_changed_at"""
TOUCH_BOX_DEVICES: Final = f"update device set {CHANGED} where tenant_id = $1 and box_id = $2"


async def hold_box(db: Connection, tenant_id: str, box_id: str) -> Box:
    """The box, to be changed; waits while a command is being published to it. Raises Unknown."""
    row = await db.fetchrow(HOLD_BOX, tenant_id, box_id)
    if row is None:
        raise Unknown(f"box {box_id!r} does not exist in tenant {tenant_id!r}", field="box")
    return _box(row)


async def set_box(db: Connection, tenant_id: str, box_id: str, *, mode: str, opt_ins: Sequence[str]) -> Box:
    """Mode and opt-ins under a new epoch; the box's devices count as changed."""
    row = await db.fetchrow(SET_BOX, tenant_id, box_id, mode, list(opt_ins))
    await db.execute(TOUCH_BOX_DEVICES, tenant_id, box_id)
    assert row is not None
    return _box(row)


WRITE_AUDIT: Final = """
insert into admin_audit (actor, action, target_type, target_id, detail, result, tenant_id, address,
  request_id)
values ($1, $2, $3, $4, $5, 'ok', $6, $7, $8)"""


async def audit(
    db: Connection,
    author: Author,
    action: str,
    target: tuple[str, str],
    detail: Mapping[str, object],
    *,
    tenant_id: str,
) -> None:
    """Who did what to which (type, id), in the transaction that does it.

    The address and the e-mail addresses in the detail stand there under the keys of their persons.
    """
    address = await personal.seal(db, author.actor, author.address) if author.address else None
    sealed = await personal.seal_detail(db, detail, tenant_id)
    await db.execute(
        WRITE_AUDIT, author.actor, action, *target, json.dumps(sealed), tenant_id, address, author.request_id
    )


# The devices of a tenant that is disabled are told so.
UNPUBLISHED: Final = """
select d.device_key, d.tenant_id, d.device_id, d.site_id, s.name as site_name, d.box_id, d.type,
  case when d.state = 'active' then t.state else d.state end as state, d.name, d.assets, b.mode,
  b.mode_epoch, b.opt_ins, d.changed_at, a.capacity_mwh, a.max_mw, a.min_mw, d.wipe
from device d
join tenant t using (tenant_id)
left join site s using (tenant_id, site_id)
left join box b on b.tenant_id = d.tenant_id and b.box_id = d.box_id
left join asset a on a.device_key = d.device_key
where d.published_at is null or d.published_at < d.changed_at
order by d.changed_at, d.device_key limit $1"""
COUNT_UNPUBLISHED: Final = (
    "select count(*) from device where published_at is null or published_at < changed_at"
)
SET_PUBLISHED: Final = """
update device set published_at = told.changed_at
from unnest($1::int[], $2::timestamptz[]) as told (device_key, changed_at)
where device.device_key = told.device_key"""
FORGET_PUBLISHED: Final = "update device set published_at = null where published_at is not null"
UNPUBLISHED_TOMBSTONES: Final = """
select identity_sha256 from erased_identity where published_at is null order by erased_at limit $1"""
SET_TOMBSTONES_PUBLISHED: Final = """
update erased_identity set published_at = clock_timestamp() where identity_sha256 = any($1)"""
FORGET_TOMBSTONES: Final = "update erased_identity set published_at = null where published_at is not null"


async def take_turn_to_publish(db: Connection) -> None:
    """One publisher at a time, so that an older record never follows a newer one."""
    await db.execute(PUBLISH_LOCK)


async def count_unpublished(db: Connection) -> int:
    """How many devices Kafka has not heard of."""
    return int(await db.fetchval(COUNT_UNPUBLISHED))


async def read_unpublished(db: Connection, limit: int) -> list[asyncpg.Record]:
    """What Kafka has to hear, longest waiting first."""
    rows: list[asyncpg.Record] = await db.fetch(UNPUBLISHED, limit)
    return rows


async def set_published(db: Connection, told: Mapping[int, datetime]) -> None:
    """Kafka has these devices as they were at that change; a later change is still to be told."""
    await db.execute(SET_PUBLISHED, list(told), list(told.values()))


async def forget_published(db: Connection) -> None:
    """Everything is to be told again."""
    await db.execute(FORGET_PUBLISHED)
    await db.execute(FORGET_TOMBSTONES)


async def read_unpublished_tombstones(db: Connection, limit: int) -> list[bytes]:
    """Hashes of erased identities of which Kafka has not heard."""
    return [bytes(row["identity_sha256"]) for row in await db.fetch(UNPUBLISHED_TOMBSTONES, limit)]


async def set_tombstones_published(db: Connection, identities: Sequence[bytes]) -> None:
    """Kafka has these."""
    await db.execute(SET_TOMBSTONES_PUBLISHED, list(identities))


def _device(row: asyncpg.Record) -> DeviceRow:
    asset = None
    if row["is_asset"]:
        asset = AssetRow(
            capacity_mwh=row["capacity_mwh"],
            max_mw=row["max_mw"],
            min_mw=row["min_mw"],
            efficiency=row["efficiency"],
            ramp_rate_mw_per_min=row["ramp_rate_mw_per_min"],
            location=row["location"],
            details=json.loads(row["details"]),
        )
    return DeviceRow(
        device_id=row["device_id"],
        site_id=row["site_id"],
        site_name=row["site_name"],
        box_id=row["box_id"],
        type=row["type"],
        name=row["name"],
        assets=tuple(row["assets"]),
        asset=asset,
        state=row["state"],
        stays_out=row["state"] == DECOMMISSIONED and row["left_file_at"] is None,
    )


def _box(row: asyncpg.Record) -> Box:
    return Box(**{**dict(row), "opt_ins": tuple(row["opt_ins"])})
