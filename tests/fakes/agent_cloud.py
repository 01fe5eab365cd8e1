"""The cloud as an agent sees it: an MQTT client that acknowledges, refuses and commands.

It plays the ingest gateway on a real broker. By default it acknowledges nothing: a test says what happens.
"""

import asyncio
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from overwatt.quantities import BY_NUMBER
from overwatt.topics import UP, topic
from overwatt.v1.agent_pb2 import Command, Config, Event, Reply, Status
from overwatt.v1.telemetry_pb2 import Ack, Batch, Range, Refusal


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample that arrived."""

    epoch: int
    seq: int
    asset: str
    ts_us: int
    quality: int
    values: dict[str, float]
    arrived_us: int


@dataclass
class Cloud:
    """What came from one agent."""

    tenant: str
    device: str
    client: mqtt.Client
    statuses: list[Status] = field(default_factory=list)
    samples: list[Seen] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    content_types: set[str] = field(default_factory=set)
    acknowledges: bool = False
    """commits everything as it comes"""
    tells_time: bool = True
    """answers each status, as the gateway does"""

    def take(self, channel: str, message: mqtt.MQTTMessage) -> None:
        self.content_types.add(getattr(message.properties, "ContentType", ""))
        payload = bytes(message.payload)
        match channel:
            case "telemetry":
                batch = Batch.FromString(payload)
                self.batches.append(batch)
                seen = samples_of(batch)
                self.samples += seen
                if self.acknowledges:
                    self.commit(batch.epoch, [(each.seq, each.seq) for each in seen])
            case "status":
                status = Status.FromString(payload)
                self.statuses.append(status)
                if self.tells_time:
                    self._ack(Ack(asked_us=status.asked_us))
            case "reply":
                self.replies.append(Reply.FromString(payload))
            case "event":
                self.events.append(Event.FromString(payload))

    def commit(self, epoch: int, ranges: Iterable[tuple[int, int]]) -> None:
        self._ack(Ack(epoch=epoch, committed=[Range(first=a, last=b) for a, b in ranges]))

    def refuse(
        self,
        epoch: int,
        ranges: Iterable[tuple[int, int]],
        reason: str,
        *,
        final: bool,
        retry_after_s: int = 0,
    ) -> None:
        refusal = Refusal(
            ranges=[Range(first=a, last=b) for a, b in ranges],
            reason=reason,
            final=final,
            retry_after_s=retry_after_s,
        )
        self._ack(Ack(epoch=epoch, refused=[refusal]))

    def configure(self, mode: str, mode_epoch: int, **more: Any) -> None:
        config = Config(mode=mode, mode_epoch=mode_epoch, opt_ins=["battery"], **more)
        self._send("config", config.SerializeToString(), qos=1, retain=True)

    def command(self, power_mw: float, *, asset: str = "", site: str = "", **more: Any) -> Command:
        now_us = time.time_ns() // 1000
        command = Command(
            id=str(uuid.uuid4()),
            dispatch_id=str(uuid.uuid4()),
            tenant=self.tenant,
            device=self.device,
            asset=asset,
            site=site,
            power_mw=power_mw,
            issued_at_us=now_us,
            expires_at_us=now_us + 60_000_000,
            mode_epoch=1,
            capability="battery",
        )
        for name, value in more.items():
            setattr(command, name, value)
        self.send_command(command)
        return command

    def send_command(self, command: Command) -> None:
        """Under a new stamp, as the gateway does."""
        command.stamped_at_us = time.time_ns() // 1000
        self._send("cmd", command.SerializeToString(), qos=0)

    def replies_to(self, command: Command) -> list[Reply]:
        return [reply for reply in self.replies if reply.command_id == command.id]

    def of(self, asset: str) -> list[Seen]:
        return [sample for sample in self.samples if sample.asset == asset]

    def kinds(self) -> list[Any]:
        return [status.kind for status in self.statuses]

    def _ack(self, ack: Ack) -> None:
        ack.server_time_us = time.time_ns() // 1000
        self._send("ack", ack.SerializeToString(), qos=1)

    def _send(self, channel: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        self.client.publish(topic(self.tenant, self.device, channel), payload, qos=qos, retain=retain)


def samples_of(batch: Batch) -> list[Seen]:
    """A batch, row by row."""
    now_us = time.time_ns() // 1000
    seen = []
    for block in batch.blocks:
        times = struct.unpack(f"<{len(block.ts_us) // 8}q", block.ts_us)
        offsets = struct.unpack(f"<{len(times)}I", block.seq_offset)
        quality = block.quality or bytes(len(times))
        columns = {
            column.metric or BY_NUMBER[column.quantity].name: struct.unpack(f"<{len(times)}d", column.values)
            for column in block.columns
        }
        for row, (ts_us, offset) in enumerate(zip(times, offsets, strict=True)):
            values = {name: column[row] for name, column in columns.items() if column[row] == column[row]}
            seen.append(
                Seen(batch.epoch, batch.first_seq + offset, block.asset, ts_us, quality[row], values, now_us)
            )
    return seen


@asynccontextmanager
async def cloud_for(address: tuple[str, int], tenant: str, device: str) -> AsyncIterator[Cloud]:
    """Connected and subscribed to everything that the agent says."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.username_pw_set("svc-ingest-3")  # the broker's rules let nobody else read what agents say
    cloud = Cloud(tenant, device, client)

    def on_connect(*_: Any) -> None:
        client.subscribe([(topic(tenant, device, channel), 1) for channel in UP])

    def on_message(_: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        loop.call_soon_threadsafe(cloud.take, message.topic.rsplit("/", 1)[-1], message)

    def on_subscribe(*_: Any) -> None:
        loop.call_soon_threadsafe(ready.set)

    client.on_connect, client.on_message, client.on_subscribe = on_connect, on_message, on_subscribe
    client.connect(*address)
    client.loop_start()
    try:
        await asyncio.wait_for(ready.wait(), 10)
        yield cloud
    finally:
        client.disconnect()
        client.loop_stop()


async def until(condition: Callable[[], Any], *, timeout_s: float = 20.0, what: str = "") -> Any:
    """Waits for something to be true, and answers it."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"in vain after {timeout_s} s: {what or condition}"
        await asyncio.sleep(0.02)
    return result
