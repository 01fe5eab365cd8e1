"""Agent sessions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg

from services.controller.model import Session
from services.runtime.postgres import Connection

_SESSION_COLUMNS: Final = (
    "session_id, tenant_id, device_id, site_id, site_name, agent_mode, version, features, assets, "
    "connected_at, birth_at_us, last_seen_at, disconnected_at, close_reason"
)

ONE_AT_A_TIME: Final = "select pg_advisory_xact_lock(hashtext('agent_session'))"

SESSIONS: Final = f"""
select {_SESSION_COLUMNS} from agent_session where session_id = any($1)
union
select {_SESSION_COLUMNS} from agent_session
where disconnected_at is null
  and (tenant_id, device_id) in (select * from unnest($2::text[], $3::text[]))
union
select newest.* from unnest($2::text[], $3::text[]) as heard (tenant_id, device_id)
cross join lateral (
  select {_SESSION_COLUMNS} from agent_session s
  where s.tenant_id = heard.tenant_id and s.device_id = heard.device_id
  order by connected_at desc limit 1
) newest"""


async def read_sessions(db: Connection, heard: Sequence[Session]) -> dict[str, Session]:
    """By id: the sessions that were heard of, and the open and the newest ones of the same devices."""
    # While a consumer group changes hands, two replicas may hold the same records.
    await db.execute(ONE_AT_A_TIME)
    rows = await db.fetch(
        SESSIONS,
        [s.session_id for s in heard],
        [s.tenant_id for s in heard],
        [s.device_id for s in heard],
    )
    return {row["session_id"]: _session(row) for row in rows}


UPSERT_SESSION: Final = f"""
insert into agent_session ({_SESSION_COLUMNS})
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
on conflict (session_id) do update set
  site_id = excluded.site_id, site_name = excluded.site_name, agent_mode = excluded.agent_mode,
  version = excluded.version, features = excluded.features, assets = excluded.assets,
  connected_at = excluded.connected_at, birth_at_us = excluded.birth_at_us,
  last_seen_at = greatest(agent_session.last_seen_at, excluded.last_seen_at),
  disconnected_at = excluded.disconnected_at, close_reason = excluded.close_reason"""


async def write_sessions(db: Connection, sessions: Iterable[Session]) -> None:
    """Insert or replace; those that close go first, since a device has one open session at most."""
    ordered = sorted(sessions, key=lambda session: session.disconnected_at is None)
    await db.executemany(
        UPSERT_SESSION,
        [
            (
                s.session_id,
                s.tenant_id,
                s.device_id,
                s.site_id,
                s.site_name,
                s.agent_mode,
                s.version,
                list(s.features),
                list(s.assets),
                s.connected_at,
                s.birth_at_us,
                s.last_seen_at,
                s.disconnected_at,
                s.close_reason,
            )
            for s in ordered
        ],
    )


TOUCH: Final = """
update agent_session s set last_seen_at = seen.at
from unnest($1::text[], $2::text[], $3::timestamptz[]) as seen (tenant_id, device_id, at)
where s.tenant_id = seen.tenant_id and s.device_id = seen.device_id
  and s.disconnected_at is null and s.last_seen_at < seen.at"""


async def touch(db: Connection, seen: Mapping[tuple[str, str], datetime]) -> None:
    """Move last_seen_at of the open sessions forward."""
    # In one order, so that two replicas never wait for each other.
    keys = sorted(seen)
    await db.execute(TOUCH, [k[0] for k in keys], [k[1] for k in keys], [seen[k] for k in keys])


CLOSE_SILENT: Final = """
update agent_session set disconnected_at = $1, close_reason = 'stale'
where disconnected_at is null and last_seen_at <= $2
returning tenant_id, device_id"""
OLDEST_SEEN: Final = "select min(last_seen_at) from agent_session where disconnected_at is null"


async def close_silent(db: Connection, now: datetime, seen_before: datetime) -> list[str]:
    """Close what has been silent for too long; answers the agents' identities."""
    return [
        f"{row['tenant_id']}/{row['device_id']}" for row in await db.fetch(CLOSE_SILENT, now, seen_before)
    ]


async def oldest_seen_at(db: Connection) -> datetime | None:
    """When the open session that has been silent longest was last heard."""
    oldest: datetime | None = await db.fetchval(OLDEST_SEEN)
    return oldest


def _session(row: asyncpg.Record) -> Session:
    values: dict[str, Any] = dict(row)
    return Session(**values | {"features": tuple(row["features"]), "assets": tuple(row["assets"])})
