"""The administrators' door: tenants, devices, and the modes of boxes, behind X-Admin-Key."""

import hmac
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.security import APIKeyHeader
from starlette.routing import BaseRoute

from services.provisioning import metrics, modes, store
from services.provisioning.model import Author, Taken, Unknown
from services.provisioning.schemas import (
    Box,
    Device,
    DeviceId,
    NewCapabilities,
    NewDevice,
    NewMode,
    NewTenant,
    Tenant,
    TenantId,
)
from services.runtime.postgres import Pool, transaction
from services.runtime.web import Refusal, furnish, request_id_of

_KEY = APIKeyHeader(name="X-Admin-Key", auto_error=False, description="PROVISION_ADMIN_KEY")


def make_app(
    pool: Pool, *, admin_key: str, on_change: Callable[[], None], health: Sequence[BaseRoute]
) -> FastAPI:
    """The application; `on_change` is called after each commit that the registry topic has to hear of."""

    async def key_holder(request: Request, key: Annotated[str | None, Depends(_KEY)]) -> Author:
        if not is_right(key, admin_key):
            metrics.REFUSED_KEYS.inc()
            raise Refusal(
                401,
                "header X-Admin-Key is missing or wrong; it must be PROVISION_ADMIN_KEY",
                field="X-Admin-Key",
            )
        address = request.client.host if request.client else None
        return Author("admin-key", address, request_id_of(request))

    admin = APIRouter(prefix="/api/admin", dependencies=[Depends(key_holder)])

    @admin.post("/tenants", status_code=201, tags=["tenants"])
    async def add_tenant(body: NewTenant, author: Author = Depends(key_holder)) -> Tenant:
        """Make a tenant. 409 when it exists."""
        async with transaction(pool) as db:
            row = await store.insert_tenant(db, body.tenant_id, body.name or body.tenant_id)
            target, detail = ("tenant", body.tenant_id), {"name": row["name"]}
            await store.audit(db, author, "tenant.create", target, detail, tenant_id=body.tenant_id)
        return Tenant(**row)

    @admin.get("/tenants", tags=["tenants"])
    async def get_tenants() -> list[Tenant]:
        """All tenants."""
        async with transaction(pool) as db:
            return [Tenant(**row) for row in await store.list_tenants(db)]

    @admin.post("/devices", status_code=201, tags=["devices"])
    async def add_device(body: NewDevice, author: Author = Depends(key_holder)) -> Device:
        """Register a device, by default a sensor; it may publish within a second. 409 when it exists."""
        async with transaction(pool) as db:
            try:
                row = await store.insert_device(
                    db, body.tenant_id, body.device_id, site_id=body.site_id, kind=body.type, name=body.name
                )
            except Unknown as error:
                raise Refusal(422, str(error), field=error.field) from error
            detail = {"type": body.type, "name": body.name, "site_id": body.site_id}
            target = ("device", body.device_id)
            await store.audit(db, author, "device.create", target, detail, tenant_id=body.tenant_id)
        on_change()
        return Device(**row)

    @admin.get("/devices", tags=["devices"])
    async def get_devices(
        tenant_id: Annotated[TenantId | None, Query(description="only this tenant's")] = None,
        after_key: Annotated[int, Query(ge=0, le=2**31 - 1, description="last key of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    ) -> list[Device]:
        """Devices in the order of their keys, a page at a time."""
        async with transaction(pool) as db:
            rows = await store.list_devices(db, tenant_id, after_key=after_key, limit=limit)
        return [Device(**row) for row in rows]

    @admin.post("/boxes/{tenant}/{box}/mode", tags=["boxes"])
    async def set_mode(
        tenant: TenantId, box: DeviceId, body: NewMode, author: Author = Depends(key_holder)
    ) -> Box:
        """Flip a box; no command of the old mode reaches it after the answer."""
        after = await modes.set_mode(pool, tenant, box, body.mode, author)
        on_change()
        return Box.model_validate(after)

    @admin.put("/boxes/{tenant}/{box}/capabilities", tags=["boxes"])
    async def set_capabilities(
        tenant: TenantId, box: DeviceId, body: NewCapabilities, author: Author = Depends(key_holder)
    ) -> Box:
        """Say which capabilities are open; all others are closed."""
        after = await modes.set_capabilities(pool, tenant, box, body.opt_ins, author)
        on_change()
        return Box.model_validate(after)

    app = FastAPI(title="Overwatt provisioning", description="Who belongs to this platform.")
    furnish(app, {Taken: 409, Unknown: 404})
    app.include_router(admin)
    app.router.routes.extend(health)

    return app


def is_right(given: str | None, wanted: str) -> bool:
    """Compared in constant time; an empty key of ours lets nobody in (P-032)."""
    matches = hmac.compare_digest((given or "").encode("latin-1", "replace"), wanted.encode())
    return matches and bool(wanted)
