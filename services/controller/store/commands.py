"""Commands on their way, and what was said about them.

`answered_at` is when a command needed no more sending, for whatever reason.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from services.controller.model import Reply
from services.runtime.postgres import Connection

_SENDABLE: Final = """
from command c
join agent_session s on s.tenant_id = c.tenant_id and s.device_id = c.device_id and s.disconnected_at is null
where c.answered_at is null and c.expires_at > $1
  -- what was ordered for the whole site before goes first: repeated later, it would undo the newer order
  and not exists (
    select from command o
    where o.tenant_id = c.tenant_id and o.device_id = c.device_id and o.asset_id is null
      and o.answered_at is null and o.expires_at > $1 and o.created_at < c.created_at)"""

CLAIM_DUE: Final = f"""
with due as (
  select c.command_id {_SENDABLE}
    and (c.last_published_at is null or c.last_published_at <= $1 - $2::interval
         or c.last_published_at < s.connected_at)
  order by c.created_at limit 500 for update of c skip locked
)
update command c set published_count = published_count + 1, last_published_at = $1
from due where c.command_id = due.command_id
returning c.tenant_id, c.device_id, c.payload, c.created_at"""

NEXT_DUE: Final = f"select min(coalesce(c.last_published_at + $2::interval, $1)) {_SENDABLE}"


async def claim_due(db: Connection, now: datetime, repeat_after: timedelta) -> list[asyncpg.Record]:
    """Commands to publish now, oldest first: (tenant_id, device_id, payload, created_at)."""
    rows: list[asyncpg.Record] = await db.fetch(CLAIM_DUE, now, repeat_after)
    return sorted(rows, key=lambda row: row["created_at"])


async def next_due_at(db: Connection, now: datetime, repeat_after: timedelta) -> datetime | None:
    """When a command is to be published again; None: only an event can change that."""
    due: datetime | None = await db.fetchval(NEXT_DUE, now, repeat_after)
    return due


UNANSWERED_IN_TIME: Final = """
select c.command_id, c.tenant_id, c.device_id,
  (select case
     when bool_or(s.disconnected_at is null) then 'no reply from agent ' || c.tenant_id || '/' || c.device_id
     when count(s) = 0 then 'agent ' || c.tenant_id || '/' || c.device_id || ' has never connected'
     else 'agent ' || c.tenant_id || '/' || c.device_id || ' offline since '
       || to_char(max(s.disconnected_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
   end
   from agent_session s where s.tenant_id = c.tenant_id and s.device_id = c.device_id) as reason
from command c
where c.answered_at is null and c.expires_at <= $1
order by c.expires_at limit 500"""

NEXT_EXPIRY: Final = "select min(expires_at) from command where answered_at is null"


async def unanswered_in_time(db: Connection, now: datetime) -> list[Reply]:
    """What the controller has to say itself on commands that nobody answered before they expired."""
    return [
        Reply(
            tenant_id=row["tenant_id"],
            device_id=row["device_id"],
            command_id=row["command_id"],
            state="expired",
            reason=row["reason"],
            at=now,
            received_at=now,
            by="controller",
        )
        for row in await db.fetch(UNANSWERED_IN_TIME, now)
    ]


async def next_expiry_at(db: Connection) -> datetime | None:
    """When the next unanswered command expires."""
    due: datetime | None = await db.fetchval(NEXT_EXPIRY)
    return due


LOCK_DISPATCHES_OF: Final = """
select d.dispatch_id from dispatch d
where exists (select from command c where c.dispatch_id = d.dispatch_id and c.command_id = any($1))
order by d.dispatch_id for update"""

INSERT_REPLY: Final = """
insert into command_replies
  (box_id, tenant_id, command_id, dispatch_id, state, reason, reply, at, received_at)
select c.box_id, c.tenant_id, c.command_id, c.dispatch_id, $4, $5, $6, $7, $8
from command c where c.command_id = $1 and c.tenant_id = $2 and c.device_id = $3
on conflict (command_id, state) do nothing"""

ANSWERED: Final = (
    "update command set state = $2, answered_at = coalesce(answered_at, $3) where command_id = $1"
)

COMMANDS_OF: Final = "select command_id, dispatch_id, state from command where dispatch_id = any($1)"
REPLIES_OF: Final = """
select c.tenant_id, c.device_id, r.command_id, c.dispatch_id, r.state, r.reason, r.reply, r.at, r.received_at
from command_replies r join command c using (command_id)
where c.dispatch_id = any($1)"""

SET_DISPATCH: Final = """
update dispatch set state = $2, result = $4, updated_at = $5,
  reason = case when state = 'superseded' then reason else $3 end
where dispatch_id = $1 and (state, reason, result) is distinct from ($2, $3, $4::jsonb)"""


async def lock_dispatches_of(db: Connection, commands: Sequence[UUID]) -> list[UUID]:
    """Hold the dispatches of these commands, in one order for all."""
    return [row["dispatch_id"] for row in await db.fetch(LOCK_DISPATCHES_OF, list(commands))]


async def insert_reply(db: Connection, reply: Reply) -> bool:
    """Keep a reply; False: it is known already, or to no command of this agent."""
    body = {
        "by": reply.by,
        "allocations": reply.allocations,
        "unplaced_mw": reply.unplaced_mw,
        "unplaced_why": reply.unplaced_why,
    }
    tag = await db.execute(
        INSERT_REPLY,
        reply.command_id,
        reply.tenant_id,
        reply.device_id,
        reply.state,
        reply.reason,
        json.dumps(body),
        reply.at,
        reply.received_at,
    )
    return str(tag) == "INSERT 0 1"


async def read_commands(db: Connection, dispatches: Sequence[UUID]) -> list[asyncpg.Record]:
    """(command_id, dispatch_id, state) of the commands of these dispatches."""
    return list(await db.fetch(COMMANDS_OF, list(dispatches)))


async def read_replies(db: Connection, dispatches: Sequence[UUID]) -> dict[UUID, list[Reply]]:
    """All replies to the commands of these dispatches, by command."""
    replies: dict[UUID, list[Reply]] = {}
    for row in await db.fetch(REPLIES_OF, list(dispatches)):
        replies.setdefault(row["command_id"], []).append(_reply(row))
    return replies


async def set_command(db: Connection, command_id: UUID, state: str, now: datetime) -> None:
    """The state of an answered command."""
    await db.execute(ANSWERED, command_id, state, now)


async def set_dispatch(
    db: Connection, dispatch_id: UUID, state: str, reason: str | None, result: object | None, now: datetime
) -> None:
    """State, reason and result of a dispatch."""
    body = None if result is None else json.dumps(result)
    await db.execute(SET_DISPATCH, dispatch_id, state, reason, body, now)


COUNTS: Final = """
select (select count(*) from agent_session where disconnected_at is null) as open_sessions,
  (select count(*) from command where answered_at is null) as unanswered_commands,
  (select count(*) from dispatch
   where state in ('accepted', 'delivered', 'applied')) as unfinished_dispatches"""


async def counts(db: Connection) -> dict[str, int]:
    """What stands open."""
    return dict(await db.fetchrow(COUNTS) or {})


def _reply(row: asyncpg.Record) -> Reply:
    body = json.loads(row["reply"])
    return Reply(
        tenant_id=row["tenant_id"],
        device_id=row["device_id"],
        command_id=row["command_id"],
        state=row["state"],
        reason=row["reason"],
        allocations=tuple(body["allocations"]),
        unplaced_mw=body["unplaced_mw"],
        unplaced_why=body["unplaced_why"],
        at=row["at"],
        received_at=row["received_at"],
        by=body["by"],
    )
