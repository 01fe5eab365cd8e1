"""Assets that have not left the assets file."""

from typing import Any, Final

from services.runtime.postgres import Connection

ASSETS: Final = """
select a.asset_id, d.name, d.type, d.site_id, coalesce(s.name, '') as site_name, a.location,
  a.capacity_mwh as capacity_mwhr, a.min_mw, a.max_mw, a.efficiency, a.ramp_rate_mw_per_min, d.state,
  b.mode, coalesce(b.opt_ins, '{}') as opt_ins
from asset a
join device d using (device_key)
left join site s on s.tenant_id = d.tenant_id and s.site_id = d.site_id
left join box b on b.tenant_id = d.tenant_id and b.box_id = d.box_id
where a.tenant_id = $1 and d.state not in ('decommissioned', 'erased')
order by d.site_id, a.device_key"""


async def read_assets(db: Connection, tenant: str) -> list[dict[str, Any]]:
    """All of them, grouped by site, in the order in which they were registered."""
    return [dict(row) for row in await db.fetch(ASSETS, tenant)]
