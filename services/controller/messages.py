"""From and to the wire: protobuf becomes values here, with what strangers wrote made fit to store."""

import math
from typing import Final
from uuid import UUID

from overwatt.inventory import DISPATCHABLE
from overwatt.v1 import agent_pb2 as pb
from services.controller.model import Order, PlannedCommand, Reply, Session
from services.controller.sessions import Heard, Kind
from services.runtime.clock import from_us
from services.runtime.errors import Invalid

MAX_TEXT: Final = 500
_KINDS: Final = {pb.Status.BIRTH: Kind.BIRTH, pb.Status.ALIVE: Kind.ALIVE, pb.Status.GONE: Kind.GONE}
_STATES: Final = {
    pb.Reply.APPLIED: "applied",
    pb.Reply.VERIFIED: "verified",
    pb.Reply.NOT_FOLLOWING: "not_following",
    pb.Reply.REJECTED: "rejected",
    pb.Reply.EXPIRED: "expired",
}


def heard_from_wire(message: pb.AgentStatus) -> Heard:
    """Raises Invalid for a status without a kind or a boot_id."""
    status = message.status
    kind = _KINDS.get(status.kind)
    boot_id = clean(status.boot_id)
    if kind is None or not boot_id:
        raise Invalid(
            f"status of {message.tenant}/{message.device}: kind {status.kind} with boot_id {boot_id!r}; "
            "it must be BIRTH, ALIVE or GONE, with a boot_id"
        )
    seen_at = from_us(message.received_at_us)
    return Heard(
        kind,
        Session(
            session_id=boot_id,
            tenant_id=message.tenant,
            device_id=message.device,
            site_id=clean(status.site) or None,
            site_name=clean(status.site_name),
            agent_mode=clean(status.agent_mode),
            version=clean(status.version),
            features=tuple(clean(feature) for feature in status.features),
            assets=tuple(clean(asset.id) for asset in status.assets),
            connected_at=seen_at,
            birth_at_us=status.at_us,
            last_seen_at=seen_at,
        ),
    )


def reply_from_wire(message: pb.AgentReply) -> Reply:
    """Raises Invalid for a reply without a state or to something that is no command."""
    reply = message.reply
    state = _STATES.get(reply.state)
    if state is None:
        raise Invalid(f"reply of {message.tenant}/{message.device}: state {reply.state} is not known")
    try:
        command_id = UUID(reply.command_id)
    except ValueError:
        raise Invalid(
            f"reply of {message.tenant}/{message.device}: command_id {reply.command_id[:60]!r} is no UUID"
        ) from None
    received_at = from_us(message.received_at_us)
    try:
        at = from_us(reply.at_us) if reply.at_us > 0 else received_at
    except (ValueError, OverflowError):
        at = received_at
    was_measured = state in ("verified", "not_following")
    return Reply(
        tenant_id=message.tenant,
        device_id=message.device,
        command_id=command_id,
        state=state,
        reason=clean(reply.reason),
        allocations=tuple(_allocation(share, was_measured) for share in reply.shares),
        unplaced_mw=_finite(reply.unplaced_mw) or 0.0,
        unplaced_why=clean(reply.unplaced_why),
        at=at,
        received_at=received_at,
        by="gateway" if message.from_gateway else "agent",
    )


def command_to_wire(
    command_id: UUID,
    dispatch_id: UUID,
    order: Order,
    planned: PlannedCommand,
    issued_at_us: int,
    expires_at_us: int,
) -> bytes:
    """A command as it is published again and again: the same bytes each time."""
    return pb.Command(
        id=str(command_id),
        dispatch_id=str(dispatch_id),
        tenant=order.tenant_id,
        device=planned.device_id,
        site="" if planned.asset_id else (order.site_id or ""),
        asset=planned.asset_id or "",
        power_mw=planned.power_mw,
        duration_s=order.duration_s or 0.0,
        issued_at_us=issued_at_us,
        expires_at_us=expires_at_us,
        mode_epoch=planned.mode_epoch,
        capability=DISPATCHABLE[0],
    ).SerializeToString()


def clean(text: str) -> str:
    """Text of an agent as PostgreSQL can hold it, and not longer than anyone needs."""
    return text.replace("\0", "")[:MAX_TEXT]


def _allocation(share: pb.Share, was_measured: bool) -> dict[str, object]:
    return {
        "asset_id": clean(share.asset),
        "raw": _finite(share.raw_mw),
        "clamped": _finite(share.clamped_mw),
        "residual": _finite(share.residual_mw),
        "mw": _finite(share.power_mw),
        "measured": _finite(share.measured_mw) if was_measured else None,
        "limited_by": clean(share.limited_by),
    }


def _finite(value: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None
