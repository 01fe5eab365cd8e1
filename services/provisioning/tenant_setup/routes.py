"""The administrators' routes for setting a tenant up, inviting into it, and ending it."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Depends, Response

from services.provisioning.enrolment.revocation import revoke
from services.provisioning.key import KeyHolder
from services.provisioning.model import ACTIVE, Author, Taken
from services.provisioning.schemas import TenantId
from services.provisioning.store import audit
from services.provisioning.tenant_setup import store
from services.provisioning.tenant_setup.naming import next_code
from services.provisioning.tenant_setup.schemas import (
    ChangedSetup,
    Ended,
    Invitation,
    NewSetup,
    Redeemed,
    Redemption,
    Setup,
    Smoke,
)
from services.runtime import clock
from services.runtime.postgres import Connection, Pool, transaction
from services.runtime.web import Refusal

INVITE_TTL: Final = timedelta(days=7)


def make_router(
    pool: Pool,
    *,
    holder: KeyHolder,
    app_url: str,
    on_change: Callable[[], None],
    now: Callable[[], datetime] = clock.now,
) -> APIRouter:
    """The routes; `app_url` is where invitations lead, `on_change` is told of devices that end."""
    router = APIRouter(tags=["tenants"])

    @router.put("/tenants/{tenant}/setup", status_code=201, responses={200: {"model": Setup}})
    async def set_up(
        tenant: TenantId, body: NewSetup, response: Response, author: Author = Depends(holder)
    ) -> Setup:
        """Make a tenant with all that it starts with, or nothing. 200: there just so. 409: it differs."""
        async with transaction(pool) as db:
            await store.take_turn(db)
            if await _is_new(db, tenant, body):
                await _make(db, tenant, body, author)
            else:
                response.status_code = 200
            return Setup(**await store.read_setup(db, tenant))

    @router.get("/tenants/{tenant}/setup")
    async def get_setup(tenant: TenantId) -> Setup:
        """A tenant: how it was set up, and what of it is there now."""
        async with transaction(pool) as db:
            return Setup(**await store.read_setup(db, tenant))

    @router.patch("/tenants/{tenant}/setup")
    async def change_setup(tenant: TenantId, body: ChangedSetup, author: Author = Depends(holder)) -> Setup:
        """Change a tenant's name or integrations, or add what a pack has and the tenant lacks."""
        async with transaction(pool) as db:
            await store.take_turn(db)
            await _change(db, tenant, body, author)
            return Setup(**await store.read_setup(db, tenant))

    @router.put("/tenants/{tenant}/setup/smoke", status_code=204)
    async def put_smoke(tenant: TenantId, body: Smoke) -> None:
        """Keep what a smoke run found, until the next."""
        async with transaction(pool) as db:
            await store.write_smoke(db, tenant, body.checks)

    @router.delete("/tenants/{tenant}", status_code=204)
    async def delete_tenant(tenant: TenantId, author: Author = Depends(holder)) -> None:
        """Delete a tenant that never had anything. 409 when it has; decommission that one."""
        async with transaction(pool) as db:
            await store.take_turn(db)
            row = await store.read_setup(db, tenant)
            await store.delete_tenant(db, tenant)
            detail = {"name": row["name"], "code": row["code"]}
            await audit(db, author, "tenant.deleted", ("tenant", tenant), detail, tenant_id=tenant)

    @router.post("/tenants/{tenant}/decommission")
    async def decommission(tenant: TenantId, author: Author = Depends(holder)) -> Ended:
        """End a tenant: its boxes and devices are decommissioned and cut off. Its data stays."""
        async with transaction(pool) as db:
            row = await store.read_setup(db, tenant)
            boxes, devices = await store.end_tenant(db, tenant)
            for device in (each for each, has_credentials in devices.items() if has_credentials):
                await revoke(db, tenant, device, reason="cessation_of_operation", author=author)
            if row["state"] != "decommissioned":
                detail = {"boxes": boxes, "devices": len(devices)}
                await audit(db, author, "tenant.decommissioned", ("tenant", tenant), detail, tenant_id=tenant)
        on_change()
        return Ended(tenant_id=tenant, boxes=boxes, devices=len(devices))

    @router.post("/tenants/{tenant}/invite", status_code=201)
    async def invite(tenant: TenantId, author: Author = Depends(holder)) -> Invitation:
        """Make a link that lets one person into the tenant. 404 for a tenant that does not exist."""
        token, expires_at = secrets.token_urlsafe(32), now() + INVITE_TTL
        async with transaction(pool) as db:
            row = await store.read_setup(db, tenant)
            if row["state"] != ACTIVE:
                raise Taken(f"tenant {tenant!r} is {row['state']}; only an active tenant invites")
            await store.write_invite(db, tenant, _hash(token), expires_at)
            detail = {"expires_at": expires_at.isoformat()}
            await audit(db, author, "tenant.invited", ("tenant", tenant), detail, tenant_id=tenant)
        return Invitation(url=f"{app_url}/join?tenant={tenant}#{token}", expires_at=expires_at)

    @router.post("/invites/redeem")
    async def redeem(body: Redemption, author: Author = Depends(holder)) -> Redeemed:
        """Use an invitation, once. 410 for one that is unknown, used or over."""
        async with transaction(pool) as db:
            tenant = await store.redeem_invite(db, _hash(body.token), now())
            if tenant is None:
                raise Refusal(
                    410, "this invitation is unknown, used or over; ask for a new one", field="token"
                )
            await audit(db, author, "tenant.joined", ("tenant", tenant), {}, tenant_id=tenant)
        return Redeemed(tenant_id=tenant)

    return router


async def _is_new(db: Connection, tenant: str, body: NewSetup) -> bool:
    """Whether it has to be made, or only finished; raises Taken where it is there and differs."""
    row = await store.find_setup(db, tenant)
    if row is None:
        return True
    if row["state"] != ACTIVE:
        raise Taken(f"tenant {tenant!r} is {row['state']}; choose another tenant id")
    asked: dict[str, Any] = {"name": body.name, "code": body.code or row["code"]}
    if row["pack"] is None:
        # Made by POST /tenants or an assets file, which know the id alone.
        row["name"] = body.name if row["name"] == tenant else row["name"]
        row["code"] = row["code"] or asked["code"]
    else:
        asked |= {"pack": body.pack.name, "integrations": body.integrations}
    differing = [
        f"{what} {row[what]!r} and not {value!r}" for what, value in asked.items() if row[what] != value
    ]
    if differing:
        raise Taken(
            f"tenant {tenant!r} exists with {', '.join(differing)}; "
            "choose another tenant id, or change it with PATCH .../setup (tenantctl update)"
        )
    return row["pack"] is None


async def _make(db: Connection, tenant: str, body: NewSetup, author: Author) -> None:
    code = body.code or await _code_of(db, tenant)
    await store.write_tenant(db, tenant, body.name, code)
    await store.write_setup(db, tenant, body.pack.name, body.integrations)
    rules = await store.install_pack(db, tenant, body.pack)
    detail = {
        "name": body.name,
        "code": code,
        "pack": body.pack.name,
        "rules": rules,
        "integrations": body.integrations,
    }
    await audit(db, author, "tenant.provisioned", ("tenant", tenant), detail, tenant_id=tenant)  # C-020


async def _code_of(db: Connection, tenant: str) -> str:
    row = await store.find_setup(db, tenant)
    if row and row["code"]:
        return str(row["code"])
    return next_code(tenant, await store.read_codes(db))


async def _change(db: Connection, tenant: str, body: ChangedSetup, author: Author) -> None:
    row = await store.read_setup(db, tenant)
    if row["state"] == "decommissioned":
        raise Taken(f"tenant {tenant!r} is decommissioned; it can no longer be changed")
    if row["pack"] is None and body.pack is None:
        raise Taken(f"tenant {tenant!r} was never set up; PUT .../setup (tenantctl create) does that first")
    asked = body.model_dump(exclude={"pack"}, exclude_none=True)
    changes = {what: value for what, value in asked.items() if row[what] != value}
    after = {**row, **changes}
    after["code"] = after["code"] or next_code(tenant, await store.read_codes(db))
    await store.write_tenant(db, tenant, after["name"], after["code"])
    pack = body.pack.name if body.pack else row["pack"]
    await store.write_setup(db, tenant, pack, after["integrations"])
    rules = await store.install_pack(db, tenant, body.pack) if body.pack else 0
    if rules or pack != row["pack"]:
        changes |= {"pack": pack, "rules": rules}
    if changes:
        await audit(db, author, "tenant.changed", ("tenant", tenant), changes, tenant_id=tenant)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
