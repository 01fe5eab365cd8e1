"""Desired configuration: each box's mode and opt-ins, retained; on change and on every connect.

Of what is erased nothing stays retained but the order to wipe the spool, until the agent has replied.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from overwatt.v1.agent_pb2 import Config
from services.ingest import metrics
from services.ingest.model import Member
from services.ingest.registry import Registry
from services.runtime import clock

AT_ONCE: Final = 100
"""More would only wait in memory, before acknowledgements."""


class Configs:
    """Publishes the configuration of whatever belongs to a box."""

    def __init__(
        self,
        registry: Registry,
        publish: Callable[[str, str, bytes], None],
        forget_status: Callable[[str, str], None],
    ) -> None:
        """`publish(tenant, device, payload)` is retained; an empty payload takes it away."""
        self._registry = registry
        self._publish = publish
        self._forget_status = forget_status
        self._again = asyncio.Event()

    def changed(self, name: str, member: Member | None) -> None:
        """The registry has something new about this identity."""
        tenant, _, device = name.partition("/")
        if member and member.state == "erased":
            self._publish(tenant, device, wipe_order(member) if member.wipe else b"")
            self._forget_status(tenant, device)
        elif member and member.box and member.state == "active":
            self._publish(tenant, device, config_of(member, clock.to_us(clock.now())))
            metrics.CONFIGS.inc()
        elif member is None or member.box:
            self._publish(tenant, device, b"")

    def publish_all(self) -> None:
        """After a connect: the broker may have lost its memory."""
        self._again.set()

    async def run(self, arrived: Callable[[], Awaitable[None]]) -> None:
        """Publish all of it when asked to, a few at a time: `arrived` waits until the broker has them.

        Changes do not wait for that, and what comes later is as the registry has it then.
        """
        while True:
            await self._again.wait()
            self._again.clear()
            names = list(self._registry.members)
            for first in range(0, len(names), AT_ONCE):
                if self._again.is_set():
                    break
                for name in names[first : first + AT_ONCE]:
                    member = self._registry.members.get(name)
                    if member and (member.box or member.state == "erased"):
                        self.changed(name, member)
                await arrived()


def config_of(member: Member, now_us: int) -> bytes:
    """As the agent reads it; its interval stays its own."""
    return Config(
        mode=member.mode or "observe",
        mode_epoch=member.mode_epoch,
        opt_ins=member.opt_ins,
        server_time_us=now_us,
    ).SerializeToString()


def wipe_order(member: Member) -> bytes:
    """To an agent whose data were erased: observe, wipe the spool, say so."""
    return Config(mode="observe", mode_epoch=member.mode_epoch, erase=True).SerializeToString()
