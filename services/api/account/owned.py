"""Which boxes are the caller's own."""

from uuid import UUID

from services.api.registry import Json, Registry
from services.api.tokens import Identity
from services.runtime.web import Refusal

GONE = ("decommissioned", "erased")


async def own_boxes(registry: Registry, who: Identity) -> list[Json]:
    """Those in use; none for a caller whose id is no user's."""
    try:
        user_id = UUID(who.user)
    except ValueError:
        return []
    boxes = await registry.many("boxes", tenant_id=who.tenant, user_id=user_id)
    return [box for box in boxes if box["state"] not in GONE]


async def own_box(registry: Registry, who: Identity, box_id: str | None) -> Json:
    """The one that is named, or the only one. Raises Refusal."""
    boxes = await own_boxes(registry, who)
    if box_id is None and len(boxes) > 1:
        raise Refusal(422, f"you have {len(boxes)} boxes; say which with box_id", field="box_id")
    named = [box for box in boxes if box_id in (None, box["box_id"])]
    if not named:
        raise Refusal(404, "you have no such box" if box_id else "you have no box yet")
    return named[0]
