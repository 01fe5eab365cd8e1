"""One gateway session: an MQTT session with what serves it.

It starts over when Kafka gives up on something: the broker then sends again what was not acknowledged, so
that loses nothing.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from overwatt import topics
from services.ingest.acks import Acks
from services.ingest.commands import Commands
from services.ingest.configs import Configs
from services.ingest.gateway import Gateway
from services.ingest.limits import Limits
from services.ingest.link import Tls
from services.ingest.model import Member
from services.ingest.registry import Registry
from services.ingest.rejections import Rejections
from services.ingest.replicas import BEAT_S, LEAD, Beat, filters
from services.ingest.settings import Settings, session_id
from services.ingest.source import MqttSource, connected
from services.runtime.bus import Producer, consume, producer
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool

log = get_logger(__name__)

GOODBYE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What the sessions of a process share."""

    settings: Settings
    pool: Pool
    registry: Registry
    rejections: Rejections
    limits: Limits
    on_beat: Callable[[Beat], None]


class Session:
    """Serves session `index`. Ends with an ExceptionGroup when something gives up."""

    def __init__(self, index: int, shared: Shared, *, reconnects: bool = True) -> None:
        """Raises Unavailable where there is no certificate for it."""
        settings = shared.settings
        self.index = index
        self._shared = shared
        self._gateway: Gateway | None = None
        self._configs: Configs | None = None
        self.source = MqttSource(
            client_id=session_id(index),
            host=settings.mqtt_host,
            port=settings.mqtt_port,
            receive_maximum=settings.receive_maximum,
            tls=_tls(settings, index),
            filters=filters(index, settings.gateway_count),
            on_beat=shared.on_beat,
            reconnects=reconnects,
        )

    async def serve(self) -> None:
        """Until something gives up."""
        settings, limits = self._shared.settings, self._shared.limits
        async with producer(settings.kafka_bootstrap, name=session_id(self.index), linger_ms=0) as bus:
            acks = Acks(self._publish)
            gateway = self._gateway = Gateway(
                source=self.source,
                producer=bus,
                registry=self._shared.registry,
                rejections=self._shared.rejections,
                limits=limits,
                answer=acks.send,
                partitions=await bus.partitions(topics.TELEMETRY),
                workers=settings.ingest_worker_count,
            )
            self.source.on_connected(lambda: limits.is_behind(time.monotonic()))
            self.source.on_connected(self._beat)
            try:
                async with connected(self.source), asyncio.TaskGroup() as group:
                    group.create_task(gateway.run(), name="gateway")
                    group.create_task(self._keep_beating(), name="beat")
                    if self.index == LEAD:
                        self._lead(group, bus, acks)
            finally:
                self._gateway = self._configs = None
                try:
                    await asyncio.wait_for(gateway.flush_counts(), GOODBYE_S)
                except (TimeoutError, Unavailable) as error:
                    log.warning("numbers of rejections lost", error=repr(error))

    def changed(self, name: str, member: Member | None) -> None:
        """The registry has something new."""
        if self._configs:
            self._configs.changed(name, member)
        if self._gateway:
            self._gateway.registered(name, member)

    def _lead(self, group: asyncio.TaskGroup, bus: Producer, acks: Acks) -> None:
        """What the platform publishes once, however many replicas there are."""
        kafka, registry = self._shared.settings.kafka_bootstrap, self._shared.registry
        configs = Configs(registry, self._publish_config, self._forget_status)
        commands = Commands(
            pool=self._shared.pool, source=self.source, producer=bus, registry=registry, group=group
        )
        self.source.on_connected(configs.publish_all)
        self._configs = configs
        group.create_task(configs.run(self.source.arrived), name="configs")
        group.create_task(
            consume(kafka, [topics.OUTCOMES], group="gateway-0", handle=acks.take, from_latest=True),
            name="acks",
        )
        group.create_task(
            consume(kafka, [topics.COMMANDS], group="gateway", handle=commands.take), name="commands"
        )

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._beat()

    def _beat(self) -> None:
        self.source.beat(self.index, b"1")

    def _publish(self, tenant: str, device: str, channel: str, payload: bytes, content_type: str) -> bool:
        return self.source.publish(topics.topic(tenant, device, channel), payload, content_type=content_type)

    def _publish_config(self, tenant: str, device: str, payload: bytes) -> None:
        self.source.publish(
            topics.topic(tenant, device, "config"), payload, content_type=topics.PROTOBUF, retain=True
        )

    def _forget_status(self, tenant: str, device: str) -> None:
        self.source.publish(topics.topic(tenant, device, "status"), b"", retain=True)


def _tls(settings: Settings, index: int) -> Tls | None:
    files = settings.mqtt_files(index)
    if files is None:
        return None
    for file in files:
        if not file.exists():
            raise Unavailable(f"{file} is missing: {session_id(index)} cannot connect without it")
    return Tls(*files)
