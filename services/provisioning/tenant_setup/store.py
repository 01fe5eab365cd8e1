"""A tenant's set-up, and its invitations."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg

from services.provisioning.model import Taken, Unknown
from services.provisioning.tenant_setup.schemas import Check, Pack
from services.runtime.postgres import Connection

SETUP_LOCK: Final = "select pg_advisory_xact_lock(hashtext('overwatt.provisioning.tenant_setup'))"


async def take_turn(db: Connection) -> None:
    """One set-up at a time: codes are given out in order, and two equal requests do not race."""
    await db.execute(SETUP_LOCK)


READ_SETUP: Final = """
select t.tenant_id, t.name, t.code, t.state, t.created_at, s.pack,
  coalesce(s.integrations, '{}') as integrations, s.provisioned_at, s.smoke, s.smoke_at,
  (select count(*) from box b where b.tenant_id = t.tenant_id and b.state = 'active') as boxes,
  (select count(*) from device d where d.tenant_id = t.tenant_id and d.state = 'active') as devices,
  (select count(*) from agent_session a where a.tenant_id = t.tenant_id and a.disconnected_at is null)
    as agents_connected,
  (select max(a.last_seen_at) from agent_session a where a.tenant_id = t.tenant_id) as last_seen_at,
  (select count(*) from alerts a where a.tenant_id = t.tenant_id and a.status <> 'CLOSED') as open_alerts
from tenant t left join tenant_setup s using (tenant_id)
where t.tenant_id = $1"""


async def find_setup(db: Connection, tenant_id: str) -> dict[str, Any] | None:
    """The tenant as it was set up and as it is; None where there is no such tenant."""
    row = await db.fetchrow(READ_SETUP, tenant_id)
    if row is None:
        return None
    return {**row, "smoke": json.loads(row["smoke"]) if row["smoke"] else None}


async def read_setup(db: Connection, tenant_id: str) -> dict[str, Any]:
    """The tenant as it was set up and as it is. Raises Unknown."""
    row = await find_setup(db, tenant_id)
    if row is None:
        raise Unknown(
            f"tenant {tenant_id!r} does not exist; GET /api/admin/tenants lists those that do", field="tenant"
        )
    return row


CODES: Final = "select code from tenant where code is not null"


async def read_codes(db: Connection) -> set[str]:
    """All codes that are taken, decommissioned tenants' too: a code is never given twice."""
    return {row["code"] for row in await db.fetch(CODES)}


WRITE_TENANT: Final = """
insert into tenant (tenant_id, name, code) values ($1, $2, $3)
on conflict (tenant_id) do update set name = excluded.name, code = excluded.code"""


async def write_tenant(db: Connection, tenant_id: str, name: str, code: str) -> None:
    """The tenant with this name and code. Raises Taken for the code."""
    try:
        await db.execute(WRITE_TENANT, tenant_id, name, code)
    except asyncpg.UniqueViolationError as error:
        raise Taken(
            f"code {code!r} is another tenant's; leave it out and the next free one is given"
        ) from error


WRITE_SETUP: Final = """
insert into tenant_setup (tenant_id, pack, integrations) values ($1, $2, $3)
on conflict (tenant_id) do update set pack = excluded.pack, integrations = excluded.integrations"""


async def write_setup(db: Connection, tenant_id: str, pack: str, integrations: Sequence[str]) -> None:
    """What it was made from."""
    await db.execute(WRITE_SETUP, tenant_id, pack, list(integrations))


INSTALL_PACK: Final = "select install_pack($1, $2, $3)"


async def install_pack(db: Connection, tenant_id: str, pack: Pack) -> int:
    """Add the rules and the policy that the tenant does not have; how many rules."""
    rules = json.dumps([rule.model_dump() for rule in pack.rules])
    policy = pack.escalation_policy.model_dump_json() if pack.escalation_policy else None
    return int(await db.fetchval(INSTALL_PACK, tenant_id, rules, policy))


WRITE_SMOKE: Final = """
update tenant_setup set smoke = $2, smoke_at = clock_timestamp() where tenant_id = $1 returning tenant_id"""


async def write_smoke(db: Connection, tenant_id: str, checks: Sequence[Check]) -> None:
    """What the last run found. Raises Unknown for a tenant that was not set up by `PUT .../setup`."""
    found = json.dumps([check.model_dump() for check in checks])
    if await db.fetchval(WRITE_SMOKE, tenant_id, found) is None:
        raise Unknown(
            f"tenant {tenant_id!r} has no set-up; PUT /api/admin/tenants/{tenant_id}/setup makes it",
            field="tenant",
        )


IN_USE: Final = """
select (select count(*) from site where tenant_id = $1) as sites,
  (select count(*) from box where tenant_id = $1) as boxes,
  (select count(*) from device where tenant_id = $1) as devices,
  (select count(*) from waitlist where tenant_id = $1) as "waitlist entries",
  (select count(*) from "user" where tenant_id = $1) as users"""
REMOVE_ALERTING: Final = "select remove_alerting($1)"
DELETE_TENANT: Final = "delete from tenant where tenant_id = $1"


async def delete_tenant(db: Connection, tenant_id: str) -> None:
    """Remove one that never had anything, its default rules included. Raises Taken."""
    row = await db.fetchrow(IN_USE, tenant_id)
    assert row is not None
    if used := ", ".join(f"{count} {what}" for what, count in row.items() if count):
        raise Taken(
            f"tenant {tenant_id!r} has {used}; only an empty tenant is deleted, decommission this one"
        )
    await db.execute(REMOVE_ALERTING, tenant_id)
    try:
        await db.execute(DELETE_TENANT, tenant_id)
    except asyncpg.ForeignKeyViolationError as error:
        raise Taken(f"tenant {tenant_id!r} is in use ({error.detail}); decommission it instead") from error


END_TENANT: Final = "update tenant set state = 'decommissioned' where tenant_id = $1"
HOLD_BOXES: Final = """
select box_id from box where tenant_id = $1 and state not in ('decommissioned', 'erased') for no key update"""
END_BOXES: Final = "update box set state = 'decommissioned' where tenant_id = $1 and box_id = any($2)"
END_DEVICES: Final = """
update device set state = 'decommissioned',
  changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
where tenant_id = $1 and state not in ('decommissioned', 'erased')
returning device_id, box_id is null or box_id = device_id as has_credentials"""
WITHDRAW_INVITES: Final = "delete from tenant_invite where tenant_id = $1 and used_at is null"


async def end_tenant(db: Connection, tenant_id: str) -> tuple[int, dict[str, bool]]:
    """Decommission it with its boxes and devices, delete nothing. How many boxes, which devices, and whether
    a device has credentials of its own.

    Waits while a command is being published to one of the boxes.
    """
    boxes = [row["box_id"] for row in await db.fetch(HOLD_BOXES, tenant_id)]
    await db.execute(END_BOXES, tenant_id, boxes)
    devices = {row["device_id"]: row["has_credentials"] for row in await db.fetch(END_DEVICES, tenant_id)}
    await db.execute(WITHDRAW_INVITES, tenant_id)
    await db.execute(END_TENANT, tenant_id)
    return len(boxes), devices


INVITE: Final = """
insert into tenant_invite (token_hash, tenant_id, expires_at) values ($1, $2, $3)"""
REDEEM: Final = """
update tenant_invite i set used_at = clock_timestamp()
from tenant t
where i.token_hash = $1 and i.used_at is null and i.expires_at > $2
  and t.tenant_id = i.tenant_id and t.state = 'active'
returning i.tenant_id"""


async def write_invite(db: Connection, tenant_id: str, token_hash: bytes, expires_at: datetime) -> None:
    """An invitation that was not used yet."""
    await db.execute(INVITE, token_hash, tenant_id, expires_at)


async def redeem_invite(db: Connection, token_hash: bytes, now: datetime) -> str | None:
    """The tenant of an invitation, once; None where it is unknown, used or over."""
    tenant: str | None = await db.fetchval(REDEEM, token_hash, now)
    return tenant
