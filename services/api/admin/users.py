"""/admin/users."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Request

from services.api.admin import store
from services.api.admin.schemas import NewUser, User, UserDetail
from services.api.audit.write import write
from services.api.caller import Caller, TenantDb
from services.api.registry import AskRegistry, Json
from services.api.roles import OPERATORS, require
from services.runtime.web import Refusal

router = APIRouter(prefix="/admin/users", tags=["admin"], dependencies=[Depends(require(*OPERATORS))])

NewMode = Annotated[Json, Body(examples=[{"mode": "active", "payment_ref": "inv-77"}])]


@router.post("", status_code=201)
async def add_user(request: Request, body: NewUser, who: Caller, db: TenantDb) -> User:
    """Make a login; its id is what a box's `user_id` names. 409 when the address has one."""
    row = await store.insert_user(db, who.tenant, body.email, body.role)
    if row is None:
        raise Refusal(409, "a user with this e-mail address exists", field="email")
    target = ("user", str(row["user_id"]))
    await write(db, who, request, "user.create", target, {"role": body.role, "email": body.email})
    return User(**row)


@router.get("")
async def get_users(who: Caller, db: TenantDb) -> list[User]:
    """The tenant's logins."""
    return [User(**row) for row in await store.list_users(db, who.tenant)]


@router.get("/{user_id}")
async def get_user(user_id: UUID, who: Caller, db: TenantDb, registry: AskRegistry) -> UserDetail:
    """One login with the boxes that are theirs."""
    row = await store.read_user(db, who.tenant, user_id)
    if row is None:
        raise Refusal(404, f"user {user_id} does not exist; /admin/users lists them")
    boxes = await registry.many("boxes", tenant_id=who.tenant, user_id=user_id)
    return UserDetail(**row, boxes=boxes)


@router.post("/{user_id}/mode")
async def set_mode(user_id: UUID, body: NewMode, registry: AskRegistry) -> list[Json]:
    """Flip all boxes of a person that are in use, one after the other; safe to repeat."""
    boxes = await registry.many("boxes", tenant_id=registry.tenant, user_id=user_id)
    mine = [box["box_id"] for box in boxes if box["state"] not in ("decommissioned", "erased")]
    if not mine:
        raise Refusal(404, f"user {user_id} has no box in use; PATCH /admin/boxes/... gives one a user_id")
    return [await registry.send("POST", "boxes", registry.tenant, box, "mode", body=body) for box in mine]
