"""What a dispatch decision rests on, read as it is now, and the rows that it becomes."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.controller.model import Agent, Asset, Order
from services.runtime.postgres import Connection

_ASSETS: Final = """
select a.asset_id, d.site_id, d.type, d.state as device_state, a.capacity_mwh, a.max_mw, a.min_mw,
  a.ramp_rate_mw_per_min, a.details, d.box_id, b.state as box_state, b.mode, b.opt_ins,
  coalesce(b.mode_epoch, 0) as mode_epoch
from asset a
join device d using (device_key)
left join box b on b.tenant_id = a.tenant_id and b.box_id = d.box_id
where a.tenant_id = $1 and d.state not in ('decommissioned', 'erased')"""
ASSET: Final = f"{_ASSETS} and a.asset_id = $2"
SITE_ASSETS: Final = f"{_ASSETS} and d.site_id = $2 order by a.asset_id"
SITE_EXISTS: Final = "select exists (select from site where tenant_id = $1 and site_id = $2)"

AGENTS: Final = """
select d.device_id, d.assets, s.assets as session_assets, s.last_seen_at,
  coalesce(s.disconnected_at is null, false) as connected
from device d
left join lateral (
  select assets, last_seen_at, disconnected_at, session_id from agent_session
  where tenant_id = d.tenant_id and device_id = d.device_id
  order by disconnected_at is null desc, connected_at desc limit 1
) s on true
where d.tenant_id = $1 and d.state = 'active' and (d.assets && $2::text[] or d.device_id = any($2))
  and (s.session_id is not null or d.type = 'agent')"""


async def site_exists(db: Connection, tenant_id: str, site_id: str) -> bool:
    """Whether the tenant has this site."""
    return bool(await db.fetchval(SITE_EXISTS, tenant_id, site_id))


async def read_assets(db: Connection, order: Order) -> list[Asset]:
    """The asset of an order, or else all assets of its site, with the mode of their boxes."""
    if order.asset_id is not None:
        rows = await db.fetch(ASSET, order.tenant_id, order.asset_id)
    else:
        rows = await db.fetch(SITE_ASSETS, order.tenant_id, order.site_id)
    return [_asset(row) for row in rows]


async def read_agents(db: Connection, tenant_id: str, asset_ids: Sequence[str]) -> list[Agent]:
    """The devices that may speak for any of these assets."""
    rows = await db.fetch(AGENTS, tenant_id, list(asset_ids))
    return [
        Agent(
            device_id=row["device_id"],
            may_serve=frozenset([*row["assets"], row["device_id"]]),
            says_it_serves=frozenset(row["session_assets"] or ()),
            connected=row["connected"],
            last_seen_at=row["last_seen_at"],
        )
        for row in rows
    ]


TAKE_TURN: Final = "select pg_advisory_xact_lock(hashtextextended('dispatch ' || $1 || '/' || $2, 0))"

INSERT_DISPATCH: Final = """
insert into dispatch (dispatch_id, tenant_id, site_id, asset_id, box_id, power_mw, duration_s,
  requested_by, created_at, updated_at, expires_at, preview)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11)"""

INSERT_COMMAND: Final = """
insert into command (command_id, dispatch_id, tenant_id, box_id, device_id, asset_id, payload,
  created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

INSERT_DECISION: Final = """
insert into controller_decisions (box_id, tenant_id, at, dispatch_id, inputs, constraints, shares)
values ($1, $2, $3, $4, $5, $6, $7)"""

SUPERSEDE: Final = """
with older as (
  select dispatch_id from dispatch
  where tenant_id = $1 and state in ('accepted', 'delivered', 'applied')
    and (asset_id = any($2) or (asset_id is null and site_id = $3))
  order by dispatch_id for update
), dispatches as (
  update dispatch d set state = 'superseded', updated_at = $4, reason = $5
  from older where d.dispatch_id = older.dispatch_id
)
update command c set state = 'superseded', answered_at = coalesce(answered_at, $4)
from older
where c.dispatch_id = older.dispatch_id and c.state in ('accepted', 'delivered', 'applied')"""


async def take_turn(db: Connection, tenant_id: str, place: str) -> None:
    """Dispatches to one place happen one after the other, so that each sees the one before it."""
    await db.execute(TAKE_TURN, tenant_id, place)


async def supersede(db: Connection, order: Order, asset_ids: Sequence[str], now: datetime, by: UUID) -> None:
    """End the unfinished dispatches to the same assets, or to the same site."""
    site_id = order.site_id if order.asset_id is None else None
    await db.execute(
        SUPERSEDE, order.tenant_id, list(asset_ids), site_id, now, f"superseded by dispatch {by}"
    )


async def insert_dispatch(
    db: Connection, order: Order, dispatch_id: UUID, box_id: str, now: datetime, preview: object
) -> None:
    """A new dispatch, accepted."""
    await db.execute(
        INSERT_DISPATCH,
        dispatch_id,
        order.tenant_id,
        order.site_id if order.asset_id is None else None,
        order.asset_id,
        box_id,
        order.power_mw,
        order.duration_s,
        order.requested_by,
        now,
        now + timedelta(seconds=order.ttl_s),
        json.dumps(preview),
    )


async def insert_command(
    db: Connection,
    command_id: UUID,
    dispatch_id: UUID,
    order: Order,
    *,
    box_id: str,
    device_id: str,
    asset_id: str | None,
    payload: bytes,
    now: datetime,
) -> None:
    """One command of a dispatch."""
    expires_at = now + timedelta(seconds=order.ttl_s)
    await db.execute(
        INSERT_COMMAND,
        command_id,
        dispatch_id,
        order.tenant_id,
        box_id,
        device_id,
        asset_id,
        payload,
        now,
        expires_at,
    )


async def insert_decision(
    db: Connection,
    *,
    box_id: str,
    tenant_id: str,
    now: datetime,
    dispatch_id: UUID,
    inputs: object,
    constraints: object,
    shares: object,
) -> None:
    """Enough to compute the same split again and to explain it."""
    await db.execute(
        INSERT_DECISION,
        box_id,
        tenant_id,
        now,
        dispatch_id,
        json.dumps(inputs),
        json.dumps(constraints),
        json.dumps(shares),
    )


def _asset(row: asyncpg.Record) -> Asset:
    values: dict[str, Any] = dict(row)
    details = json.loads(values.pop("details"))
    return Asset(
        **values | {"opt_ins": tuple(row["opt_ins"] or ())},
        soc_min_pct=_percent(details.get("min_soc_pct"), 0.0),
        soc_max_pct=_percent(details.get("max_soc_pct"), 100.0),
    )


def _percent(value: object, default: float) -> float:
    """A limit of the assets file; what is no number there limits nothing."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else default  # type: ignore[arg-type]
