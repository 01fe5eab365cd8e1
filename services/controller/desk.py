"""Takes an order: reads what is so, decides, writes it all in one transaction."""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from overwatt.split import Share
from services.controller.measured import Latest
from services.controller.messages import command_to_wire
from services.controller.model import Accepted, Asset, Order, Plan, Snapshot, Unknown
from services.controller.plan import plan
from services.controller.store import dispatches as store
from services.runtime import clock
from services.runtime.log import get_logger
from services.runtime.postgres import Connection, Pool, transaction

log = get_logger(__name__)


class Desk:
    """Where dispatches are accepted."""

    def __init__(self, pool: Pool, latest: Latest, *, on_accepted: Callable[[], None]) -> None:
        self._pool = pool
        self._latest = latest
        self._on_accepted = on_accepted

    async def dispatch(self, order: Order) -> Accepted:
        """Accept an order, or raise Unknown, Refused or Unavailable."""
        dispatch_id = uuid4()
        async with transaction(self._pool) as db:
            if order.asset_id is None and not await store.site_exists(
                db, order.tenant_id, order.site_id or ""
            ):
                raise Unknown(f"site {order.site_id!r} does not exist in tenant {order.tenant_id!r}")
            assets = await store.read_assets(db, order)
            await store.take_turn(db, order.tenant_id, _place(order, assets))
            now = clock.now()
            snapshot = await self._snapshot(db, order, assets, now)
            planned = plan(order, snapshot)
            await _write(db, dispatch_id, order, snapshot, planned, now)
        self._on_accepted()
        log.info(
            "dispatch accepted",
            dispatch=str(dispatch_id),
            tenant=order.tenant_id,
            asset=order.asset_id,
            site=order.site_id,
            mw=order.power_mw,
            commands=len(planned.commands),
            unplaced_mw=planned.split.unplaced_mw,
        )
        return Accepted(
            dispatch_id=dispatch_id,
            order=order,
            split=planned.split,
            expires_at=now + timedelta(seconds=order.ttl_s),
        )

    async def _snapshot(self, db: Connection, order: Order, assets: list[Asset], now: datetime) -> Snapshot:
        ids = [asset.asset_id for asset in assets]
        now_us = clock.to_us(now)
        return Snapshot(
            assets=assets,
            agents=await store.read_agents(db, order.tenant_id, ids),
            measured={each: self._latest.of(order.tenant_id, each, now_us) for each in ids},
        )


def allocation(share: Share) -> dict[str, object]:
    """A share as it is told and stored."""
    return {
        "asset_id": share.asset,
        "raw": share.raw_mw,
        "clamped": share.clamped_mw,
        "residual": share.residual_mw,
        "mw": share.power_mw,
        "limited_by": share.limited_by,
    }


async def _write(
    db: Connection, dispatch_id: UUID, order: Order, snapshot: Snapshot, planned: Plan, now: datetime
) -> None:
    box_id = planned.commands[0].box_id
    allocations = [allocation(share) for share in planned.split.shares]
    unplaced = {"unplaced_mw": planned.split.unplaced_mw, "unplaced_why": planned.split.unplaced_why}
    await store.supersede(db, order, [state.id for state in planned.states], now, dispatch_id)
    await store.insert_dispatch(db, order, dispatch_id, box_id, now, {"allocations": allocations} | unplaced)
    expires_at_us = clock.to_us(now + timedelta(seconds=order.ttl_s))
    for command in planned.commands:
        command_id = uuid4()
        await store.insert_command(
            db,
            command_id,
            dispatch_id,
            order,
            box_id=command.box_id,
            device_id=command.device_id,
            asset_id=command.asset_id,
            payload=command_to_wire(command_id, dispatch_id, order, command, clock.to_us(now), expires_at_us),
            now=now,
        )
    await store.insert_decision(
        db,
        box_id=box_id,
        tenant_id=order.tenant_id,
        now=now,
        dispatch_id=dispatch_id,
        inputs={
            "order": dataclasses.asdict(order),
            "boxes": [
                {"box_id": a.box_id, "mode": a.mode, "opt_ins": a.opt_ins, "asset_id": a.asset_id}
                for a in snapshot.assets
            ],
            "assets": [dataclasses.asdict(state) for state in planned.states],
            "served_by": dict(planned.served_by),
        },
        constraints=[
            {"asset_id": share.asset, "limited_by": share.limited_by}
            for share in planned.split.shares
            if share.limited_by
        ]
        + ([unplaced] if planned.split.unplaced_mw else []),
        shares=allocations,
    )


def _place(order: Order, assets: list[Asset]) -> str:
    """Where dispatches must take turns: the site, or an asset that has none."""
    if order.asset_id is None:
        return order.site_id or ""
    return (assets[0].site_id if assets else None) or order.asset_id
