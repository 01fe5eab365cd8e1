"""/api/admin/devices."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.provisioning import life
from services.provisioning.answers import changed, named_in_body
from services.provisioning.devices import store
from services.provisioning.devices.schemas import Device, DeviceChange, NewDevice
from services.provisioning.enrolment.revocation import take_back
from services.provisioning.key import KeyHolder
from services.provisioning.model import Author, Barred
from services.provisioning.schemas import DeviceId, ExternalId, TenantId
from services.provisioning.store import audit
from services.runtime.postgres import Pool, transaction

PERSONAL = ("name", "host", "host_mac")


def make_router(pool: Pool, *, holder: KeyHolder, on_change: Callable[[], None]) -> APIRouter:
    """The routes; `on_change` wakes who tells the registry topic and the broker."""
    router = APIRouter(prefix="/devices", tags=["devices"])

    @router.post("", status_code=201)
    async def add_device(body: NewDevice, author: Author = Depends(holder)) -> Device:
        """Register a device, by default a sensor; it may publish within a second. 409 when it exists."""
        async with transaction(pool) as db:
            with named_in_body():
                await store.insert_device(db, body)
            detail = body.model_dump(include={"type", "site_id", "external_id"})
            await audit(
                db, author, "device.create", ("device", body.device_id), detail, tenant_id=body.tenant_id
            )
        on_change()
        return await read(body.tenant_id, body.device_id)

    @router.get("")
    async def get_devices(
        tenant_id: Annotated[TenantId | None, Query(description="only this tenant's")] = None,
        box_id: Annotated[DeviceId | None, Query(description="only this box's agent and assets")] = None,
        external_id: ExternalId | None = None,
        after_key: Annotated[int, Query(ge=0, le=2**31 - 1, description="last key of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    ) -> list[Device]:
        """Devices in the order of their keys, a page at a time."""
        async with transaction(pool) as db:
            rows = await store.list_devices(
                db,
                tenant_id=tenant_id,
                box_id=box_id,
                external_id=external_id,
                after_key=after_key,
                limit=limit,
            )
        return [Device(**row) for row in rows]

    @router.get("/{tenant}/{device}")
    async def get_device(tenant: TenantId, device: DeviceId) -> Device:
        """One device."""
        return await read(tenant, device)

    @router.patch("/{tenant}/{device}")
    async def change_device(
        tenant: TenantId, device: DeviceId, body: DeviceChange, author: Author = Depends(holder)
    ) -> Device:
        """Change what is said about a device: its name, its address in the customer's network, its site."""
        async with transaction(pool) as db:
            before = await store.read_device(db, tenant, device, hold=True)
            change, detail = changed(before, body, PERSONAL)
            if change:
                with named_in_body():
                    await store.write_change(db, tenant, before, change)
                await audit(db, author, "device.change", ("device", device), detail, tenant_id=tenant)
        on_change()
        return await read(tenant, device)

    async def step(tenant: str, device: str, action: life.Action, author: Author) -> Device:
        async with transaction(pool) as db:
            before = await store.read_device(db, tenant, device, hold=True)
            if device == before["box_id"]:
                raise Barred(f"device {device!r} is the agent of a box; {action} the box")
            state = life.after(f"device {device!r}", before["state"], action)
            await store.set_state(db, tenant, device, state or before["state"])
            await take_back(db, tenant, device, state, author)
            if state:
                detail = {"before": before["state"], "after": state}
                await audit(db, author, f"device.{action}", ("device", device), detail, tenant_id=tenant)
        on_change()
        return await read(tenant, device)

    @router.post("/{tenant}/{device}/decommission")
    async def decommission(tenant: TenantId, device: DeviceId, author: Author = Depends(holder)) -> Device:
        """Put a device out of use for good: its credentials are void, its telemetry is refused."""
        return await step(tenant, device, "decommission", author)

    @router.post("/{tenant}/{device}/disable")
    async def disable(tenant: TenantId, device: DeviceId, author: Author = Depends(holder)) -> Device:
        """Refuse a device until it is enabled; its credentials stay."""
        return await step(tenant, device, "disable", author)

    @router.post("/{tenant}/{device}/enable")
    async def enable(tenant: TenantId, device: DeviceId, author: Author = Depends(holder)) -> Device:
        """Let a disabled device in again."""
        return await step(tenant, device, "enable", author)

    async def read(tenant_id: str, device_id: str) -> Device:
        async with transaction(pool) as db:
            return Device(**await store.read_device(db, tenant_id, device_id))

    return router
