"""/api/sites and /api/devices, passed on to provisioning; PATCH /customer/devices/{id}/decommission."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from services.api.account.owned import own_boxes
from services.api.caller import Caller
from services.api.registry import AskRegistry, Json
from services.api.roles import MANAGERS, STAFF, Id, OptionalId, require
from services.runtime.web import Refusal

router = APIRouter(tags=["sites and devices"])
staff = [Depends(require(*STAFF))]

NewSite = Annotated[Json, Body(examples=[{"site_id": "depot-1", "name": "Depot", "external_id": "EAN-1"}])]
SiteChange = Annotated[Json, Body(examples=[{"name": "Depot", "location": "Ghent"}])]
NewDevice = Annotated[Json, Body(examples=[{"device_id": "meter-1", "type": "meter", "site_id": "depot-1"}])]
DeviceChange = Annotated[Json, Body(examples=[{"name": "Main meter", "external_id": "EAN-2"}])]
ExternalId = Annotated[str | None, Query(max_length=128, description="only the one of this name elsewhere")]
AfterKey = Annotated[int, Query(ge=0, le=2**31 - 1, description="last key of the page before")]


@router.get("/api/sites", dependencies=staff)
async def get_sites(
    registry: AskRegistry, external_id: ExternalId = None, after: OptionalId = None
) -> list[Json]:
    """Sites with what stands on them, 1000 a page."""
    return await registry.many("sites", tenant_id=registry.tenant, external_id=external_id, after=after)


@router.post("/api/sites", status_code=201, dependencies=staff)
async def add_site(body: NewSite, registry: AskRegistry) -> Json:
    """Make a site."""
    return await registry.send("POST", "sites", body={**body, "tenant_id": registry.tenant})


@router.get("/api/sites/{site_id}", dependencies=staff)
async def get_site(site_id: Id, registry: AskRegistry) -> Json:
    """One site."""
    return await registry.one("sites", registry.tenant, site_id)


@router.patch("/api/sites/{site_id}", dependencies=staff)
async def change_site(site_id: Id, body: SiteChange, registry: AskRegistry) -> Json:
    """Change name, location or external_id."""
    return await registry.send("PATCH", "sites", registry.tenant, site_id, body=body)


@router.delete("/api/sites/{site_id}", status_code=204, dependencies=staff)
async def delete_site(site_id: Id, registry: AskRegistry) -> None:
    """Remove a site on which nothing stands."""
    await registry.send("DELETE", "sites", registry.tenant, site_id)


@router.get("/api/devices", dependencies=staff)
async def get_devices(
    registry: AskRegistry, external_id: ExternalId = None, box_id: OptionalId = None, after_key: AfterKey = 0
) -> list[Json]:
    """Devices in the order of their keys, 1000 a page."""
    return await registry.many(
        "devices", tenant_id=registry.tenant, external_id=external_id, box_id=box_id, after_key=after_key
    )


@router.post("/api/devices", status_code=201, dependencies=staff)
async def add_device(body: NewDevice, registry: AskRegistry) -> Json:
    """Register a device; it may publish within a second, once it has credentials."""
    return await registry.send("POST", "devices", body={**body, "tenant_id": registry.tenant})


@router.get("/api/devices/{device_id}", dependencies=staff)
async def get_device(device_id: Id, registry: AskRegistry) -> Json:
    """One device."""
    return await registry.one("devices", registry.tenant, device_id)


@router.patch("/api/devices/{device_id}", dependencies=staff)
async def change_device(device_id: Id, body: DeviceChange, registry: AskRegistry) -> Json:
    """Change name, address, site, external_id, or which devices outside of boxes it speaks for."""
    return await registry.send("PATCH", "devices", registry.tenant, device_id, body=body)


@router.delete("/api/devices/{device_id}", dependencies=[Depends(require(*MANAGERS))])
async def remove_device(device_id: Id, registry: AskRegistry) -> Json:
    """Decommission a device: what it sent stays, what it sends is refused."""
    return await registry.send("POST", "devices", registry.tenant, device_id, "decommission")


@router.patch("/customer/devices/{device_id}/decommission")
async def decommission(device_id: Id, who: Caller, registry: AskRegistry) -> Json:
    """Put a device out of use for good (P-023): one of your own boxes, or any for who manages the tenant."""
    if who.role not in MANAGERS:
        device = await registry.one("devices", who.tenant, device_id)
        if device["box_id"] not in {box["box_id"] for box in await own_boxes(registry, who)}:
            raise Refusal(
                403,
                f"device {device_id} is not of your boxes; this needs {' or '.join(MANAGERS)}",
                field="role",
            )
    return await registry.send("POST", "devices", registry.tenant, device_id, "decommission")
