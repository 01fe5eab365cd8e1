"""Sites, and what their assets were last heard saying."""

from datetime import timedelta
from typing import Any, Final

from services.api.sites.aggregate import AssetNow
from services.runtime.postgres import Connection

STALE_AFTER: Final = timedelta(seconds=90)

SITES: Final = """
select s.site_id, s.name, s.location, b.mode,
  (select count(*) from agent_session o
    where o.tenant_id = s.tenant_id and o.site_id = s.site_id and o.disconnected_at is null)
    as agents_connected
from site s
left join lateral (
  select max(x.mode) as mode, bool_and(x.state in ('decommissioned', 'erased')) as is_gone
  from box x where x.tenant_id = s.tenant_id and x.site_id = s.site_id
) b on true
where s.tenant_id = $1 and b.is_gone is not true
order by s.site_id"""
ASSETS_NOW: Final = """
with latest as (
  select distinct on (device_id) device_id, active_power_w, soc_pct
  from v_telemetry where tenant_id = $1 and ts > now() - $2::interval
  order by device_id, ts desc
)
select d.site_id, d.type, a.capacity_mwh, a.min_mw, a.max_mw, l.device_id is not null as is_reporting,
  l.active_power_w, l.soc_pct
from asset a
join device d using (device_key)
left join latest l on l.device_id = a.asset_id
where a.tenant_id = $1 and d.site_id is not null and d.state not in ('decommissioned', 'erased')"""


async def read_sites(db: Connection, tenant: str) -> list[dict[str, Any]]:
    """Sites that are in use."""
    return [dict(row) for row in await db.fetch(SITES, tenant)]


async def read_assets_now(db: Connection, tenant: str) -> list[AssetNow]:
    """Every asset that stands on a site."""
    return [AssetNow(**dict(row)) for row in await db.fetch(ASSETS_NOW, tenant, STALE_AFTER)]
