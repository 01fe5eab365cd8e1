"""What a command means: refuse it, or which assets it is for. Pure; the time is an argument.

Refused are commands that came too late, that were stamped under an older mode than the one obeyed, that
need a capability which is closed, and those that name nothing that can be dispatched here. Both ids mean
the asset (D-027), a site means its batteries (D-026).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from overwatt.inventory import DISPATCHABLE, Asset
from overwatt.v1.agent_pb2 import Command

OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Mode:
    """What the customer allows, as far as this agent knows."""

    name: str = ""
    """empty until a `config` or a stamped command came"""
    epoch: int = 0
    opt_ins: frozenset[str] | None = None
    """None: not known, then the gateway's stamp decides"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is written."""

    reason: str
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent is."""

    tenant: str
    device: str
    site: str


def refusal_of(
    command: Command, *, me: Identity, mode: Mode, assets: Mapping[str, Asset], now_us: int | None
) -> Refusal | None:
    """Why a command is not obeyed. `now_us` is None as long as the clock is not trusted."""
    if (command.tenant, command.device) != (me.tenant, me.device):
        return Refusal(f"WRONG_AGENT: for {command.tenant}/{command.device}, not {me.tenant}/{me.device}")
    if now_us is not None and command.expires_at_us and now_us > command.expires_at_us:
        late_s = (now_us - command.expires_at_us) / 1e6
        return Refusal(f"EXPIRED: {late_s:.1f} s too late", is_expired=True)
    if command.mode_epoch < mode.epoch:
        return Refusal(f"MODE_EPOCH_OLD: stamped under {command.mode_epoch}, {mode.epoch} is in force")
    if command.mode_epoch == mode.epoch and mode.name == OBSERVE:
        return Refusal("MODE_OBSERVE: this agent only observes")
    knows_opt_ins = mode.opt_ins is not None and command.mode_epoch == mode.epoch
    if knows_opt_ins and command.capability and command.capability not in (mode.opt_ins or ()):
        return Refusal(f"CAPABILITY_CLOSED: {command.capability} is not opted in")
    if not math.isfinite(command.power_mw):
        return Refusal(f"MALFORMED: power_mw is {command.power_mw}; it must be a finite number")
    if not math.isfinite(command.duration_s) or command.duration_s < 0:
        return Refusal(f"MALFORMED: duration_s is {command.duration_s}; it must be 0 or more")
    return _target_refusal(command, me, assets)


def ended_by(mode: Mode, was: Mode, running: Iterable[Command]) -> dict[str, list[Command]]:
    """What may run no longer when `mode` follows `was`, by the reason."""
    if mode.name == OBSERVE:
        return _those("MODE_OBSERVE: released to the device's own default", running)
    if 0 < was.epoch < mode.epoch - 1:  # we have not heard what lay between: perhaps observe
        return _those("MODE_CHANGED: the mode changed more than once, released", running)
    if mode.opt_ins is None:
        return {}
    closed = [each for each in running if each.capability and each.capability not in mode.opt_ins]
    return _those("CAPABILITY_CLOSED: what it needs is not opted in any more, released", closed)


def _those(reason: str, running: Iterable[Command]) -> dict[str, list[Command]]:
    commands = list(running)
    return {reason: commands} if commands else {}


def targets(command: Command, assets: Mapping[str, Asset]) -> list[str]:
    """Assets that a command is for, in the order of their ids."""
    if command.asset:
        return [command.asset]
    return sorted(asset.id for asset in assets.values() if asset.type in DISPATCHABLE)


def _target_refusal(command: Command, me: Identity, assets: Mapping[str, Asset]) -> Refusal | None:
    if command.asset:
        if command.asset not in assets:
            return Refusal(f"ASSET_UNKNOWN: this agent speaks for {', '.join(sorted(assets))}")
        kind = assets[command.asset].type
        if kind not in DISPATCHABLE:
            return Refusal(f"NOT_DISPATCHABLE: {command.asset} is a {kind}")
        return None
    if not command.site:
        return Refusal("MALFORMED: neither asset nor site is set")
    if command.site != me.site:
        return Refusal(f"SITE_UNKNOWN: this agent's site is {me.site or 'not set'}, not {command.site}")
    if not targets(command, assets):
        return Refusal(f"NOT_DISPATCHABLE: {me.site} has no {' or '.join(DISPATCHABLE)}")
    return None
