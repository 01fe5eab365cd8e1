"""/api/admin/sites."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.provisioning.answers import changed, named_in_body
from services.provisioning.key import KeyHolder
from services.provisioning.model import Author
from services.provisioning.schemas import DeviceId, ExternalId, TenantId
from services.provisioning.sites import store
from services.provisioning.sites.schemas import NewSite, Site, SiteChange
from services.provisioning.store import audit
from services.runtime.postgres import Pool, transaction

PERSONAL = ("name", "location")


def make_router(pool: Pool, *, holder: KeyHolder, on_change: Callable[[], None]) -> APIRouter:
    """The routes; `on_change` wakes the registry topic."""
    router = APIRouter(prefix="/sites", tags=["sites"])

    @router.post("", status_code=201)
    async def add_site(body: NewSite, author: Author = Depends(holder)) -> Site:
        """Make a place for devices. 409 when it exists."""
        async with transaction(pool) as db:
            with named_in_body():
                await store.insert_site(db, body)
            target, detail = ("site", body.site_id), {"external_id": body.external_id}
            await audit(db, author, "site.create", target, detail, tenant_id=body.tenant_id)
            return Site(**await store.read_site(db, body.tenant_id, body.site_id))

    @router.get("")
    async def get_sites(
        tenant_id: Annotated[TenantId | None, Query(description="only this tenant's")] = None,
        external_id: ExternalId | None = None,
        after: Annotated[DeviceId | None, Query(description="last site of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    ) -> list[Site]:
        """Sites in the order of their ids; the pages are of one tenant."""
        async with transaction(pool) as db:
            rows = await store.list_sites(
                db, tenant_id=tenant_id, external_id=external_id, after=after or "", limit=limit
            )
        return [Site(**row) for row in rows]

    @router.get("/{tenant}/{site}")
    async def get_site(tenant: TenantId, site: DeviceId) -> Site:
        """One site."""
        async with transaction(pool) as db:
            return Site(**await store.read_site(db, tenant, site))

    @router.patch("/{tenant}/{site}")
    async def change_site(
        tenant: TenantId, site: DeviceId, body: SiteChange, author: Author = Depends(holder)
    ) -> Site:
        """Rename a site, or say where it is. A name that a person gave outlives every import."""
        async with transaction(pool) as db:
            before = await store.read_site(db, tenant, site, hold=True)
            change, detail = changed(before, body, PERSONAL)
            if change:
                await store.write_site(db, before, change)
                await audit(db, author, "site.change", ("site", site), detail, tenant_id=tenant)
            row = await store.read_site(db, tenant, site)
        on_change()
        return Site(**row)

    @router.delete("/{tenant}/{site}", status_code=204)
    async def delete_site(tenant: TenantId, site: DeviceId, author: Author = Depends(holder)) -> None:
        """Remove a site on which nothing stands. 409 otherwise."""
        async with transaction(pool) as db:
            await store.read_site(db, tenant, site, hold=True)
            await store.delete_site(db, tenant, site)
            await audit(db, author, "site.delete", ("site", site), {}, tenant_id=tenant)

    return router
