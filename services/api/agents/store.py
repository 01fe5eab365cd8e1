"""Open sessions with what their agents speak for."""

import json
from typing import Any, Final

from services.runtime.postgres import Connection

AGENTS: Final = """
select o.device_id as agent_id, true as connected, o.site_id, o.site_name, o.agent_mode as mode, o.version,
  o.features, o.connected_at, o.last_seen_at,
  (select coalesce(json_agg(json_build_object(
      'asset_id', said.asset_id, 'name', d.name, 'type', d.type, 'capacity_mwhr', a.capacity_mwh,
      'min_mw', a.min_mw, 'max_mw', a.max_mw) order by said.place), '[]')
    from unnest(o.assets) with ordinality as said (asset_id, place)
    left join device d on d.tenant_id = o.tenant_id and d.device_id = said.asset_id
    left join asset a on a.tenant_id = o.tenant_id and a.asset_id = said.asset_id) as assets,
  (select json_agg(json_build_object(
      'session_id', s.session_id, 'connected_at', s.connected_at, 'last_seen_at', s.last_seen_at,
      'disconnected_at', s.disconnected_at, 'close_reason', s.close_reason) order by s.connected_at desc)
    from (select * from agent_session l where l.tenant_id = o.tenant_id and l.device_id = o.device_id
          order by l.connected_at desc limit 5) s) as sessions
from agent_session o
where o.tenant_id = $1 and o.disconnected_at is null
order by o.site_id, o.device_id"""


async def read_agents(db: Connection, tenant: str) -> list[dict[str, Any]]:
    """One entry for each agent that is connected."""
    rows = await db.fetch(AGENTS, tenant)
    return [
        {**dict(row), "assets": json.loads(row["assets"]), "sessions": json.loads(row["sessions"])}
        for row in rows
    ]
