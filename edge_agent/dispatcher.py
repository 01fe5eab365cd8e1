"""Carries commands out: split, write, answer APPLIED; then read until VERIFIED or NOT_FOLLOWING.

A setpoint is held: written again, while the cloud answers, before the device's own revert timer runs out,
brought to 0 when its duration is over, replaced by a newer command, and given up when the customer or the
silence says so.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from edge_agent import following
from edge_agent.commands import OBSERVE, Identity, Mode, ended_by, refusal_of, targets
from edge_agent.device import Device
from edge_agent.errors import Invalid, Unavailable
from edge_agent.log import Log
from edge_agent.replies import Outcome, applied, followed, not_following, refused
from overwatt.split import Split, split
from overwatt.v1.agent_pb2 import Command, Reply

READ_EVERY_S: Final = 0.5
REFRESH_EVERY_S: Final = 30.0
"""Or more often: three times before a device's own revert timer runs out."""
ASK_AGAIN_S: Final = 1.0
REMEMBERED: Final = 1000
RELEASE_ATTEMPTS: Final = 3

log = Log(__name__)


class Dispatcher:
    """The setpoints of this agent's devices. `answer` gets every reply, and again when it is asked again."""

    def __init__(
        self,
        devices: Mapping[str, Device],
        me: Identity,
        *,
        answer: Callable[[Reply], None],
        now_us: Callable[[], int | None],
        lease: Callable[[], Awaitable[float | None]],
        revert_s: float,
    ) -> None:
        """`lease`: leave to write a held setpoint again (see Lease); `revert_s`: what devices do without."""
        self.mode = Mode()
        self._devices = devices
        self._me = me
        self._answer = answer
        self._now_us = now_us
        self._lease = lease
        self._revert_s = revert_s
        self._refresh_s = min(REFRESH_EVERY_S, revert_s / 3)
        self._replies: OrderedDict[str, Reply | None] = OrderedDict()
        """last reply by command; None while the first one is being worked out"""
        self._holders: dict[str, Command] = {}
        self._holds: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, command: Command, *, begin_within_s: float = math.inf) -> None:
        """A command, or the same one again: then the same reply. No device begins with it later than this."""
        if command.id in self._replies:
            if reply := self._replies[command.id]:
                self._answer(reply)
            return
        assets = {asset_id: device.asset for asset_id, device in self._devices.items()}
        refusal = refusal_of(command, me=self._me, mode=self.mode, assets=assets, now_us=self._now_us())
        if refusal is not None:
            log.warning("command refused", command=command.id, reason=refusal.reason)
            self._reply(refused(command, refusal.reason, is_expired=refusal.is_expired))
            return
        if command.mode_epoch > self.mode.epoch:
            # The gateway stamped it under the lock of a mode that we have not heard of: active.
            self.obey_mode(Mode("active", command.mode_epoch))
        self._remember(command.id, None)
        chosen = targets(command, assets)
        for asset in chosen:
            self._end_hold(asset)
            self._holders[asset] = command
        self._start(self._carry_out(command, chosen, time.monotonic() + begin_within_s))

    def obey_mode(self, mode: Mode) -> None:
        """The customer's will, in force when this returns; an older one is not news.

        What it does not allow any more ends, and its devices are given back once.
        """
        if mode.epoch < self.mode.epoch:
            return
        was, self.mode = self.mode, mode
        self._allow(mode.name != OBSERVE)
        for reason, commands in ended_by(mode, was, self._holders.values()).items():
            assets = [asset for asset, holder in self._holders.items() if holder in commands]
            log.info("mode ends", reason=reason, mode=mode.name, mode_epoch=mode.epoch, assets=assets)
            self._start(self._give_back(assets, reason))

    async def release_all(self, reason: str) -> None:
        """End what runs, give every held device back to its own default, and say so."""
        await self._give_back(list(self._holders), reason)

    def _give_back(self, assets: Iterable[str], reason: str) -> Coroutine[Any, Any, None]:
        """Ends at once what runs there; the rest is to be awaited."""
        held = {asset: self._holders.pop(asset) for asset in assets}
        for asset in held:
            self._end_hold(asset)
        return self._released(held, reason)

    async def _released(self, held: Mapping[str, Command], reason: str) -> None:
        await asyncio.gather(*(self._let_go(self._devices[asset], reason) for asset in held))
        for command in {command.id: command for command in held.values()}.values():
            self._reply(not_following(command, reason, self._shares_said(command)))

    async def _carry_out(self, command: Command, chosen: Iterable[str], begin_by_s: float) -> None:
        devices = [self._devices[asset] for asset in chosen]
        before = {device.asset.id: device.power_mw for device in devices}
        shared = split(command.power_mw, [device.for_split() for device in devices])
        _log_split(command, shared)
        powers = {share.asset: share.power_mw for share in shared.shares}
        online = [device for device in devices if device.is_online]
        if not online:
            offline = ", ".join(device.asset.id for device in devices)
            self._give_up(command, f"OFFLINE: {offline} did not answer when last read")
            return
        errors = await asyncio.gather(
            *(self._write(command, device, powers[device.asset.id], begin_by_s) for device in online)
        )
        failed = {device.asset.id: error for device, error in zip(online, errors, strict=True) if error}
        written = [device for device in online if device.asset.id not in failed]
        if not written:
            self._give_up(command, "WRITE_FAILED: " + "; ".join(failed.values()))
            return
        shares = Outcome(shared, failed)
        if not any(self._holds_still(command, device) for device in written):
            return  # released or replaced while we wrote; whoever did it has said so
        self._reply(applied(command, shares))
        for device in written:
            if self._holds_still(command, device):
                self._hold(command, device, powers[device.asset.id])
        await self._follow(command, shares, written, powers, before)

    async def _write(self, command: Command, device: Device, power_mw: float, begin_by_s: float) -> str:
        """Begin with it. Why it failed; empty for done."""
        error = await self._set(command, device, power_mw, begin_by_s)
        if error:
            log.error("write failed", asset=device.asset.id, command=command.id, error=error)
            self._drop(command, device)
            return f"{device.asset.id}: {error}"
        return ""

    async def _set(self, command: Command, device: Device, power_mw: float, begin_by_s: float) -> str:
        """Why it failed; empty for done."""
        is_wanted = partial(self._holds_still, command, device)
        try:
            await device.set_power(
                power_mw, revert_s=self._revert_s, is_wanted=is_wanted, begin_by_s=begin_by_s
            )
        except (Unavailable, Invalid) as error:
            return str(error)
        return ""

    async def _follow(
        self,
        command: Command,
        shares: Outcome,
        devices: list[Device],
        powers: Mapping[str, float],
        before: Mapping[str, float | None],
    ) -> None:
        """Every device on its own; the verdict when the last one has one."""
        verdicts = await asyncio.gather(
            *(
                self._follow_one(command, device, powers[device.asset.id], before[device.asset.id])
                for device in devices
            )
        )
        if not any(self._holds_still(command, device) for device in devices):
            return  # replaced or released: this is no longer anybody's wish
        measured = {device.asset.id: device.power_mw for device in devices}
        late = "; ".join(verdict for verdict in verdicts if verdict)
        shares = replace(shares, measured=measured)
        if late or shares.failed:
            log.warning("not following", command=command.id, reason=late)
            self._reply(not_following(command, late or "; ".join(shares.failed.values()), shares))
        else:
            log.info("verified", command=command.id, measured_mw=measured)
            self._reply(followed(command, shares))

    async def _follow_one(
        self, command: Command, device: Device, target_mw: float, before_mw: float | None
    ) -> str:
        """Empty once it follows, or is no longer ours to judge; else how far it is."""
        asset = device.asset
        max_mw = max(abs(asset.max_mw), abs(asset.min_mw))
        band_mw = following.tolerance_mw(target_mw, before_mw=before_mw, max_mw=max_mw)
        limit_s = following.deadline_s(
            target_mw, before_mw=before_mw, ramp_mw_per_min=asset.ramp_rate_mw_per_min
        )
        if command.duration_s:
            limit_s = min(limit_s, command.duration_s)
        began_s = time.monotonic()
        while self._holds_still(command, device):
            asked_s = time.monotonic()
            power_mw = None
            try:
                await device.read()
                power_mw = device.power_mw
            except (Unavailable, Invalid) as error:
                log.debug("no reading", asset=asset.id, error=str(error))
            if power_mw is not None and abs(power_mw - target_mw) <= band_mw:
                return ""
            if time.monotonic() - began_s >= limit_s:
                seen = "gives no power" if power_mw is None else f"measures {power_mw:g} MW"
                return f"{asset.id} {seen} instead of {target_mw:g} MW after {limit_s:.0f} s"
            await asyncio.sleep(max(0.0, READ_EVERY_S - (time.monotonic() - asked_s)))
        return ""

    def _hold(self, command: Command, device: Device, power_mw: float) -> None:
        asset = device.asset.id
        self._end_hold(asset)
        self._holds[asset] = asyncio.create_task(self._keep(command, device, power_mw))

    async def _keep(self, command: Command, device: Device, power_mw: float) -> None:
        """Refresh the setpoint until it is replaced; after its duration it is 0 (U-D08)."""
        ends_s = time.monotonic() + command.duration_s if command.duration_s else float("inf")
        due_s = time.monotonic() + self._refresh_s
        while self._holds_still(command, device):
            await asyncio.sleep(max(min(due_s, ends_s) - time.monotonic(), 0.0))
            is_over = time.monotonic() >= ends_s
            if is_over:
                log.info("duration over", asset=device.asset.id, command=command.id)
                power_mw, ends_s = 0.0, float("inf")
            error = await self._refresh(command, device, power_mw)
            due_s = time.monotonic() + (ASK_AGAIN_S if error else self._refresh_s)
            if error:
                log.error("setpoint not refreshed", asset=device.asset.id, error=error)
            if error and is_over:  # what was ordered has ended, whoever is silent
                await self._let_go(device, f"DURATION_OVER: {error}")

    async def _refresh(self, command: Command, device: Device, power_mw: float) -> str:
        """Why it failed; empty for done."""
        begin_by_s = await self._lease()
        if begin_by_s is None:
            return "the cloud does not answer; the device's own revert timer runs"
        return await self._set(command, device, power_mw, begin_by_s)

    def _holds_still(self, command: Command, device: Device) -> bool:
        holder = self._holders.get(device.asset.id)
        return holder is not None and holder.id == command.id

    def _drop(self, command: Command, device: Device) -> None:
        if self._holds_still(command, device):
            del self._holders[device.asset.id]

    def _give_up(self, command: Command, reason: str) -> None:
        for device in self._devices.values():
            self._drop(command, device)
        log.warning("command refused", command=command.id, reason=reason)
        self._reply(refused(command, reason))

    def _end_hold(self, asset: str) -> None:
        if task := self._holds.pop(asset, None):
            task.cancel()

    async def _let_go(self, device: Device, reason: str) -> None:
        for attempt in range(1, RELEASE_ATTEMPTS + 1):
            if attempt > 1 and device.asset.id in self._holders:
                return  # a newer command has it meanwhile
            try:
                await device.release()
            except (Unavailable, Invalid) as error:
                log.error("release failed", asset=device.asset.id, attempt=attempt, error=str(error))
                await asyncio.sleep(1)
            else:
                log.info("released", asset=device.asset.id, reason=reason)
                return

    def _allow(self, may_write: bool) -> None:
        for device in self._devices.values():
            device.may_write = may_write

    def _shares_said(self, command: Command) -> Reply | None:
        return self._replies.get(command.id)

    def _reply(self, reply: Reply) -> None:
        reply.at_us = self._now_us() or 0
        self._remember(reply.command_id, reply)
        self._answer(reply)

    def _remember(self, command_id: str, reply: Reply | None) -> None:
        self._replies[command_id] = reply
        self._replies.move_to_end(command_id)
        while len(self._replies) > REMEMBERED:
            self._replies.popitem(last=False)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("dispatch failed", error=repr(error))


def _log_split(command: Command, shared: Split) -> None:
    """D-026 and D-029: how the power was shared, with the way to it."""
    shares = shared.shares
    log.info(
        "split",
        command=command.id,
        requested_mw=command.power_mw,
        raw={share.asset: share.raw_mw for share in shares},
        clamped={share.asset: share.clamped_mw for share in shares},
        residual={share.asset: share.residual_mw for share in shares},
        power_mw={share.asset: share.power_mw for share in shares},
        limited_by={share.asset: share.limited_by for share in shares if share.limited_by},
        unplaced_mw=shared.unplaced_mw,
        unplaced_why=shared.unplaced_why,
    )
