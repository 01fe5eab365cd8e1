"""SQL of the command line: rules and channels, until the API of alerts and people writes them."""

import json
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from services.escalation.model import Rule
from services.runtime.postgres import Connection

CHANGED: Final = "escalation_rules"
"""NOTIFY channel on which running processes learn that rules have changed."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A row of notification_channels as it may be shown."""

    channel_id: UUID
    tenant_id: str
    name: str
    kind: str
    url: str
    secrets: int
    enabled: bool


HAS_TENANT: Final = "select exists (select from tenant where tenant_id = $1)"


async def has_tenant(db: Connection, tenant_id: str) -> bool:
    """Whether provisioning knows it."""
    return bool(await db.fetchval(HAS_TENANT, tenant_id))


FIND_RULE: Final = "select rule_id from alert_rules where tenant_id = $1 and name = $2"
ADD_RULE: Final = """
insert into alert_rules (rule_id, tenant_id, name, kind, metric, comparison, threshold, clear_threshold,
                         for_s, severity, device_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (rule_id) do update set
  kind = excluded.kind, metric = excluded.metric, comparison = excluded.comparison,
  threshold = excluded.threshold, clear_threshold = excluded.clear_threshold, for_s = excluded.for_s,
  severity = excluded.severity, device_id = excluded.device_id, enabled = true"""


async def find_rule(db: Connection, tenant_id: str, name: str) -> UUID | None:
    """The rule of this name."""
    found: UUID | None = await db.fetchval(FIND_RULE, tenant_id, name)
    return found


async def write_rule(db: Connection, rule: Rule, old: UUID | None) -> UUID:
    """Insert a rule or change the old one, and tell the running processes."""
    rule_id = old or rule.rule_id
    is_threshold = bool(rule.metric)
    await db.execute(
        ADD_RULE,
        rule_id,
        rule.tenant_id,
        rule.name,
        rule.kind,
        rule.metric if is_threshold else None,
        rule.comparison.value if is_threshold else None,
        rule.threshold if is_threshold else None,
        rule.clear_threshold,
        rule.for_s,
        rule.severity,
        rule.device_id,
    )
    await db.execute(f"notify {CHANGED}")
    return rule_id


FIND_CHANNEL: Final = "select channel_id from notification_channels where tenant_id = $1 and name = $2"
ADD_CHANNEL: Final = """
insert into notification_channels (channel_id, tenant_id, name, kind, config)
values ($1, $2, $3, 'webhook', $4)
on conflict (channel_id) do update set config = excluded.config, enabled = true"""
# Alerts that nobody has been told of, because there was no channel when they opened.
TELL_OF_OPEN: Final = """
update alerts set next_escalation_at = clock_timestamp()
where tenant_id = $1 and status = 'OPEN' and escalation_level = 0 and next_escalation_at is null"""


async def find_channel(db: Connection, tenant_id: str, name: str) -> UUID | None:
    """The channel of this name."""
    found: UUID | None = await db.fetchval(FIND_CHANNEL, tenant_id, name)
    return found


async def write_channel(
    db: Connection, tenant_id: str, name: str, config: dict[str, Any], old: UUID | None
) -> UUID:
    """Insert or replace a channel, and make due what nobody was told of."""
    channel_id = old or uuid4()
    await db.execute(ADD_CHANNEL, channel_id, tenant_id, name, json.dumps(config))
    await db.execute(TELL_OF_OPEN, tenant_id)
    return channel_id


LIST_CHANNELS: Final = """
select channel_id, tenant_id, name, kind, coalesce(config ->> 'url', '') as url,
       coalesce(jsonb_array_length(config -> 'secrets'), 0) as secrets, enabled
from notification_channels where $1::text is null or tenant_id = $1 order by tenant_id, name"""


async def list_channels(db: Connection, tenant_id: str | None) -> list[Channel]:
    """Channels without their secrets, which never leave the database again (P-064)."""
    return [Channel(**row) for row in await db.fetch(LIST_CHANNELS, tenant_id)]
