"""The SQL of erasure: the state of requests, and the functions of migration 017 that do the work."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.provisioning.model import Taken, Unknown
from services.runtime.postgres import Connection

EMAIL: Final = 'select email from "user" where tenant_id = $1 and user_id = $2'
BOXES: Final = """
select box_id from box where tenant_id = $1 and user_id = $2 and state <> 'erased' order by box_id"""
INSERT: Final = """
insert into data_request (tenant_id, user_id, boxes, reason, requested_at, target_at, due_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (tenant_id, user_id) where state <> 'executed' do nothing
returning *"""
LIST: Final = """
select * from data_request where $1::text is null or tenant_id = $1 order by requested_at, request_id"""
READ: Final = "select * from data_request where request_id = $1 and ($2::text is null or tenant_id = $2)"


async def email_of(db: Connection, tenant_id: str, user_id: UUID) -> str | None:
    """Where the person can be written to; None without an account."""
    email: str | None = await db.fetchval(EMAIL, tenant_id, user_id)
    return email


async def boxes_of(db: Connection, tenant_id: str, user_id: UUID) -> list[str]:
    """The person's boxes that are not erased."""
    return [row["box_id"] for row in await db.fetch(BOXES, tenant_id, user_id)]


async def insert_request(
    db: Connection,
    tenant_id: str,
    user_id: UUID,
    boxes: Sequence[str],
    *,
    reason: str | None,
    at: Sequence[datetime],
) -> dict[str, Any]:
    """`at`: requested, target, due. Raises Taken while another request of the person is not executed."""
    row = await db.fetchrow(INSERT, tenant_id, user_id, list(boxes), reason, *at)
    if row is None:
        raise Taken(f"a request of user {user_id} is under way; see the data requests")
    return _request(row)


async def list_requests(db: Connection, tenant_id: str | None) -> list[dict[str, Any]]:
    """Oldest first."""
    return [_request(row) for row in await db.fetch(LIST, tenant_id)]


async def read_request(db: Connection, request_id: UUID, tenant_id: str | None) -> dict[str, Any]:
    """One request; raises Unknown."""
    row = await db.fetchrow(READ, request_id, tenant_id)
    if row is None:
        raise Unknown(f"data request {request_id} does not exist", field="request_id")
    return _request(row)


UNACCOUNTED: Final = "select erasure_unaccounted() as name"
PREVIEW: Final = "select box, table_name, row_count from erasure_preview($1)"


async def unaccounted(db: Connection) -> list[str]:
    """Tables with rows that erasure does not know."""
    return [row["name"] for row in await db.fetch(UNACCOUNTED)]


async def preview(db: Connection, request_id: UUID) -> dict[str, dict[str, int]]:
    """Rows by box and table."""
    counts: dict[str, dict[str, int]] = {}
    for row in await db.fetch(PREVIEW, request_id):
        counts.setdefault(row["box"], {})[row["table_name"]] = row["row_count"]
    return counts


APPROVE: Final = "update data_request set executed_by = $2, executed_from = $3 where request_id = $1"
ENTOMB: Final = "select entomb($1)"
CLAIM: Final = """
select * from data_request where state in ('entombed', 'deleted')
order by error is not null, entombed_at limit 1 for update skip locked"""
ERASE: Final = "select table_name, erased from erase_data($1) order by step"
COUNTS: Final = "update data_request set counts = $2 where request_id = $1"
NEXT_ROLLUP: Final = "select erase_next_rollup($1)"
EXECUTED: Final = "update data_request set state = 'executed', executed_at = $2 where request_id = $1"
FAILED: Final = "update data_request set error = $2 where request_id = $1"
NOTIFY: Final = "insert into notice (tenant_id, kind, recipient, subject, body) values ($1, $2, $3, $4, $5)"


async def entomb(db: Connection, request_id: UUID, actor: str, address: str | None) -> None:
    """Tombstones for the request's boxes, and who ordered it. From the commit on nothing is stored."""
    await db.execute(APPROVE, request_id, actor, address)
    await db.execute(ENTOMB, request_id)


async def claim(db: Connection) -> dict[str, Any] | None:
    """A request that is to be gone on with, held until the transaction ends."""
    row = await db.fetchrow(CLAIM)
    return _request(row) if row else None


async def erase(db: Connection, request_id: UUID) -> dict[str, int]:
    """Everything but rollups, account and box rows; answers the rows by table, in the order of H-022."""
    counts = {row["table_name"]: row["erased"] for row in await db.fetch(ERASE, request_id)}
    await db.execute(COUNTS, request_id, json.dumps(counts))
    return counts


async def erase_next_rollup(db: Connection, request_id: UUID) -> str | None:
    """One level of rollups; None when none is left."""
    level: str | None = await db.fetchval(NEXT_ROLLUP, request_id)
    return level


async def set_executed(db: Connection, request_id: UUID, now: datetime) -> None:
    """Nothing but account and box rows is left."""
    await db.execute(EXECUTED, request_id, now)


async def set_error(db: Connection, request_id: UUID, error: str) -> None:
    """What stands in the way; others go first from now on."""
    await db.execute(FAILED, request_id, error)


async def notify(db: Connection, tenant_id: str, kind: str, recipient: str, *, text: tuple[str, str]) -> None:
    """A mail to be sent; `text` is subject and body."""
    await db.execute(NOTIFY, tenant_id, kind, recipient, *text)


WIPED: Final = "update erased_box set wiped_at = coalesce(wiped_at, $3) where tenant_id = $1 and box_id = $2"
NO_MORE_WIPE: Final = """
update device set wipe = false,
  changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
where tenant_id = $1 and box_id = $2 and wipe"""
TO_REVOKE: Final = """
select e.tenant_id, e.box_id from erased_box e join data_request r using (request_id)
where e.revoked_at is null and (e.wiped_at is not null or r.executed_at <= $1)
order by e.tenant_id, e.box_id for update of e skip locked"""
REVOKED: Final = "update erased_box set revoked_at = $3 where tenant_id = $1 and box_id = $2"
DEVICES: Final = "select device_id from device where tenant_id = $1 and box_id = any($2) order by device_id"


WITH_CREDENTIALS: Final = """
select device_id from device d where d.tenant_id = $1 and d.box_id = $2
  and (d.type = 'agent'
    or exists (select from certificate c where c.tenant_id = d.tenant_id and c.device_id = d.device_id)
    or exists (select from device_token t where t.tenant_id = d.tenant_id and t.device_id = d.device_id))
order by device_id"""


async def holders_of(db: Connection, tenant_id: str, box_id: str) -> list[str]:
    """What belongs to this box and can connect: its agent, and whatever was given credentials."""
    return [row["device_id"] for row in await db.fetch(WITH_CREDENTIALS, tenant_id, box_id)]


async def set_wiped(db: Connection, tenant_id: str, box_id: str, now: datetime) -> None:
    """The agent said that its spool is empty; nothing happens for a box that is not erased."""
    await db.execute(WIPED, tenant_id, box_id, now)


async def boxes_to_revoke(db: Connection, executed_before: datetime) -> list[tuple[str, str]]:
    """(tenant, box) that have replied, or had 30 days to."""
    return [(row["tenant_id"], row["box_id"]) for row in await db.fetch(TO_REVOKE, executed_before)]


async def set_revoked(db: Connection, tenant_id: str, box_id: str, now: datetime) -> None:
    """Its credentials are void; the order to wipe is taken back."""
    await db.execute(NO_MORE_WIPE, tenant_id, box_id)
    await db.execute(REVOKED, tenant_id, box_id, now)


async def devices_of(db: Connection, tenant_id: str, boxes: Sequence[str]) -> list[str]:
    """Everything that belongs to these boxes."""
    return [row["device_id"] for row in await db.fetch(DEVICES, tenant_id, list(boxes))]


# A session that the broker has not ended yet is waited for, but not for ever.
TO_PURGE: Final = """
select * from data_request r where state = 'executed' and executed_at <= $1
  and not exists (select from erased_box e where e.request_id = r.request_id and e.revoked_at is null)
  and (executed_at <= $2 or not exists (
    select from session_cut c join device d using (tenant_id, device_id)
    where c.tenant_id = r.tenant_id and d.box_id = any (r.boxes) and c.done_at is null))
order by executed_at limit 1 for update skip locked"""
PURGE: Final = "select purge_person($1, $2)"


async def claim_purge(db: Connection, executed_before: datetime, at_last: datetime) -> dict[str, Any] | None:
    """A request whose account and box rows are due."""
    row = await db.fetchrow(TO_PURGE, executed_before, at_last)
    return _request(row) if row else None


async def purge(db: Connection, request_id: UUID, now: datetime) -> None:
    """Account and box rows, and the request itself."""
    await db.execute(PURGE, request_id, now)


def _request(row: asyncpg.Record | Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(row), "counts": json.loads(row["counts"])}
