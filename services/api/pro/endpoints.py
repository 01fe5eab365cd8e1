"""/pro/devices, and what a scan of a box's network teaches about them."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from services.api.pro.matching import Match, matches
from services.api.pro.schemas import Matched, Scan
from services.api.registry import AskRegistry, Json, Registry
from services.api.roles import STAFF, Id, OptionalId, require

router = APIRouter(prefix="/pro", tags=["pro"], dependencies=[Depends(require(*STAFF))])

DeviceChange = Annotated[Json, Body(examples=[{"host": "10.0.0.9", "host_mac": "aa:bb:cc:dd:ee:ff"}])]


@router.get("/devices")
async def get_devices(
    registry: AskRegistry,
    box_id: OptionalId = None,
    after_key: Annotated[int, Query(ge=0, le=2**31 - 1, description="last key of the page before")] = 0,
) -> list[Json]:
    """Devices with their addresses in the customer's network, 1000 a page."""
    return await registry.many("devices", tenant_id=registry.tenant, box_id=box_id, after_key=after_key)


@router.patch("/devices/{device_id}")
async def change_device(device_id: Id, body: DeviceChange, registry: AskRegistry) -> Json:
    """Save a device's address, its MAC, or its name."""
    return await registry.send("PATCH", "devices", registry.tenant, device_id, body=body)


@router.post("/boxes/{box_id}/scan-match")
async def match_scan(box_id: Id, body: Scan, registry: AskRegistry) -> list[Matched]:
    """Which of the addresses that answered are of the box's devices, known by MAC wherever they are now."""
    await registry.one("boxes", registry.tenant, box_id)
    devices = await registry.many("devices", tenant_id=registry.tenant, box_id=box_id)
    found = matches([(each.host, each.host_mac) for each in body.found], devices)
    if body.save:
        for match in found:
            await _save(registry, match)
    return [
        Matched(
            **{name: value for name, value in asdict(match).items() if name != "to_save"},
            saved=body.save and bool(match.to_save),
        )
        for match in found
    ]


async def _save(registry: Registry, match: Match) -> None:
    if match.to_save and match.device_id:
        await registry.send("PATCH", "devices", registry.tenant, match.device_id, body=dict(match.to_save))
