"""The administrators' routes: tokens and certificates of boxes, codes and tokens of simple devices."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path

from services.provisioning import store as registry
from services.provisioning.enrolment import schemas, simple, store
from services.provisioning.enrolment.authority import Authority
from services.provisioning.enrolment.model import Certificate, Place, Standing
from services.provisioning.enrolment.revocation import revoke
from services.provisioning.enrolment.simple_store import Owner
from services.provisioning.enrolment.tokens import PREFIX, EnrolToken, enrol_url, hash_of, new_token
from services.provisioning.key import KeyHolder
from services.provisioning.model import AGENT, Author, Barred, Unknown
from services.provisioning.schemas import DeviceId, TenantId
from services.runtime import clock
from services.runtime.postgres import Connection, Pool, transaction

Prefix = Annotated[str, Path(min_length=PREFIX, max_length=PREFIX, pattern="^[A-Za-z0-9_-]+$")]


def make_router(
    pool: Pool,
    authority: Authority,
    place: Place,
    *,
    holder: KeyHolder,
    on_change: Callable[[], None],
) -> APIRouter:
    """`on_change` after each commit that the registry topic or the broker has to hear of."""
    router = APIRouter(tags=["enrolment"])
    box_path, device_path = "/boxes/{tenant}/{box}", "/devices/{tenant}/{device}"

    @router.post(f"{box_path}/enroll-tokens", status_code=201)
    async def add_token(
        tenant: TenantId, box: DeviceId, body: schemas.NewEnrolToken, author: Author = Depends(holder)
    ) -> schemas.IssuedToken:
        """A link for one box and one e-mail address; an older one that nobody used is withdrawn."""
        now = clock.now()
        secret = new_token()
        token = EnrolToken(
            token_hash=hash_of(secret),
            prefix=secret[:PREFIX],
            tenant_id=tenant,
            box_id=box,
            email=body.email,
            expires_at=now + timedelta(seconds=body.ttl_s),
            withdrawn_at=None,
            used_at=None,
            spki_sha256=None,
            serial=None,
        )
        async with transaction(pool) as db:
            standing = await _hold_box(db, tenant, box)
            if not standing.may_come_in:
                raise Barred(f"no token for box {box!r}: {standing}; enable it first")
            replaced = await store.withdraw_tokens(db, tenant, box)
            await store.insert_token(db, token, author.actor, now)
            detail = {
                "prefix": token.prefix,
                "email": token.email,
                "expires_at": token.expires_at.isoformat(),
                "replaced": replaced,
            }
            target = ("box", box)
            await registry.audit(db, author, "enrol_token.issued", target, detail, tenant_id=tenant)
        url = enrol_url(place.enrol_url, authority.fingerprint, secret)
        return schemas.IssuedToken(
            url=url, token=secret, email=token.email, expires_at=token.expires_at, prefix=token.prefix
        )

    @router.get(f"{box_path}/enroll-tokens")
    async def get_tokens(tenant: TenantId, box: DeviceId) -> list[schemas.EnrolToken]:
        """What is kept of the box's last hundred tokens, the newest first."""
        async with transaction(pool) as db:
            await store.require_box(db, tenant, box)
            rows = await store.list_tokens(db, tenant, box)
        return [schemas.EnrolToken(**row, state=token_state(row, clock.now())) for row in rows]

    @router.delete(f"{box_path}/enroll-tokens/{{prefix}}", status_code=204)
    async def withdraw_token(
        tenant: TenantId, box: DeviceId, prefix: Prefix, author: Author = Depends(holder)
    ) -> None:
        """Nobody can use it any more. 404 when there is no such token, or it was used already."""
        async with transaction(pool) as db:
            await _hold_box(db, tenant, box)
            if not await store.withdraw_tokens(db, tenant, box, prefix):
                raise Unknown(f"box {box!r} has no open token {prefix}", field="prefix")
            target, detail = ("box", box), {"prefix": prefix}
            await registry.audit(db, author, "enrol_token.withdrawn", target, detail, tenant_id=tenant)

    @router.get(f"{box_path}/certificates")
    async def get_certificates(tenant: TenantId, box: DeviceId) -> list[schemas.Certificate]:
        """All that the box ever had, the newest first."""
        async with transaction(pool) as db:
            await store.require_box(db, tenant, box)
            rows = await store.list_certificates(db, tenant, box)
        return certificates(rows, clock.now())

    @router.post(f"{box_path}/revoke")
    async def revoke_box(
        tenant: TenantId,
        box: DeviceId,
        body: schemas.NewRevocation | None = None,
        author: Author = Depends(holder),
    ) -> schemas.Revocation:
        """Void all that the box was given and end its session; a new enrolment token brings it back."""
        async with transaction(pool) as db:
            standing = await _hold_box(db, tenant, box)
            if standing.box in ("active", "revoked"):
                await store.set_box_state(db, tenant, box, "revoked")
            await revoke(db, tenant, box, reason="privilege_withdrawn", author=author)
            detail = {"before": standing.box, "reason": body.reason if body else ""}
            await registry.audit(db, author, "box.revoked", ("box", box), detail, tenant_id=tenant)
            after = await store.hold_device(db, tenant, box)
        on_change()
        return schemas.Revocation(tenant_id=tenant, device_id=box, state=after.device)

    @router.post(f"{device_path}/activation-code", status_code=201)
    async def add_code(
        tenant: TenantId, device: DeviceId, author: Author = Depends(holder)
    ) -> schemas.ActivationCode:
        """A code for a simple device; an older one that nobody used is void."""
        async with transaction(pool) as db:
            code, expires_at = await simple.issue_code(db, Owner(tenant, device), author, clock.now())
        return schemas.ActivationCode(code=code, expires_at=expires_at)

    @router.post(f"{device_path}/rotate-token")
    async def rotate_token(
        tenant: TenantId, device: DeviceId, author: Author = Depends(holder)
    ) -> schemas.DeviceToken:
        """A new token for a simple device; the old one is void at once."""
        async with transaction(pool) as db:
            token = await simple.rotate(db, Owner(tenant, device), author)
        return schemas.DeviceToken(token=token)

    @router.post(f"{device_path}/revoke")
    async def revoke_device(
        tenant: TenantId,
        device: DeviceId,
        body: schemas.NewRevocation | None = None,
        author: Author = Depends(holder),
    ) -> schemas.Revocation:
        """Void all that a device was given and end its session; a new code brings it back."""
        async with transaction(pool) as db:
            before = await store.hold_device(db, tenant, device)
            if before.type == AGENT:
                raise Barred(f"{device!r} is the agent of a box: revoke the box")
            if before.device == "active":
                await store.set_device_state(db, tenant, device, "revoked")
            await revoke(db, tenant, device, reason="privilege_withdrawn", author=author)
            detail = {"before": before.device, "reason": body.reason if body else ""}
            await registry.audit(db, author, "device.revoked", ("device", device), detail, tenant_id=tenant)
            after = await store.hold_device(db, tenant, device)
        on_change()
        return schemas.Revocation(tenant_id=tenant, device_id=device, state=after.device)

    return router


def token_state(row: dict[str, object], now: datetime) -> Literal["open", "used", "expired", "withdrawn"]:
    """Of a row of enrol_token."""
    if row["used_at"] is not None:
        return "used"
    if row["withdrawn_at"] is not None:
        return "withdrawn"
    expires_at = row["expires_at"]
    assert isinstance(expires_at, datetime)
    return "expired" if now >= expires_at else "open"


def certificates(rows: Sequence[Certificate], now: datetime) -> list[schemas.Certificate]:
    """With the state of each; the newest of those that are good is the current one."""
    found: list[schemas.Certificate] = []
    is_first = True
    for row in rows:
        state = "superseded"
        if row.revoked_at is not None:
            state = "revoked"
        elif now >= row.not_after:
            state = "expired"
        elif is_first:
            state, is_first = "current", False
        found.append(schemas.Certificate.model_validate({**asdict(row), "state": state}))
    return found


async def _hold_box(db: Connection, tenant: str, box: str) -> Standing:
    """The box and its agent, locked in the order that all keep. Raises Unknown."""
    await registry.hold_box(db, tenant, box)
    return await store.hold_device(db, tenant, box)
