"""This service's SQL. Every function runs in the caller's transaction.

Closed and opened alerts are set against `last_seen_at`, the event time of what was last believed: what is
read a second time is not newer and changes nothing.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from services.escalation.escalate import Decision
from services.escalation.model import (
    Alert,
    Change,
    Clear,
    Comparison,
    Delivery,
    Key,
    Raise,
    Rule,
    fingerprint,
)
from services.runtime.clock import from_us, to_us
from services.runtime.postgres import Connection

# --- rules

RULES: Final = """
select rule_id, tenant_id, name, kind, severity, metric, comparison, threshold, clear_threshold, for_s,
       device_id
from alert_rules where enabled order by tenant_id, name"""


async def read_rules(db: Connection) -> list[Rule]:
    """All rules that are on."""
    return [
        Rule(
            rule_id=row["rule_id"],
            tenant_id=row["tenant_id"],
            name=row["name"],
            kind=row["kind"],
            severity=row["severity"],
            metric=row["metric"] or "",
            comparison=Comparison(row["comparison"] or "GT"),
            threshold=row["threshold"] or 0.0,
            clear_threshold=row["clear_threshold"],
            for_s=row["for_s"],
            device_id=row["device_id"],
        )
        for row in await db.fetch(RULES)
    ]


# --- alerts: facts

OPEN_ALERTS: Final = """
select tenant_id, fingerprint, last_seen_at from alerts
where status <> 'CLOSED'
  and (tenant_id, fingerprint) in (select * from unnest($1::text[], $2::text[]))"""


async def read_open(db: Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Which of these (tenant, fingerprint) are open, and when they were last seen, in microseconds."""
    rows = await db.fetch(OPEN_ALERTS, [key[0] for key in keys], [key[1] for key in keys])
    return {(row["tenant_id"], row["fingerprint"]): to_us(row["last_seen_at"]) for row in rows}


RAISE: Final = """
insert into alerts (alert_id, tenant_id, fingerprint, rule_id, device_id, site_id, box_id, severity, summary,
                    details, opened_at, last_seen_at, next_escalation_at)
select $1, $2, $3, $4, $5, nullif($6, ''), nullif($7, ''), $8, $9, $10, clock_timestamp(), $11,
       clock_timestamp()
where not exists (select from alerts where tenant_id = $2 and fingerprint = $3 and last_seen_at >= $11)
on conflict (tenant_id, fingerprint) where status <> 'CLOSED'
do update set last_seen_at = excluded.last_seen_at, count = alerts.count + 1
returning alert_id, count = 1 as opened"""

RAISE_24H: Final = """
insert into alerts_24h (box_id, tenant_id, alert_id, severity, opened_at)
select box_id, tenant_id, alert_id, severity, opened_at from alerts
where alert_id = any($1) and box_id is not null
on conflict do nothing"""

CLEAR: Final = """
update alerts set status = 'CLOSED', closed_at = clock_timestamp(), last_seen_at = $3,
                  details = details || $4, next_escalation_at = clock_timestamp()
where tenant_id = $1 and fingerprint = $2 and status <> 'CLOSED' and last_seen_at < $3
returning alert_id"""

CLEAR_24H: Final = """
update alerts_24h t set closed_at = a.closed_at from alerts a
where a.alert_id = any($1) and t.alert_id = a.alert_id and t.box_id = a.box_id"""


async def apply_changes(db: Connection, changes: Iterable[Change]) -> tuple[list[UUID], list[UUID]]:
    """Write what was seen, in order; answers which alerts were opened and which closed by it."""
    opened: list[UUID] = []
    closed: list[UUID] = []
    for change in changes:
        match change:
            case Raise():
                row = await db.fetchrow(RAISE, uuid4(), *_raised(change))
                if row and row["opened"]:
                    opened.append(row["alert_id"])
            case Clear():
                row = await db.fetchrow(CLEAR, *_cleared(change))
                if row:
                    closed.append(row["alert_id"])
    if opened:
        await db.execute(RAISE_24H, opened)
    if closed:
        await db.execute(CLEAR_24H, closed)
    return opened, closed


def _raised(change: Raise) -> tuple[Any, ...]:
    return (
        change.rule.tenant_id,
        fingerprint(change.rule.rule_id, change.device.device_id),
        change.rule.rule_id,
        change.device.device_id,
        change.device.site_id,
        change.device.box_id,
        change.rule.severity,
        change.summary,
        json.dumps(change.details),
        from_us(change.at_us),
    )


def _cleared(change: Clear) -> tuple[Any, ...]:
    return (
        change.rule.tenant_id,
        fingerprint(change.rule.rule_id, change.device.device_id),
        from_us(change.at_us),
        json.dumps(change.details),
    )


_ALERT_COLUMNS: Final = """
alert_id, tenant_id, fingerprint, rule_id, device_id, site_id, box_id, severity, status, summary, details,
epoch, escalation_level,
to_char(opened_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as opened_at,
to_char(closed_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as closed_at"""

ALERTS: Final = f"select {_ALERT_COLUMNS} from alerts where alert_id = any($1)"


async def read_alerts(db: Connection, alert_ids: Sequence[UUID]) -> list[Alert]:
    """These alerts as they stand."""
    return [_alert(row) for row in await db.fetch(ALERTS, alert_ids)]


def _alert(row: asyncpg.Record) -> Alert:
    values = {**row, "details": json.loads(row["details"])}
    return Alert(**values)


# --- alerts: escalation

# Worst first, then newest: after an outage nobody wants hours-old pages before the fire that burns now.
DUE_ALERTS: Final = f"""
select {_ALERT_COLUMNS} from alerts where next_escalation_at <= clock_timestamp()
order by severity desc, next_escalation_at desc
limit $1 for update skip locked"""


async def claim_due(db: Connection, limit: int) -> list[Alert]:
    """Due alerts, locked until the end of the transaction; other replicas pass them by."""
    return [_alert(row) for row in await db.fetch(DUE_ALERTS, limit)]


CHANNELS: Final = (
    "select tenant_id, channel_id from notification_channels where enabled and tenant_id = any($1)"
)


async def read_channels(db: Connection, tenants: Iterable[str]) -> dict[str, list[UUID]]:
    """Channels that are on, by tenant."""
    found: dict[str, list[UUID]] = {}
    for row in await db.fetch(CHANNELS, sorted(set(tenants))):
        found.setdefault(row["tenant_id"], []).append(row["channel_id"])
    return found


# A page under lease or once tried may have arrived although nobody said so.
TOLD: Final = """
select distinct alert_id, channel_id from deliveries
where alert_id = any($1) and (status in ('leased', 'delivered') or attempts > 0)"""


async def read_told(db: Connection, alert_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    """Channels by alert that may know of it."""
    found: dict[UUID, list[UUID]] = {}
    for row in await db.fetch(TOLD, alert_ids):
        found.setdefault(row["alert_id"], []).append(row["channel_id"])
    return found


ADD_DELIVERIES: Final = """
insert into deliveries (delivery_id, idem, tenant_id, alert_id, channel_id, payload, created_at)
values ($1, $2, $3, $4, $5, $6, clock_timestamp())
on conflict (idem) do nothing"""

ESCALATED: Final = """
update alerts a set escalation_level = d.level, next_escalation_at = null
from unnest($1::uuid[], $2::int[]) as d (alert_id, level) where a.alert_id = d.alert_id"""


async def write_decisions(db: Connection, decisions: Sequence[Decision]) -> None:
    """New state and the deliveries that follow from it."""
    await db.executemany(
        ADD_DELIVERIES,
        [
            (uuid4(), page.idem, page.alert.tenant_id, page.alert.alert_id, page.channel_id, page.payload)
            for decision in decisions
            for page in decision.pages
        ],
    )
    await db.execute(ESCALATED, [d.alert.alert_id for d in decisions], [d.level for d in decisions])


NEXT_ESCALATION: Final = """
select extract(epoch from min(next_escalation_at) - clock_timestamp())::float8 from alerts
where next_escalation_at is not null"""


async def seconds_to_next_escalation(db: Connection) -> float | None:
    """Until an alert is due; negative when one is overdue, None when none waits."""
    value: float | None = await db.fetchval(NEXT_ESCALATION)
    return value


FORGET_24H: Final = (
    "delete from alerts_24h where coalesce(closed_at, 'infinity') < now() - interval '24 hours'"
)


async def forget_old(db: Connection) -> None:
    """Take out of alerts_24h what closed more than a day ago; alerts keeps it for ever (X14)."""
    await db.execute(FORGET_24H)


# --- deliveries

# The page that an alert opened is pointless once it has closed. Its deliveries are older than the closing.
SUPERSEDE: Final = """
update deliveries d set status = 'superseded', lease_until = null, lease_token = null
from alerts a
where (d.status = 'pending' or d.status = 'leased' and d.lease_until <= clock_timestamp())
  and a.alert_id = d.alert_id and a.status = 'CLOSED' and d.created_at < a.closed_at"""

CLAIM: Final = """
with due as (
  select delivery_id, channel_id from deliveries
  where (status = 'pending' and next_attempt_at <= clock_timestamp())
     or (status = 'leased' and lease_until <= clock_timestamp())
  order by next_attempt_at limit $1
  for update skip locked
)
update deliveries d
set status = 'leased', lease_token = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
from due left join notification_channels c on c.channel_id = due.channel_id and c.enabled
where d.delivery_id = due.delivery_id
returning d.delivery_id, d.tenant_id, d.alert_id, d.channel_id, d.payload, d.attempts, d.lease_token,
          c.config"""


async def claim_deliveries(db: Connection, limit: int, lease_s: float) -> list[Delivery]:
    """Take due deliveries under lease, after dropping those that have lost their point."""
    await db.execute(SUPERSEDE)
    rows = await db.fetch(CLAIM, limit, uuid4(), lease_s)
    return [
        Delivery(**{**row, "config": json.loads(row["config"]) if row["config"] else None}) for row in rows
    ]


FINISH: Final = """
update deliveries
set status = $3, attempts = attempts + 1, lease_until = null, lease_token = null, last_error = $4,
    next_attempt_at = clock_timestamp() + make_interval(secs => $5),
    delivered_at = case when $3 = 'delivered' then clock_timestamp() end
where delivery_id = $1 and lease_token = $2 and status = 'leased'
returning attempts"""

ADD_ATTEMPT: Final = """
insert into delivery_attempts (delivery_id, n, status, ms, error_class) values ($1, $2, $3, $4, $5)"""


async def finish_delivery(
    db: Connection,
    delivery: Delivery,
    *,
    status: str,
    http_status: int | None,
    took_ms: int,
    error_class: str | None,
    delay_s: float = 0.0,
) -> bool:
    """Note how an attempt ended; False when the lease had passed to somebody else, and nothing is noted."""
    attempts = await db.fetchval(
        FINISH, delivery.delivery_id, delivery.lease_token, status, error_class, delay_s
    )
    if attempts is None:
        return False
    await db.execute(ADD_ATTEMPT, delivery.delivery_id, attempts, http_status, took_ms, error_class)
    return True


DISABLE_CHANNEL: Final = "update notification_channels set enabled = false where channel_id = $1"


async def disable_channel(db: Connection, channel_id: UUID) -> None:
    """It asked for no more (410)."""
    await db.execute(DISABLE_CHANNEL, channel_id)


NEXT_DELIVERY: Final = """
select extract(epoch from min(due_at) - clock_timestamp())::float8 from (
  select min(next_attempt_at) as due_at from deliveries where status = 'pending'
  union all
  select min(lease_until) from deliveries where status = 'leased') x"""


async def seconds_to_next_delivery(db: Connection) -> float | None:
    """Until a delivery is due or a lease ends; None when there is none."""
    value: float | None = await db.fetchval(NEXT_DELIVERY)
    return value
