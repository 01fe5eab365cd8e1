"""GET /agents."""

from fastapi import APIRouter

from services.api.agents import store
from services.api.agents.schemas import Agent
from services.api.caller import Caller, TenantDb

router = APIRouter(tags=["agents"])


@router.get("/agents")
async def get_agents(who: Caller, db: TenantDb) -> list[Agent]:
    """One entry for each agent that is connected now; empty until one is."""
    return [Agent(**row) for row in await store.read_agents(db, who.tenant)]
