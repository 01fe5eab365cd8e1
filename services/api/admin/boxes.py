"""/admin/boxes and /admin/devices, passed on to provisioning."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, Query

from services.api.registry import AskRegistry, Json
from services.api.roles import OPERATORS, Id, OptionalId, require

router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(require(*OPERATORS))])

NewBox = Annotated[Json, Body(examples=[{"box_id": "hems-900100", "site_name": "a@b.c", "serial": None}])]
BoxChange = Annotated[Json, Body(examples=[{"name": "Cellar", "site_id": "depot-1"}])]
Assets = Annotated[Json, Body(examples=[{"assets": [{"id": "bess-1", "type": "battery", "max_mw": 0.005}]}])]
NewMode = Annotated[Json, Body(examples=[{"mode": "active", "payment_ref": "inv-77"}])]
NewToken = Annotated[Json, Body(examples=[{"email": "a@b.c", "ttl_s": 3600}])]
Reason = Annotated[Json | None, Body(examples=[{"reason": "the box was stolen"}])]
Prefix = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,32}$")]
Step = Literal["disable", "enable", "decommission"]


@router.post("/boxes", status_code=201)
async def add_box(body: NewBox, registry: AskRegistry) -> Json:
    """Pre-create a box; it observes, and waits for its enrolment."""
    return await registry.send("POST", "boxes", body={**body, "tenant_id": registry.tenant})


@router.get("/boxes")
async def get_boxes(
    registry: AskRegistry,
    mode: Literal["observe", "active"] | None = None,
    state: Annotated[str | None, Query(max_length=20)] = None,
    user_id: UUID | None = None,
    after: OptionalId = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> list[Json]:
    """Boxes with mode, since when, and until when their certificate is good."""
    return await registry.many(
        "boxes", tenant_id=registry.tenant, mode=mode, state=state, user_id=user_id, after=after, limit=limit
    )


@router.get("/boxes/{box_id}")
async def get_box(box_id: Id, registry: AskRegistry) -> Json:
    """One box, with its assets and the address of its support tunnel."""
    return await registry.one("boxes", registry.tenant, box_id)


@router.patch("/boxes/{box_id}")
async def change_box(box_id: Id, body: BoxChange, registry: AskRegistry) -> Json:
    """Change name, serial, hardware, owner or support tunnel; a `site_id` moves the box."""
    return await registry.send("PATCH", "boxes", registry.tenant, box_id, body=body)


@router.put("/boxes/{box_id}/assets")
async def put_assets(box_id: Id, body: Assets, registry: AskRegistry) -> Json:
    """Give a box exactly these assets, each as in an assets file."""
    return await registry.send("PUT", "boxes", registry.tenant, box_id, "assets", body=body)


@router.post("/boxes/{box_id}/mode")
async def set_mode(box_id: Id, body: NewMode, registry: AskRegistry) -> Json:
    """Flip a box to active or observe; no command of the old mode reaches it after the answer."""
    return await registry.send("POST", "boxes", registry.tenant, box_id, "mode", body=body)


@router.post("/boxes/{box_id}/issue_enroll_token", status_code=201)
async def issue_token(box_id: Id, body: NewToken, registry: AskRegistry) -> Json:
    """A link for one box and one e-mail address, shown this once."""
    return await registry.send("POST", "boxes", registry.tenant, box_id, "enroll-tokens", body=body)


@router.get("/boxes/{box_id}/enroll-tokens")
async def get_tokens(box_id: Id, registry: AskRegistry) -> list[Json]:
    """What is kept of a box's tokens: for whom, until when, and whether they were used."""
    return await registry.many("boxes", registry.tenant, box_id, "enroll-tokens")


@router.delete("/boxes/{box_id}/enroll-tokens/{prefix}", status_code=204)
async def withdraw_token(box_id: Id, prefix: Prefix, registry: AskRegistry) -> None:
    """Nobody can use that token any more."""
    await registry.send("DELETE", "boxes", registry.tenant, box_id, "enroll-tokens", prefix)


@router.get("/boxes/{box_id}/certificates")
async def get_certificates(box_id: Id, registry: AskRegistry) -> list[Json]:
    """All certificates that a box ever had."""
    return await registry.many("boxes", registry.tenant, box_id, "certificates")


@router.post("/boxes/{box_id}/revoke")
async def revoke_box(box_id: Id, registry: AskRegistry, body: Reason = None) -> Json:
    """Void all that the box was given and end its session; a new token brings it back."""
    return await registry.send("POST", "boxes", registry.tenant, box_id, "revoke", body=body)


@router.post("/boxes/{box_id}/{step}")
async def step_box(box_id: Id, step: Step, registry: AskRegistry) -> Json:
    """Disable a box until it is enabled, or decommission it and its assets for good."""
    return await registry.send("POST", "boxes", registry.tenant, box_id, step)


@router.post("/devices/{device_id}/activation-code", status_code=201)
async def add_code(device_id: Id, registry: AskRegistry) -> Json:
    """A code with which a simple device gets its token, once."""
    return await registry.send("POST", "devices", registry.tenant, device_id, "activation-code")


@router.post("/devices/{device_id}/rotate-token")
async def rotate_token(device_id: Id, registry: AskRegistry) -> Json:
    """A new token for a simple device, shown this once; the old one is void."""
    return await registry.send("POST", "devices", registry.tenant, device_id, "rotate-token")


@router.post("/devices/{device_id}/revoke")
async def revoke_device(device_id: Id, registry: AskRegistry, body: Reason = None) -> Json:
    """Void all that a device was given and end its session."""
    return await registry.send("POST", "devices", registry.tenant, device_id, "revoke", body=body)


@router.post("/devices/{device_id}/{step}")
async def step_device(device_id: Id, step: Step, registry: AskRegistry) -> Json:
    """Disable a device until it is enabled, or decommission it for good."""
    return await registry.send("POST", "devices", registry.tenant, device_id, step)
