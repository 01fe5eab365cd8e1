"""GET /sites."""

from typing import Any

from fastapi import APIRouter

from services.api.caller import Caller, TenantDb
from services.api.sites import store
from services.api.sites.aggregate import AssetNow, aggregate
from services.api.sites.schemas import Site

router = APIRouter(tags=["sites"])


@router.get("/sites")
async def get_sites(who: Caller, db: TenantDb) -> list[Site]:
    """Sites with their sums."""
    assets = await store.read_assets_now(db, who.tenant)
    return [_site(row, assets) for row in await store.read_sites(db, who.tenant)]


def _site(row: dict[str, Any], assets: list[AssetNow]) -> Site:
    return Site(**row, **aggregate([asset for asset in assets if asset.site_id == row["site_id"]]))
