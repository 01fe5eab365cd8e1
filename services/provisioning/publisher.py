"""The registry topic: devices that changed are told to Kafka, and marked as told when it has them."""

import asyncio
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError

from overwatt.topics import REGISTRY, identity, tombstone_of
from overwatt.v1.registry_pb2 import Device
from services.provisioning import metrics, store
from services.provisioning.model import ERASED
from services.runtime import clock
from services.runtime.bus import Producer, consumer, producer
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

BATCH: Final = 2_000
SAFETY_PERIOD_S: Final = 30.0
"""A change is told when it is committed; this is for those of a process that died in between."""


class Publisher:
    """Tells Kafka who belongs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.is_current = asyncio.Event()
        """set once everything has been told"""
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Something was committed."""
        self._changed.set()

    async def run(self, bootstrap: str) -> None:
        """Tell for ever; a topic that is empty is told everything."""
        if await until_available("look into the registry topic", lambda: is_empty(bootstrap)):
            await until_available("forget what was told", self._forget)
        async with producer(bootstrap, name="provisioning") as out:
            while True:
                self._changed.clear()
                await self._publish(out)
                self.is_current.set()
                metrics.LAST_PUBLISH.set(clock.now().timestamp())
                await happens(self._changed, SAFETY_PERIOD_S)

    async def _publish(self, out: Producer) -> None:
        metrics.UNPUBLISHED.set(await until_available("count what is to be told", self._waiting))
        while told := await until_available("publish the registry", lambda: self._publish_batch(out)):
            log.info("registry published", devices=told)
        while told := await until_available("publish tombstones", lambda: self._publish_tombstones(out)):
            log.info("tombstones published", identities=told)

    async def _publish_batch(self, out: Producer) -> int:
        async with transaction(self._pool) as db:
            await store.take_turn_to_publish(db)
            rows = await store.read_unpublished(db, BATCH)
            sent = [
                await out.enqueue(
                    REGISTRY, identity(row["tenant_id"], row["device_id"]), to_wire(row).SerializeToString()
                )
                for row in rows
            ]
            await out.settle(sent)
            await store.set_published(db, {row["device_key"]: row["changed_at"] for row in rows})
        metrics.PUBLISHED.inc(len(rows))
        return len(rows)

    async def _publish_tombstones(self, out: Producer) -> int:
        async with transaction(self._pool) as db:
            await store.take_turn_to_publish(db)
            identities = await store.read_unpublished_tombstones(db, BATCH)
            value = Device(state=ERASED).SerializeToString()
            await out.settle([await out.enqueue(REGISTRY, tombstone_of(each), value) for each in identities])
            await store.set_tombstones_published(db, identities)
        return len(identities)

    async def _waiting(self) -> int:
        async with transaction(self._pool) as db:
            return await store.count_unpublished(db)

    async def _forget(self) -> None:
        async with transaction(self._pool) as db:
            await store.forget_published(db)
        log.info("the registry topic is empty: everything is published again")


async def is_empty(bootstrap: str) -> bool:
    """Whether nobody has ever told this Kafka anything. Raises Unavailable."""
    async with consumer(bootstrap, [REGISTRY], group=None) as source:
        partitions = source.assignment()
        if not partitions:
            raise Unavailable(f"Kafka has no topic {REGISTRY}; run `python -m services.runtime.topics`")
        try:
            ends = await source.end_offsets(partitions)
        except KafkaError as error:
            raise Unavailable(f"Kafka: {error!r}") from error
    return not any(ends.values())


def to_wire(row: asyncpg.Record) -> Device:
    """A row of UNPUBLISHED as the record of its device."""
    return Device(
        tenant=row["tenant_id"],
        device=row["device_id"],
        device_key=row["device_key"],
        site=row["site_id"] or "",
        site_name=row["site_name"] or "",
        box=row["box_id"] or "",
        state=row["state"],
        type=row["type"],
        name=row["name"],
        assets=row["assets"],
        mode=row["mode"] or "",
        mode_epoch=row["mode_epoch"] or 0,
        opt_ins=row["opt_ins"] or (),
        changed_at_us=clock.to_us(row["changed_at"]),
        capacity_mwh=row["capacity_mwh"] or 0.0,
        max_mw=row["max_mw"] or 0.0,
        min_mw=row["min_mw"] or 0.0,
        wipe=row["wipe"],
    )
