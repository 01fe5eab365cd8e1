"""Publishes commands, each while its box's mode is held.

One command at a time for a box, and boxes do not wait for each other. The lock lasts until the bytes are on
the socket, at most a second; then the connection is dropped unsent. The controller sends a command again
every second until it is answered or expires: so what fails here is left to the next time.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Final

import asyncpg
from google.protobuf.message import DecodeError

from overwatt import topics
from overwatt.v1.agent_pb2 import AgentReply, Command, Reply
from services.ingest import metrics, store
from services.ingest.model import Member
from services.ingest.registry import Registry
from services.ingest.source import MqttSource
from services.runtime import clock
from services.runtime.bus import Producer, Record
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction

log = get_logger(__name__)

ON_SOCKET_WITHIN_S: Final = 1.0
MOST_EXPIRY_S: Final = 10
"""How long a broker may keep a command; the next one is a second behind it."""


class Commands:
    """Commands on their way to agents."""

    def __init__(
        self,
        *,
        pool: Pool,
        source: MqttSource,
        producer: Producer,
        registry: Registry,
        group: asyncio.TaskGroup,
    ) -> None:
        self._pool = pool
        self._source = source
        self._producer = producer
        self._registry = registry
        self._group = group
        self._waiting: dict[str, dict[str, Command]] = {}

    async def take(self, records: Sequence[Record]) -> None:
        """Commands from Kafka. Returns before they are published."""
        for record in records:
            try:
                command = Command.FromString(record.value or b"")
            except DecodeError as error:
                metrics.UNUSABLE.labels(topics.COMMANDS).inc()
                log.warning("command not usable", offset=record.offset, error=str(error))
                continue
            agent = topics.identity(command.tenant, command.device)
            if agent in self._waiting:
                self._waiting[agent][command.id] = command  # a repetition takes the place of the first
            else:
                self._waiting[agent] = {command.id: command}
                self._group.create_task(self._drain(agent), name=f"commands of {agent}")

    async def _drain(self, agent: str) -> None:
        waiting = self._waiting[agent]
        while waiting:
            command = waiting.pop(next(iter(waiting)))
            try:
                await self._publish(command)
            except (Unavailable, asyncpg.PostgresError) as error:
                metrics.COMMANDS.labels("unsent").inc()
                log.warning("command not published", command=command.id, agent=agent, error=str(error))
        del self._waiting[agent]

    async def _publish(self, command: Command) -> None:
        left_s = (command.expires_at_us - clock.to_us(clock.now())) / 1e6
        if left_s <= 0:
            metrics.COMMANDS.labels("expired").inc()
            return
        member = self._registry.find(command.tenant, command.device)
        async with transaction(self._pool) as db:
            mode = await store.hold_mode(db, command.tenant, member.box if member else "")
            if refused := refusal(command, member, mode):
                reason, detail = refused
            else:
                assert mode
                assert member
                command.mode_epoch = mode.mode_epoch
                command.stamped_at_us = clock.to_us(clock.now())
                await self._source.publish_now(
                    topics.topic(command.tenant, command.device, "cmd"),
                    command.SerializeToString(),
                    content_type=topics.PROTOBUF,
                    expiry_s=min(max(1, math.ceil(left_s)), MOST_EXPIRY_S),
                    within_s=ON_SOCKET_WITHIN_S,
                )
                await store.log_publish(db, command.tenant, member.box, command.id, mode.mode_epoch)
        if not refused:
            metrics.COMMANDS.labels("published").inc()
            return
        metrics.COMMANDS.labels("refused").inc()
        log.info("command refused", command=command.id, reason=reason, detail=detail)
        await self._refuse(command, reason)

    async def _refuse(self, command: Command, reason: str) -> None:
        now_us = clock.to_us(clock.now())
        reply = AgentReply(
            tenant=command.tenant,
            device=command.device,
            reply=Reply(
                command_id=command.id,
                dispatch_id=command.dispatch_id,
                state=Reply.REJECTED,
                reason=reason,
                at_us=now_us,
            ),
            received_at_us=now_us,
            from_gateway=True,
        )
        name = topics.identity(command.tenant, command.device)
        await self._producer.send(topics.AGENT_REPLY, name, reply.SerializeToString())


def refusal(command: Command, member: Member | None, mode: store.Mode | None) -> tuple[str, str] | None:
    """Why this command must not be published; None when it may."""
    if member is None or member.state != "active":
        return "DEVICE_REVOKED", f"agent {command.device} is not active; register or enable it"
    if mode is None or mode.mode != "active":
        return "MODE_OBSERVE", f"box {member.box or '(none)'} is not in mode active; nothing may be written"
    if command.capability and command.capability not in mode.opt_ins:
        return "CAPABILITY_CLOSED", f"box {member.box} has not opted in to {command.capability}"
    if command.mode_epoch not in (0, mode.mode_epoch):  # active again, after a pause that ended every order
        return (
            "MODE_EPOCH_OLD",
            f"the mode of box {member.box} changed since this was ordered; order it again",
        )
    return None
