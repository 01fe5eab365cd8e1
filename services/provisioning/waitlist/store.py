"""The SQL of the waitlist."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from services.provisioning.model import Taken, Unknown
from services.provisioning.store import TENANT_EXISTS
from services.provisioning.waitlist.schemas import Line, NewEntry
from services.runtime.postgres import Connection

_COLUMNS: Final = """entry_id, tenant_id, email, name, hardware, note, state, decision, reason, decided_by,
  decided_at, created_at"""
INSERT: Final = """
insert into waitlist (tenant_id, email, name, hardware, note) values ($1, $2, $3, $4, $5)
on conflict do nothing returning entry_id"""
ONE: Final = f"select {_COLUMNS} from waitlist where tenant_id = $1 and entry_id = $2"
HOLD: Final = f"{ONE} for update"
OPEN: Final = f"""
select {_COLUMNS} from waitlist where tenant_id = $1 and state = 'open'
order by created_at desc, entry_id limit $2"""
DISMISSED: Final = f"""
select {_COLUMNS} from waitlist where tenant_id = $1 and state = 'dismissed'
order by decided_at desc nulls last, entry_id limit $2"""
DECIDE: Final = """
update waitlist set state = $3, decision = $4, reason = $5, decided_by = $6, decided_at = clock_timestamp()
where tenant_id = $1 and entry_id = $2"""
PAGE: Final = f"""
select {_COLUMNS} from waitlist
where tenant_id = $1 and ($2::uuid is null or (created_at, entry_id) >
  (select created_at, entry_id from waitlist where tenant_id = $1 and entry_id = $2))
order by created_at, entry_id limit $3"""
IMPORT: Final = """
insert into waitlist (tenant_id, email, name, hardware, note, created_at, state, decision, reason, decided_by,
  decided_at)
values ($1, $2, $3, $4, $5, coalesce($6, clock_timestamp()), $7, $8, $9, $10,
  coalesce($11, case $7 when 'dismissed' then clock_timestamp() end))
on conflict do nothing returning entry_id"""
NOTICE: Final = """
insert into notice (tenant_id, kind, recipient, subject, body) values ($1, 'waitlist.invite', $2, $3, $4)"""


async def insert_entry(db: Connection, new: NewEntry) -> UUID:
    """A new entry; raises Unknown for its tenant, Taken for its address."""
    await _refuse_unknown_tenant(db, new.tenant_id)
    values = (new.tenant_id, new.email, new.name, new.hardware, new.note)
    entry_id: UUID | None = await db.fetchval(INSERT, *values)
    if entry_id is None:
        raise Taken("this e-mail address is on the waitlist already")
    return entry_id


async def read_entry(db: Connection, tenant_id: str, entry_id: UUID, *, hold: bool = False) -> dict[str, Any]:
    """An entry, to be changed when it is held; raises Unknown."""
    row = await db.fetchrow(HOLD if hold else ONE, tenant_id, entry_id)
    if row is None:
        raise Unknown(f"waitlist entry {entry_id} does not exist in tenant {tenant_id!r}", field="entry")
    return dict(row)


async def list_open(db: Connection, tenant_id: str, limit: int) -> list[dict[str, Any]]:
    """Those that wait, newest first."""
    return [dict(row) for row in await db.fetch(OPEN, tenant_id, limit)]


async def list_dismissed(db: Connection, tenant_id: str, limit: int) -> list[dict[str, Any]]:
    """Those that are done, last decided first."""
    return [dict(row) for row in await db.fetch(DISMISSED, tenant_id, limit)]


async def decide(
    db: Connection, tenant_id: str, entry_id: UUID, *, decision: str, reason: str | None, actor: str
) -> None:
    """Write a decision; one with a reason is the end."""
    state = "open" if reason is None else "dismissed"
    await db.execute(DECIDE, tenant_id, entry_id, state, decision, reason, actor)


async def read_page(db: Connection, tenant_id: str, after: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Entries in the order in which they came."""
    return [dict(row) for row in await db.fetch(PAGE, tenant_id, after, limit)]


async def import_lines(db: Connection, tenant_id: str, lines: Sequence[Line]) -> int:
    """Add those whose address is not there yet; how many."""
    await _refuse_unknown_tenant(db, tenant_id)
    added = 0
    for line in lines:
        place = (line.created_at, line.state, line.decision, line.reason, line.decided_by, line.decided_at)
        made = await db.fetchval(IMPORT, tenant_id, line.email, line.name, line.hardware, line.note, *place)
        added += made is not None
    return added


async def write_notice(db: Connection, tenant_id: str, recipient: str, subject: str, body: str) -> None:
    """A mail to be sent."""
    await db.execute(NOTICE, tenant_id, recipient, subject, body)


async def _refuse_unknown_tenant(db: Connection, tenant_id: str) -> None:
    if not await db.fetchval(TENANT_EXISTS, tenant_id):
        raise Unknown(f"tenant {tenant_id!r} does not exist; make it first", field="tenant_id")
