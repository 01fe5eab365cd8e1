"""/account and /account/control, for whoever the caller is."""

from typing import get_args

from fastapi import APIRouter

from services.api.account.owned import own_box, own_boxes
from services.api.account.schemas import (
    Account,
    Capability,
    Control,
    Controls,
    NewName,
    NewSwitch,
    OwnBox,
    Switch,
)
from services.api.caller import Caller
from services.api.registry import AskRegistry, Json, Registry
from services.api.tokens import Identity
from services.runtime.web import Refusal

router = APIRouter(prefix="/account", tags=["account"])


@router.get("")
async def get_account(who: Caller, registry: AskRegistry) -> Account:
    """Who you are, and your boxes."""
    return _account(who, await own_boxes(registry, who))


@router.patch("")
async def rename_site(body: NewName, who: Caller, registry: AskRegistry) -> Account:
    """Give your site another name."""
    box = await own_box(registry, who, body.box_id)
    if box["site_id"] is None:
        raise Refusal(409, f"box {box['box_id']} stands on no site yet; ask your installer")
    await registry.send("PATCH", "sites", who.tenant, box["site_id"], body={"name": body.site_name})
    return _account(who, await own_boxes(registry, who))


@router.get("/control")
async def get_control(who: Caller, registry: AskRegistry) -> Controls:
    """What the platform may do with your boxes: a switch for each capability, once a box is active."""
    boxes = await own_boxes(registry, who)
    return Controls(boxes=[await _control(registry, box["box_id"]) for box in boxes])


@router.put("/control")
async def put_control(body: NewSwitch, who: Caller, registry: AskRegistry) -> Control:
    """Open or close one capability of your box. 409 while it observes."""
    box = await own_box(registry, who, body.box_id)
    place = ("boxes", who.tenant, box["box_id"], "capabilities", body.capability)
    if box["mode"] != "observe" and body.enabled and body.capability not in await _offered(registry, box):
        raise Refusal(422, f"box {box['box_id']} has no {body.capability}", field="capability")
    await registry.send("PUT", *place, body={"enabled": body.enabled})
    return await _control(registry, box["box_id"])


async def _control(registry: Registry, box_id: str) -> Control:
    box = await registry.one("boxes", registry.tenant, box_id)
    is_locked = box["mode"] == "observe"
    offered = [] if is_locked else _capabilities(box)
    return Control(
        box_id=box_id,
        site_name=box["site_name"],
        mode=box["mode"],
        locked=is_locked,
        capabilities=[Switch(capability=each, enabled=each in box["opt_ins"]) for each in offered],
    )


async def _offered(registry: Registry, box: Json) -> list[Capability]:
    return _capabilities(await registry.one("boxes", registry.tenant, box["box_id"]))


def _capabilities(box: Json) -> list[Capability]:
    """What the box has an asset for, and what is open."""
    there = {asset["type"] for asset in box["assets"]} | set(box["opt_ins"])
    return [each for each in get_args(Capability) if each in there]


def _account(who: Identity, boxes: list[Json]) -> Account:
    names = {box["site_id"]: box["site_name"] for box in boxes}
    return Account(
        user_id=who.user,
        tenant=who.tenant,
        role=who.role,
        site_name=next(iter(names.values())) if len(names) == 1 else None,
        boxes=[OwnBox(**box) for box in boxes],
    )
