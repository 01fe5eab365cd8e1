"""The real path for these tests: broker, Kafka, PostgreSQL, gateway and writer, and a device's end of it."""

import asyncio
import itertools
import json
import shutil
import struct
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import paho.mqtt.client as paho
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from overwatt.topics import PROTOBUF, REGISTRY, topic
from overwatt.v1.registry_pb2 import Device
from overwatt.v1.telemetry_pb2 import Ack, Batch, Block, Column
from scripts.local.ports import HOST, Ports
from scripts.local.stack import Stack

WITHIN_S: Final = 30.0
_numbers: Final = itertools.count(1)


@dataclass
class Platform:
    """What runs, and how to look at it."""

    stack: Stack
    url: str

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def until(self, query: str, *arguments: Any, is_true: Callable[[Any], bool] = bool) -> Any:
        """The first column of the first row, once it is as wanted."""
        ends = time.monotonic() + WITHIN_S
        found: Any = None
        while time.monotonic() < ends:
            try:
                rows = await self.fetch(query, *arguments)
                found = rows[0][0] if rows else None
                if is_true(found):
                    return found
            except (OSError, asyncpg.PostgresError) as error:
                found = error
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {WITHIN_S:.0f} s: {query} {arguments}: last seen {found!r}")

    async def register(self, *devices: Device) -> None:
        """Put them on the registry topic."""
        for device in devices:
            await self.produce(REGISTRY, f"{device.tenant}/{device.device}", device.SerializeToString())

    async def know(self, *devices: Device) -> None:
        """Register, and return when the gateway knows them all: its table keeps their order."""
        marker = a_device(devices[-1].tenant, f"marker-{next(_numbers)}", box="marker", mode="observe")
        with self.device(marker.tenant, marker.device) as wire:
            await self.register(*devices, marker)
            wire.message("config")

    async def produce(self, name: str, key: str, value: bytes) -> None:
        """One record."""
        producer = AIOKafkaProducer(bootstrap_servers=self.stack.env()["KAFKA_BOOTSTRAP"])
        await producer.start()
        try:
            await producer.send_and_wait(name, value, key.encode())
        finally:
            await producer.stop()

    async def until_kafka(self, name: str, is_it: Callable[[bytes], bool]) -> bytes:
        """The first record's value that is it."""
        ends = time.monotonic() + WITHIN_S
        while time.monotonic() < ends:
            for record in await self.kafka(name):
                if is_it(record.value):
                    return bytes(record.value)
        raise AssertionError(f"nothing like it on {name}")

    async def kafka(self, name: str, partitions: int = 1) -> list[Any]:
        """Everything on a topic."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.env()["KAFKA_BOOTSTRAP"])
        await consumer.start()
        try:
            places = [TopicPartition(name, number) for number in range(partitions)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            records: list[Any] = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                for found in (await consumer.getmany(timeout_ms=500)).values():
                    records += found
            return records
        finally:
            await consumer.stop()

    def device(self, tenant: str, device: str) -> "Wire":
        return Wire(self.stack.ports.mosquitto, tenant, device)


@dataclass
class Wire:
    """A device's MQTT connection; `acks` is what it was told."""

    port: int
    tenant: str
    name: str
    got: list[tuple[str, bytes]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> "Wire":
        client_id = f"{self.tenant}/{self.name}"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        self._client.username = client_id
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topic(self.tenant, self.name, channel), 1) for channel in ("ack", "cmd", "config")]
        )
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(HOST, self.port, clean_start=True)
        self._client.loop_start()
        assert subscribed.wait(WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.got.append((message.topic.rpartition("/")[2], bytes(message.payload)))
            self._changed.notify_all()

    def send(self, payload: bytes | object, channel: str = "telemetry", *, retain: bool = False) -> None:
        """QoS 1, until the broker has it."""
        self.post(payload, channel, retain=retain).wait_for_publish(WITHIN_S)

    def post(
        self, payload: bytes | object, channel: str = "telemetry", *, retain: bool = False
    ) -> paho.MQTTMessageInfo:
        """QoS 1; bytes are protobuf."""
        properties = None
        if isinstance(payload, bytes):
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = PROTOBUF
        else:
            payload = json.dumps(payload).encode()
        return self._client.publish(
            topic(self.tenant, self.name, channel), payload, 1, retain, properties=properties
        )

    def _until(self, find: Callable[[], Any]) -> Any:
        with self._changed:
            assert self._changed.wait_for(find, WITHIN_S), f"got only {self.got}"
            return find()

    def message(self, channel: str, is_it: Callable[[bytes], bool] = lambda _: True) -> bytes:
        """The first of this channel that is it."""
        found: bytes = self._until(
            lambda: next((body for name, body in self.got if name == channel and is_it(body)), None)
        )
        return found

    def answer(self, seq: int) -> Any:
        """The JSON acknowledgement that speaks of this number."""

        def speaks(body: bytes) -> bool:
            answer = json.loads(body)
            spans = answer["committed"] + [span for one in answer["refused"] for span in one["ranges"]]
            return any(first <= seq <= last for first, last in spans)

        return json.loads(self.message("ack", speaks))

    def committed(self, epoch: int, first: int, last: int) -> None:
        """Wait until all these were acknowledged."""
        wanted = set(range(first, last + 1))
        self._until(lambda: wanted <= self.seqs(epoch))

    def seqs(self, epoch: int) -> set[int]:
        """What was acknowledged of this epoch."""
        acks = [Ack.FromString(body) for name, body in list(self.got) if name == "ack"]
        return {
            seq
            for ack in acks
            if ack.epoch == epoch
            for r in ack.committed
            for seq in range(r.first, r.last + 1)
        }

    def refused(self, reason: str) -> list[tuple[int, int]]:
        """Ranges of the first refusal with this reason."""

        def find() -> Any:
            acks = [Ack.FromString(body) for name, body in list(self.got) if name == "ack"]
            return next((each for ack in acks for each in ack.refused if each.reason == reason), None)

        return [(span.first, span.last) for span in self._until(find).ranges]


class Spool:
    """Keeps samples until they are acknowledged, and sends them again until then: an agent's promise."""

    def __init__(self, wire: Wire, *, epoch: int, batches: int, rows: int, ago_us: int = 0) -> None:
        self._wire = wire
        self._epoch = epoch
        self._rows = rows
        at = now_us() - ago_us - batches * rows * 1_000
        self.waiting = {
            number * rows + 1: a_batch(
                epoch=epoch,
                first_seq=number * rows + 1,
                times_us=[at + (number * rows + i) * 1_000 for i in range(rows)],
                power=[float(number * rows + i) for i in range(rows)],
            )
            for number in range(batches)
        }

    async def send(self, batches: int | None = None) -> None:
        """The oldest that wait, without waiting for an answer."""
        for first_seq in list(self.waiting)[:batches]:
            self._wire.post(self.waiting[first_seq])
            await asyncio.sleep(0.002)

    def settle(self) -> int:
        """Forget what was acknowledged; answers how many batches still wait."""
        seqs = self._wire.seqs(self._epoch)
        for first_seq in list(self.waiting):
            if seqs.issuperset(range(first_seq, first_seq + self._rows)):
                del self.waiting[first_seq]
        return len(self.waiting)

    async def until_empty(self, within_s: float = 60) -> None:
        """Send again what has no answer, every few seconds."""
        ends = time.monotonic() + within_s
        while self.settle():
            assert time.monotonic() < ends, f"{len(self.waiting)} batches without an acknowledgement"
            await self.send()
            pause = time.monotonic() + 3
            while self.settle() and time.monotonic() < pause:
                await asyncio.sleep(0.05)


async def metric(port: int, name: str) -> float:
    """Sum over all labels; -1 when there is no answer."""

    def ask() -> float:
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)

    try:
        return await asyncio.to_thread(ask)
    except OSError:
        return -1


async def until_metric(port: int, name: str, wanted: float) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await metric(port, name) != wanted:
            await asyncio.sleep(0.1)


def now_us() -> int:
    return time.time_ns() // 1_000


def a_batch(
    *, epoch: int, first_seq: int, times_us: list[int], power: list[float], asset: str = "", quantity: int = 1
) -> bytes:
    rows = len(times_us)
    block = Block(
        asset=asset,
        ts_us=struct.pack(f"<{rows}q", *times_us),
        seq_offset=struct.pack(f"<{rows}I", *range(rows)),
        columns=[Column(quantity=quantity, values=struct.pack(f"<{rows}d", *power))],
    )
    return Batch(epoch=epoch, first_seq=first_seq, blocks=[block]).SerializeToString()


def a_device(tenant: str, device: str, **fields: Any) -> Device:
    return Device(
        **({"tenant": tenant, "device": device, "device_key": next(_numbers), "state": "active"} | fields)
    )


@pytest.fixture
def tenant(request: pytest.FixtureRequest) -> str:
    return f"tenant-{next(_numbers)}"


@contextmanager
def a_platform(**environment: str) -> Iterator[Platform]:
    """Servers of their own, with these settings of the gateway and the writer."""
    directory = Path(tempfile.mkdtemp(prefix="overwatt-ingest-", dir="/tmp"))
    directory.chmod(0o755)
    settings = {"ROLLUP_INTERVAL_S": "1", "TIMESCALE_FLUSH_INTERVAL_MS": "200"}
    with Stack(directory, Ports.free(), service_environment=settings | environment) as stack:
        stack.start("kafka", "postgres", "mosquitto")
        stack.migrate()
        yield Platform(stack, stack.env()["DATABASE_URL"])
    stack.remove_data()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def components() -> Iterator[Platform]:
    """Servers of these tests alone: they are killed."""
    with a_platform(INGEST_QUEUE_SIZE="50") as platform:
        yield platform


@pytest.fixture
def platform_path(components: Platform) -> Platform:
    """Everything runs, whatever an earlier test has killed."""
    components.stack.start("kafka", "postgres", "mosquitto")
    components.stack.start("ingest-writer", "ingest-gateway")
    return components
