"""GET /assets."""

from fastapi import APIRouter

from services.api.assets import store
from services.api.assets.schemas import Asset
from services.api.caller import Caller, TenantDb

router = APIRouter(tags=["assets"])


@router.get("/assets")
async def get_assets(who: Caller, db: TenantDb) -> list[Asset]:
    """The assets of the inventory, grouped by site; what left the assets file is not listed."""
    return [Asset(**row) for row in await store.read_assets(db, who.tenant)]
