"""Desired configuration: each box's mode and opt-ins, retained; on change and on every connect."""

from collections.abc import Callable

from overwatt.v1.agent_pb2 import Config
from services.ingest import metrics
from services.ingest.model import Member
from services.ingest.registry import Registry
from services.runtime import clock


class Configs:
    """Publishes the configuration of whatever belongs to a box."""

    def __init__(self, registry: Registry, publish: Callable[[str, str, bytes], None]) -> None:
        """`publish(tenant, device, payload)` is retained; an empty payload takes it away."""
        self._registry = registry
        self._publish = publish

    def changed(self, name: str, member: Member | None) -> None:
        """The registry has something new about this identity."""
        tenant, _, device = name.partition("/")
        if member and member.box and member.state == "active":
            self._publish(tenant, device, config_of(member, clock.to_us(clock.now())))
            metrics.CONFIGS.inc()
        elif member is None or member.box:
            self._publish(tenant, device, b"")

    def publish_all(self) -> None:
        """After a connect: the broker may have lost its memory."""
        for name, member in self._registry.members.items():
            if member.box:
                self.changed(name, member)


def config_of(member: Member, now_us: int) -> bytes:
    """As the agent reads it; its interval stays its own."""
    return Config(
        mode=member.mode or "observe",
        mode_epoch=member.mode_epoch,
        opt_ins=member.opt_ins,
        server_time_us=now_us,
    ).SerializeToString()
