"""From an order to commands: may it be written, who serves each asset, and how the power is split.

A site whose connected assets are all served by one gateway agent gets one command, and that agent splits
it: its split is the one of record. Where several agents serve a site, the controller splits with the same
function and sends each asset its share (X9). An asset that nobody connected serves takes no part, unless
nobody at all is connected: then the dispatch waits for an agent, and the preview is what it will do.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from overwatt.inventory import DISPATCHABLE
from overwatt.split import AssetState, split
from services.controller.model import (
    Agent,
    Asset,
    Measured,
    Order,
    Plan,
    PlannedCommand,
    Refused,
    Snapshot,
    Unknown,
)

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def plan(order: Order, snapshot: Snapshot) -> Plan:
    """What to send; raises Unknown or Refused."""
    assets = _targets(order, snapshot.assets)
    for asset in assets:
        _must_be_writable(asset)
    agents = {asset.asset_id: _agent_of(asset.asset_id, snapshot.agents) for asset in assets}
    reached = {asset_id for asset_id, agent in agents.items() if _reaches(agent, asset_id)}
    states = tuple(
        _state(
            asset,
            snapshot.measured.get(asset.asset_id, Measured()),
            online=not reached or asset.asset_id in reached,
        )
        for asset in sorted(assets, key=lambda asset: asset.asset_id)
    )
    shares = split(order.power_mw, states)
    served_by = {state.id: agents[state.id].device_id for state in states if state.online}
    boxes = {asset.asset_id: (asset.box_id or "", asset.mode_epoch) for asset in assets}

    def command(agent: str, asset_id: str | None, power_mw: float, *, of: str) -> PlannedCommand:
        box_id, mode_epoch = boxes[of]
        return PlannedCommand(agent, box_id, asset_id, power_mw, mode_epoch)

    commands: tuple[PlannedCommand, ...]
    if order.asset_id is not None:
        agent = served_by[order.asset_id]
        commands = (command(agent, order.asset_id, order.power_mw, of=order.asset_id),)
    elif gateway := _one_gateway(snapshot.assets, [agents[asset_id] for asset_id in served_by]):
        commands = (command(gateway, None, order.power_mw, of=next(iter(served_by))),)
    else:
        commands = tuple(
            command(served_by[share.asset], share.asset, share.power_mw, of=share.asset)
            for share in shares.shares
            if share.asset in served_by
        )
    return Plan(commands, shares, states, served_by)


def _targets(order: Order, assets: Sequence[Asset]) -> list[Asset]:
    """The asset that was named, or the active batteries of the site."""
    if order.asset_id is not None:
        if not assets:
            raise Unknown(f"asset {order.asset_id!r} does not exist in tenant {order.tenant_id!r}")
        return list(assets)
    targets = [a for a in assets if a.type in DISPATCHABLE and a.device_state == "active"]
    if not targets:
        raise Refused(
            f"site {order.site_id!r} has no active asset of type {', '.join(DISPATCHABLE)}",
            reason="NOT_DISPATCHABLE",
        )
    return targets


def _must_be_writable(asset: Asset) -> None:
    """Raises Refused for an observing box or a closed capability, and names which (H-032)."""
    if asset.device_state != "active":
        raise Refused(
            f"asset {asset.asset_id!r} is {asset.device_state}; it must be active",
            reason="DEVICE_REVOKED",
            box=asset.box_id,
        )
    if asset.box_id is None or asset.mode is None:
        raise Refused(
            f"asset {asset.asset_id!r} belongs to no box, so nobody has opted in to writing to it",
            reason="MODE_OBSERVE",
        )
    if asset.box_state != "active" or asset.mode != "active":
        word = f"in mode {asset.mode}" if asset.box_state == "active" else f"in state {asset.box_state}"
        raise Refused(
            f"box {asset.box_id!r} is {word}; it must be active before anything is written to it",
            reason="MODE_OBSERVE",
            box=asset.box_id,
            capability=asset.type,
        )
    if asset.type not in asset.opt_ins:
        raise Refused(
            f"capability {asset.type!r} of box {asset.box_id!r} is closed; its customer opted in to "
            f"{', '.join(sorted(asset.opt_ins)) or 'nothing'}",
            reason="CAPABILITY_CLOSED",
            box=asset.box_id,
            capability=asset.type,
        )
    if asset.type not in DISPATCHABLE:
        raise Refused(
            f"asset {asset.asset_id!r} is a {asset.type}; setpoints are for {', '.join(DISPATCHABLE)}",
            reason="NOT_DISPATCHABLE",
            box=asset.box_id,
            capability=asset.type,
        )


def _agent_of(asset_id: str, agents: Sequence[Agent]) -> Agent:
    """Who speaks for an asset: connected and says so, else who was there last; of equals the gateway."""
    candidates = [agent for agent in agents if asset_id in agent.may_serve] or [
        Agent(
            device_id=asset_id,
            may_serve=frozenset([asset_id]),
            says_it_serves=frozenset(),
            connected=False,
            last_seen_at=None,
        )
    ]
    return max(
        candidates,
        key=lambda agent: (
            _reaches(agent, asset_id),
            _NEVER if agent.connected else agent.last_seen_at or _NEVER,
            agent.device_id != asset_id,
            agent.device_id,
        ),
    )


def _reaches(agent: Agent, asset_id: str) -> bool:
    return agent.connected and asset_id in agent.says_it_serves


def _one_gateway(assets: Sequence[Asset], agents: Sequence[Agent]) -> str | None:
    """The one agent that can split a site's power by itself; it must hold no asset that may not take part."""
    first = agents[0]
    barred = {asset.asset_id for asset in assets if asset.device_state != "active"}
    is_alone = all(agent.device_id == first.device_id for agent in agents)
    is_gateway = first.device_id not in {asset.asset_id for asset in assets}
    return first.device_id if is_alone and is_gateway and not barred & first.says_it_serves else None


def _state(asset: Asset, measured: Measured, *, online: bool) -> AssetState:
    return AssetState(
        id=asset.asset_id,
        capacity_mwh=asset.capacity_mwh,
        min_mw=asset.min_mw,
        max_mw=asset.max_mw,
        soc_pct=measured.soc_pct,
        soc_min_pct=asset.soc_min_pct,
        soc_max_pct=asset.soc_max_pct,
        power_mw=measured.power_mw,
        ramp_rate_mw_per_min=asset.ramp_rate_mw_per_min,
        online=online,
    )
