"""The agent's story: read, spool, send; hear, obey, answer.

Promise: nothing is sent that is not in the spool, and nothing leaves the spool unanswered except as
declared loss.
"""

import asyncio
import random
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError

from edge_agent import messages
from edge_agent.clock import Clock, Lateness, monotonic_us
from edge_agent.commands import Identity
from edge_agent.device import Device
from edge_agent.dispatcher import Dispatcher
from edge_agent.drivers import Driver
from edge_agent.identity import tls_context
from edge_agent.lease import Lease
from edge_agent.log import Log
from edge_agent.model import Reading, Sample
from edge_agent.poller import poll
from edge_agent.renewal import keep_renewed
from edge_agent.sender import Sender
from edge_agent.settings import Settings
from edge_agent.spool_thread import Spool
from edge_agent.uplink import Uplink
from edge_agent.window import Window
from overwatt.inventory import Asset
from overwatt.v1.agent_pb2 import Command, Config, Reply
from overwatt.v1.telemetry_pb2 import Ack

ALIVE_EVERY_S: Final = 30.0
LOOK_AT_CLOCK_EVERY_S: Final = 10.0
MOST_LATE_US: Final = 800_000
"""Of a command on its way: so nothing is written more than a second after a flip that it knew nothing of."""
MOST_KEPT_WORDS: Final = 200
"""Replies and events that wait for a connection."""

log = Log(__name__)


class Agent:
    """One run of the process: one session."""

    def __init__(
        self, settings: Settings, drivers: Sequence[tuple[Asset, Driver]], spool: Spool, clock: Clock
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._clock = clock
        self._lateness = Lateness()
        self._lease = Lease(self._tell_status, good_for_s=MOST_LATE_US / 1e6)
        self._boot_id = str(uuid.uuid4())
        self._interval_s = settings.telemetry_interval_s
        self._words: deque[tuple[str, bytes]] = deque(maxlen=MOST_KEPT_WORDS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._polls: list[asyncio.Task[None]] = []
        self._is_erased = False
        self._devices = {asset.id: Device(asset, driver, on_reading=self._keep) for asset, driver in drivers}
        self._dispatcher = Dispatcher(
            self._devices,
            Identity(settings.tenant, settings.device, settings.site),
            answer=self._answer,
            now_us=lambda: clock.now_us() if clock.is_trusted else None,
            lease=self._lease.renew,
            revert_s=settings.deadman_s,
        )
        self._uplink = Uplink(
            settings.mqtt_host,
            settings.mqtt_port,
            tenant=settings.tenant,
            device=settings.device,
            listener=self,
            will=lambda: messages.gone(settings, boot_id=self._boot_id, at_us=clock.now_us()),
            tls=partial(tls_context, settings.identity.directory) if settings.identity else None,
        )
        self._sender = Sender(
            spool,
            Window(span_s=settings.window_s, jitter=random.random),
            lambda payload: self._uplink.publish("telemetry", payload),
        )

    async def run(self, stopped: asyncio.Event) -> None:
        """Until `stopped`; then devices are given back and the cloud is told."""
        try:
            async with asyncio.TaskGroup() as group:
                work = [
                    group.create_task(self._uplink.run(), name="uplink"),
                    group.create_task(self._sender.run(), name="sender"),
                    group.create_task(self._watch_clock(), name="clock"),
                    group.create_task(self._say_alive(), name="alive"),
                    group.create_task(self._watch_silence(), name="deadman"),
                ]
                if box := self._settings.identity:
                    renewing = keep_renewed(box, on_renewed=self._take_up_certificate)
                    work.append(group.create_task(renewing, name="renewal"))
                for device in self._devices.values():
                    polling = poll(device, interval_s=lambda: self._interval_s, on_change=self._tell)
                    self._polls.append(group.create_task(polling, name=f"poll {device.asset.id}"))
                await stopped.wait()
                await self._say_farewell()
                for task in work + self._polls:
                    task.cancel()
        finally:
            for device in self._devices.values():
                await device.close()

    # What devices say.

    async def _keep(self, asset: str, reading: Reading) -> None:
        """Stamped, spooled, then sent at once if it may."""
        if self._is_erased:
            return
        sample = Sample(asset, self._clock.stamp(), reading)
        try:
            rows = await self._spool.append([sample])
        except sqlite3.Error as error:
            log.error("sample not spooled", asset=asset, error=str(error))
            return
        self._sender.appended(rows)

    def _tell(self, device: Device, trouble: str) -> None:
        kind, severity = ("device_silent", "alarm") if trouble else ("device_back", "info")
        word = messages.event(
            at_us=self._clock.now_us(), asset=device.asset.id, kind=kind, severity=severity, message=trouble
        )
        self._say("event", word)

    # What the cloud says.

    def connected(self) -> None:
        """The registration first, then what was left unsaid, then samples."""
        self._lateness.forget()
        self._start(self._register())

    def disconnected(self) -> None:
        self._sender.disconnected()

    def received(self, channel: str, payload: bytes) -> None:
        try:
            match channel:
                case "ack":
                    ack = Ack.FromString(payload)
                    if self._lateness.answered(ack.asked_us, ack.server_time_us):
                        self._lease.answered()
                        self._hear_time(ack)
                    self._sender.answered(ack)
                case "config":
                    self._obey(Config.FromString(payload))
                case "cmd":
                    self._take(Command.FromString(payload))
        except DecodeError as error:
            log.error("message not understood", channel=channel, bytes=len(payload), error=str(error))

    def _take(self, command: Command) -> None:
        """A command, unless it may have been held up: since it was stamped the mode may have changed."""
        now_us = monotonic_us()
        late_us = self._lateness.of(command.stamped_at_us, now_us)
        if late_us <= MOST_LATE_US:
            self._dispatcher.take(command, begin_within_s=(MOST_LATE_US - late_us) / 1e6)
            return
        # No answer, so it is sent again, under a new stamp, until it expires. By then we know the time.
        log.warning("command held up", command=command.id, late_s=late_us / 1e6)
        if self._lateness.may_ask(now_us):
            self._start(self._tell_status())

    def _obey(self, config: Config) -> None:
        self._interval_s = config.telemetry_interval_ms / 1000 or self._settings.telemetry_interval_s
        log.info(
            "config",
            mode=config.mode,
            mode_epoch=config.mode_epoch,
            opt_ins=list(config.opt_ins),
            telemetry_interval_s=self._interval_s,
        )
        if config.mode:
            self._dispatcher.obey_mode(messages.mode_of(config))
        if config.erase:
            self._is_erased = True
            self._start(self._erase())

    async def _erase(self) -> None:
        """The person's data is to be forgotten: nothing is measured any more, nothing kept stays."""
        for polling in self._polls:
            polling.cancel()
        await self._dispatcher.release_all("ERASED: released to the device's own default")
        self._words.clear()
        await self._spool.wipe()
        log.info("erased", spool=str(self._settings.spool_path))
        self._answer(Reply(state=Reply.ERASED))

    def _hear_time(self, answer: Ack) -> None:
        if not self._clock.is_trusted and self._clock.hear_server(answer.server_time_us, answer.asked_us):
            self._start(self._date())

    async def _register(self) -> None:
        state = await self._spool.state()
        if not self._uplink.is_connected:
            return  # lost again meanwhile; the next connection registers
        word = messages.birth(
            self._settings,
            boot_id=self._boot_id,
            at_us=self._clock.now_us(),
            asked_us=self._lateness.ask(monotonic_us()),
            mode=self._dispatcher.mode,
            spool=state,
        )
        self._uplink.publish("status", word, is_retained=True)
        for _ in range(len(self._words)):
            self._say(*self._words.popleft())
        self._sender.connected()

    def _answer(self, reply: Reply) -> None:
        log.info("reply", command=reply.command_id, state=Reply.State.Name(reply.state), reason=reply.reason)
        self._say("reply", reply.SerializeToString())

    def _say(self, channel: str, word: bytes) -> None:
        """Now, or when there is a connection again."""
        if not self._uplink.publish(channel, word):
            self._words.append((channel, word))

    # What time and silence say.

    async def _say_alive(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_EVERY_S)
            await self._tell_status()

    async def _tell_status(self) -> None:
        """How this agent is, to the log and to the cloud, which answers with the time."""
        state = await self._spool.state()
        log.info(
            "alive",
            connected=self._uplink.is_connected,
            spool_rows=state.rows,
            spool_bytes=state.bytes,
            evicted_rows=state.evicted_rows,
            online=sum(device.is_online for device in self._devices.values()),
            clock_trusted=self._clock.is_trusted,
        )
        word = messages.alive(
            self._settings,
            boot_id=self._boot_id,
            at_us=self._clock.now_us(),
            asked_us=self._lateness.ask(monotonic_us()),
            mode=self._dispatcher.mode,
            spool=state,
        )
        self._uplink.publish("status", word)

    async def _watch_clock(self) -> None:
        """Trust comes by itself once NTP works; until then samples wait, and the log says so."""
        if not self._clock.is_trusted:
            log.warning(
                "clock not trusted",
                meaning="samples are kept and not sent",
                remedy="let NTP keep this machine's clock, or set CLOCK_TRUSTED=1 on a development machine",
            )
        while True:
            if self._clock.look():
                await self._date()
            await asyncio.sleep(LOOK_AT_CLOCK_EVERY_S)

    async def _date(self) -> None:
        if dated := await self._spool.date(self._clock.offset_us()):
            log.info("dated", rows=dated)
            self._sender.dated()

    async def _watch_silence(self) -> None:
        """Without the cloud for too long, devices are better off with their own default."""
        while True:
            await asyncio.sleep(min(self._settings.deadman_s / 4, 5))
            if time.monotonic() - self._uplink.heard_s >= self._settings.deadman_s:
                await self._dispatcher.release_all(
                    f"DEADMAN: no cloud for {self._settings.deadman_s:g} s, released to the device's default"
                )

    async def _say_farewell(self) -> None:
        await self._dispatcher.release_all("STOPPED: the agent was stopped, released to the device's default")
        word = messages.gone(self._settings, boot_id=self._boot_id, at_us=self._clock.now_us())
        await self._uplink.close(farewell=word)

    def _take_up_certificate(self) -> None:
        self._uplink.reconnect("a fresh certificate is there")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("unexpected", error=repr(error))
