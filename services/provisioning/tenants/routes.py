"""/api/admin/tenants."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Depends

from services.provisioning.answers import changed
from services.provisioning.key import KeyHolder
from services.provisioning.life import after
from services.provisioning.model import Author
from services.provisioning.schemas import TenantId
from services.provisioning.store import audit
from services.provisioning.tenants import store
from services.provisioning.tenants.schemas import NewTenant, Tenant, TenantChange
from services.runtime.postgres import Pool, transaction


def make_router(pool: Pool, *, holder: KeyHolder, on_change: Callable[[], None]) -> APIRouter:
    """The routes; `on_change` wakes the registry topic."""
    router = APIRouter(prefix="/tenants", tags=["tenants"])

    @router.post("", status_code=201)
    async def add_tenant(body: NewTenant, author: Author = Depends(holder)) -> Tenant:
        """Make a tenant. 409 when it exists."""
        async with transaction(pool) as db:
            row = await store.insert_tenant(db, body.tenant_id, body.name or body.tenant_id, body.code)
            target, detail = ("tenant", body.tenant_id), {"name": row["name"], "code": row["code"]}
            await audit(db, author, "tenant.create", target, detail, tenant_id=body.tenant_id)
        return Tenant(**row)

    @router.get("")
    async def get_tenants() -> list[Tenant]:
        """All tenants."""
        async with transaction(pool) as db:
            return [Tenant(**row) for row in await store.list_tenants(db)]

    @router.get("/{tenant}")
    async def get_tenant(tenant: TenantId) -> Tenant:
        """One tenant."""
        async with transaction(pool) as db:
            return Tenant(**await store.read_tenant(db, tenant))

    @router.patch("/{tenant}")
    async def change_tenant(tenant: TenantId, body: TenantChange, author: Author = Depends(holder)) -> Tenant:
        """Rename a tenant, or give it another code."""
        async with transaction(pool) as db:
            before = await store.read_tenant(db, tenant, hold=True)
            change, detail = changed(before, body, ())
            if change:
                await store.write_tenant(db, before, change)
                await audit(db, author, "tenant.change", ("tenant", tenant), detail, tenant_id=tenant)
            return Tenant(**await store.read_tenant(db, tenant))

    async def step(tenant: str, action: Literal["disable", "enable"], author: Author) -> Tenant:
        async with transaction(pool) as db:
            before = await store.read_tenant(db, tenant, hold=True)
            state = after(f"tenant {tenant!r}", before["state"], action)
            if state:
                await store.write_tenant(db, before, {"state": state})
                detail = {"before": before["state"], "after": state}
                await audit(db, author, f"tenant.{action}", ("tenant", tenant), detail, tenant_id=tenant)
            row = await store.read_tenant(db, tenant)
        on_change()
        return Tenant(**row)

    @router.post("/{tenant}/disable")
    async def disable(tenant: TenantId, author: Author = Depends(holder)) -> Tenant:
        """Refuse a tenant's users and devices until it is enabled."""
        return await step(tenant, "disable", author)

    @router.post("/{tenant}/enable")
    async def enable(tenant: TenantId, author: Author = Depends(holder)) -> Tenant:
        """Let a disabled tenant in again."""
        return await step(tenant, "enable", author)

    return router
