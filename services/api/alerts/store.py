"""Alerts, newest first."""

import json
from typing import Any, Final

from services.runtime.postgres import Connection

ALERTS: Final = """
select alert_id::text, severity, status, summary, device_id, site_id, rule_id::text, opened_at, last_seen_at,
  acknowledged_at, acknowledged_by, closed_at, count, escalation_level, details
from alerts
where tenant_id = $1 and ($2::text is null or status = $2)
order by opened_at desc, alert_id limit $3"""


async def read_alerts(db: Connection, tenant: str, status: str | None, limit: int) -> list[dict[str, Any]]:
    """Those of one status, or of any."""
    rows = await db.fetch(ALERTS, tenant, status, limit)
    return [{**dict(row), "details": json.loads(row["details"])} for row in rows]
