"""One gateway session after the other: its connections, and a fresh start when Kafka gives up on something.

The broker then sends again what was not acknowledged, so starting over loses nothing.
"""

import asyncio
import time
from typing import Final

from overwatt import topics
from overwatt.v1.telemetry_pb2 import Ack
from services.ingest.acks import Acks
from services.ingest.commands import Commands
from services.ingest.configs import Configs
from services.ingest.gateway import Gateway
from services.ingest.limits import Limits
from services.ingest.link import Tls
from services.ingest.model import Member
from services.ingest.registry import Registry
from services.ingest.rejections import Rejections
from services.ingest.settings import Settings
from services.ingest.source import MqttSource, connected
from services.runtime.bus import Producer, consume, producer
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool

log = get_logger(__name__)

GOODBYE_S: Final = 2.0


class Sessions:
    """Runs gateway sessions for ever."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self.registry = Registry()
        self.registry_loaded = asyncio.Event()
        self._rejections = Rejections()
        self._limits = Limits(settings)
        self._source: MqttSource | None = None
        self._gateway: Gateway | None = None
        self._configs: Configs | None = None
        self.registry.listen(self._changed)

    async def run(self) -> None:
        """Session after session."""
        # Before it everybody would be a stranger.
        await self.registry_loaded.wait()
        while True:
            try:
                await self._session()
            except ExceptionGroup as failures:
                _, others = failures.split(Unavailable)
                if others:
                    raise
                log.error("session starts over", error=repr(failures.exceptions[0]))

    async def check_mqtt(self) -> None:
        """Readiness."""
        if self._source is None:
            raise Unavailable("the registry is not loaded yet")
        await self._source.check()

    async def _session(self) -> None:
        settings = self._settings
        source = MqttSource(
            client_id=settings.gateway_id,
            host=settings.mqtt_host,
            port=settings.mqtt_port,
            receive_maximum=settings.receive_maximum,
            tls=_tls(settings),
        )
        async with producer(settings.kafka_bootstrap, name=settings.gateway_id, linger_ms=0) as bus:
            await self._serve(source, bus, await bus.partitions(topics.TELEMETRY))

    async def _serve(self, source: MqttSource, bus: Producer, partitions: int) -> None:
        settings, kafka = self._settings, self._settings.kafka_bootstrap
        acks = Acks(
            lambda tenant, device, channel, payload, content_type: source.publish(
                topics.topic(tenant, device, channel), payload, content_type=content_type
            )
        )

        def publish_config(tenant: str, device: str, payload: bytes) -> None:
            source.publish(
                topics.topic(tenant, device, "config"), payload, content_type=topics.PROTOBUF, retain=True
            )

        def forget_status(tenant: str, device: str) -> None:
            source.publish(topics.topic(tenant, device, "status"), b"", content_type="", retain=True)

        def answer(tenant: str, device: str, ack: Ack) -> None:
            acks.send(tenant, device, ack)

        gateway = Gateway(
            source=source,
            producer=bus,
            registry=self.registry,
            rejections=self._rejections,
            limits=self._limits,
            answer=answer,
            partitions=partitions,
            workers=settings.ingest_worker_count,
        )
        configs = Configs(self.registry, publish_config, forget_status)
        source.on_connected(configs.publish_all)
        source.on_connected(lambda: self._limits.is_behind(time.monotonic()))
        self._source, self._gateway, self._configs = source, gateway, configs
        try:
            async with connected(source), asyncio.TaskGroup() as group:
                commands = Commands(
                    pool=self._pool, source=source, producer=bus, registry=self.registry, group=group
                )
                group.create_task(gateway.run(), name="gateway")
                group.create_task(configs.run(source.arrived), name="configs")
                group.create_task(
                    consume(
                        kafka,
                        [topics.OUTCOMES],
                        group=f"gateway-{settings.gateway_index}",
                        handle=acks.take,
                        from_latest=True,
                    ),
                    name="acks",
                )
                group.create_task(
                    consume(kafka, [topics.COMMANDS], group="gateway", handle=commands.take), name="commands"
                )
        finally:
            self._gateway = self._configs = None
            try:
                await asyncio.wait_for(gateway.flush_counts(), GOODBYE_S)
            except (TimeoutError, Unavailable) as error:
                log.warning("numbers of rejections lost", error=repr(error))

    def _changed(self, name: str, member: Member | None) -> None:
        if self._configs:
            self._configs.changed(name, member)
        if self._gateway:
            self._gateway.registered(name, member)


def _tls(settings: Settings) -> Tls | None:
    if settings.mqtt_ca and settings.mqtt_cert and settings.mqtt_key:
        return Tls(settings.mqtt_ca, settings.mqtt_cert, settings.mqtt_key)
    return None
