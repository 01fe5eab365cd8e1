"""What may be done to a box: its mode, and the capabilities that its customer opened.

`observe` writes nothing; `active` writes to opened capabilities only. Each change raises `mode_epoch`, and
an agent refuses a command of an older one. A change waits for the command that is on its way.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from services.provisioning import metrics, store
from services.provisioning.model import Author, Barred, Box
from services.runtime.log import get_logger
from services.runtime.postgres import Connection, Pool, transaction

log = get_logger(__name__)

OBSERVE: Final = "observe"


async def set_mode(
    pool: Pool, tenant_id: str, box_id: str, mode: str, author: Author, *, payment_ref: str | None = None
) -> Box:
    """The box in this mode; the same mode again changes nothing. Raises Unknown."""
    async with transaction(pool) as db:
        before = await store.hold_box(db, tenant_id, box_id)
        if before.mode == mode:
            return before
        after = await store.set_box(db, tenant_id, box_id, mode=mode, opt_ins=before.opt_ins)
        more = {} if payment_ref is None else {"payment_ref": payment_ref}
        await _audit(db, author, "box.mode_flip", before, after, more)
    metrics.MODE_FLIPS.labels(mode).inc()
    log.info("box.mode_flip", tenant=tenant_id, box=box_id, before=before.mode, after=mode)
    return after


async def set_capabilities(
    pool: Pool, tenant_id: str, box_id: str, opt_ins: Sequence[str], author: Author
) -> Box:
    """The box with exactly these capabilities open. Raises Unknown."""
    async with transaction(pool) as db:
        before = await store.hold_box(db, tenant_id, box_id)
        return await _set_opt_ins(db, before, opt_ins, author)


async def switch(
    pool: Pool, tenant_id: str, box_id: str, capability: str, enabled: bool, author: Author
) -> Box:
    """One capability open or closed, the others as they are. Raises Unknown, Barred while it observes."""
    async with transaction(pool) as db:
        before = await store.hold_box(db, tenant_id, box_id)
        if before.mode == OBSERVE:
            raise Barred(f"box {box_id!r} observes; capabilities are opened once it is active")
        others = {each for each in before.opt_ins if each != capability}
        return await _set_opt_ins(db, before, others | {capability} if enabled else others, author)


async def _set_opt_ins(db: Connection, before: Box, opt_ins: Collection[str], author: Author) -> Box:
    wanted = tuple(sorted(set(opt_ins)))
    if tuple(sorted(before.opt_ins)) == wanted:
        return before
    tenant_id, box_id = before.tenant_id, before.box_id
    after = await store.set_box(db, tenant_id, box_id, mode=before.mode, opt_ins=wanted)
    await _audit(db, author, "box.capabilities", before, after, {})
    log.info("box.capabilities", tenant=tenant_id, box=box_id, before=before.opt_ins, after=wanted)
    return after


async def _audit(
    db: Connection, author: Author, action: str, before: Box, after: Box, more: Mapping[str, object]
) -> None:
    detail = {"before": _state(before), "after": _state(after), **more}
    await store.audit(db, author, action, ("box", after.box_id), detail, tenant_id=after.tenant_id)


def _state(box: Box) -> dict[str, object]:
    return {"mode": box.mode, "mode_epoch": box.mode_epoch, "opt_ins": list(box.opt_ins)}
