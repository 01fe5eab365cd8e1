"""/api/admin/boxes."""

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.provisioning import life, modes, store
from services.provisioning.answers import changed, named_in_body
from services.provisioning.boxes import assets
from services.provisioning.boxes import store as boxes
from services.provisioning.boxes.schemas import BoxChange, BoxDetail, ListedBox, NewAssets, NewBox, State
from services.provisioning.enrolment.revocation import take_back
from services.provisioning.key import KeyHolder
from services.provisioning.model import Author, Barred
from services.provisioning.schemas import (
    Box,
    Capability,
    CapabilitySwitch,
    DeviceId,
    NewCapabilities,
    NewMode,
    TenantId,
)
from services.runtime.postgres import Pool, transaction

PERSONAL = ("name", "serial", "user_id")


def make_router(pool: Pool, *, holder: KeyHolder, on_change: Callable[[], None]) -> APIRouter:
    """The routes; `on_change` wakes who tells the registry topic and the broker."""
    router = APIRouter(prefix="/boxes", tags=["boxes"])

    @router.post("", status_code=201)
    async def add_box(body: NewBox, author: Author = Depends(holder)) -> BoxDetail:
        """Pre-create a box: its site, the box in observe, its agent. 409 when the id is taken."""
        async with transaction(pool) as db:
            with named_in_body():
                await boxes.insert_box(db, body)
            detail = {"hardware": body.hardware}
            target = ("box", body.box_id)
            await store.audit(db, author, "box.create", target, detail, tenant_id=body.tenant_id)
        on_change()
        return await read(body.tenant_id, body.box_id)

    @router.get("")
    async def get_boxes(
        tenant_id: Annotated[TenantId | None, Query(description="only this tenant's")] = None,
        mode: Literal["observe", "active"] | None = None,
        state: State | None = None,
        user_id: UUID | None = None,
        after: Annotated[DeviceId | None, Query(description="last box of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    ) -> list[ListedBox]:
        """Boxes in the order of their ids, a page at a time."""
        async with transaction(pool) as db:
            rows = await boxes.list_boxes(
                db,
                tenant_id=tenant_id,
                mode=mode,
                state=state,
                user_id=user_id,
                after=after or "",
                limit=limit,
            )
        return [ListedBox(**row) for row in rows]

    @router.get("/{tenant}/{box}")
    async def get_box(tenant: TenantId, box: DeviceId) -> BoxDetail:
        """One box with its assets."""
        return await read(tenant, box)

    @router.patch("/{tenant}/{box}")
    async def change_box(
        tenant: TenantId, box: DeviceId, body: BoxChange, author: Author = Depends(holder)
    ) -> BoxDetail:
        """Change what is said about a box, or move it to another site."""
        async with transaction(pool) as db:
            await store.hold_box(db, tenant, box)
            before = await boxes.read_box(db, tenant, box)
            change, detail = changed(before, body, PERSONAL)
            if "site_id" in change and before["source"] == "file":
                raise Barred(f"box {box!r} follows the assets file; move it there")
            if change:
                with named_in_body():
                    await boxes.write_change(db, tenant, box, change)
                await store.audit(db, author, "box.change", ("box", box), detail, tenant_id=tenant)
        on_change()
        return await read(tenant, box)

    @router.put("/{tenant}/{box}/assets")
    async def put_assets(
        tenant: TenantId, box: DeviceId, body: NewAssets, author: Author = Depends(holder)
    ) -> BoxDetail:
        """Give a box exactly these assets, each as in an assets file; its agent may speak for them alone."""
        await assets.put(pool, tenant, box, body.assets, author)
        on_change()
        return await read(tenant, box)

    async def step(tenant: str, box: str, action: life.Action, author: Author) -> BoxDetail:
        async with transaction(pool) as db:
            # Waits for the command that is on its way.
            before = await store.hold_box(db, tenant, box)
            state = life.after(f"box {box!r}", before.state, action)
            await boxes.set_state(db, tenant, box, state or before.state)
            await take_back(db, tenant, box, state, author)
            if state:
                detail = {"before": before.state, "after": state}
                await store.audit(db, author, f"box.{action}", ("box", box), detail, tenant_id=tenant)
        on_change()
        return await read(tenant, box)

    @router.post("/{tenant}/{box}/decommission")
    async def decommission(tenant: TenantId, box: DeviceId, author: Author = Depends(holder)) -> BoxDetail:
        """Put a box and its assets out of use for good: its certificates are void, its session ends."""
        return await step(tenant, box, "decommission", author)

    @router.post("/{tenant}/{box}/disable")
    async def disable(tenant: TenantId, box: DeviceId, author: Author = Depends(holder)) -> BoxDetail:
        """Refuse a box until it is enabled; its certificate stays."""
        return await step(tenant, box, "disable", author)

    @router.post("/{tenant}/{box}/enable")
    async def enable(tenant: TenantId, box: DeviceId, author: Author = Depends(holder)) -> BoxDetail:
        """Let a disabled box in again."""
        return await step(tenant, box, "enable", author)

    @router.post("/{tenant}/{box}/mode")
    async def set_mode(
        tenant: TenantId, box: DeviceId, body: NewMode, author: Author = Depends(holder)
    ) -> Box:
        """Flip a box; no command of the old mode reaches it after the answer."""
        after = await modes.set_mode(pool, tenant, box, body.mode, author, payment_ref=body.payment_ref)
        on_change()
        return Box.model_validate(after)

    @router.put("/{tenant}/{box}/capabilities")
    async def set_capabilities(
        tenant: TenantId, box: DeviceId, body: NewCapabilities, author: Author = Depends(holder)
    ) -> Box:
        """Say which capabilities are open; all others are closed."""
        after = await modes.set_capabilities(pool, tenant, box, body.opt_ins, author)
        on_change()
        return Box.model_validate(after)

    @router.put("/{tenant}/{box}/capabilities/{capability}")
    async def set_capability(
        tenant: TenantId,
        box: DeviceId,
        capability: Capability,
        body: CapabilitySwitch,
        author: Author = Depends(holder),
    ) -> Box:
        """Open or close one capability; 409 while the box observes."""
        after = await modes.switch(pool, tenant, box, capability, body.enabled, author)
        on_change()
        return Box.model_validate(after)

    async def read(tenant_id: str, box_id: str) -> BoxDetail:
        async with transaction(pool) as db:
            row = await boxes.read_box(db, tenant_id, box_id)
            return BoxDetail(**{**row, "assets": await assets.read(db, tenant_id, box_id)})

    return router
