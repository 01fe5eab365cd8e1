"""One battery with its rules, its receiver and the service that watches it, as seen from outside."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from overwatt.topics import AGENT_STATUS, REGISTRY, TELEMETRY, identity, partition_of
from overwatt.v1 import agent_pb2, registry_pb2, telemetry_pb2
from services.runtime import bus
from tests.fakes.webhook_sink import Received, Sink

ROOT = Path(__file__).parents[2]
numbers = count(int(time.time()) % 100_000 * 1_000)


class Site:
    """One battery, its rules and its receiver, as the outside sees them."""

    def __init__(self, url: str, bootstrap: str, sink: Sink, directory: Path) -> None:
        # Kafka is shared between the tests, so whatever stands on it has a tenant of its own.
        self.tenant = f"tenant-{next(numbers)}"
        self.device = f"bat-{next(numbers)}"
        self.key = next(numbers)
        self.sink = sink
        self.secret = ""
        self.bootstrap = bootstrap
        self._directory = directory
        self._url = url
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}",
            "DATABASE_URL": url,
            "KAFKA_BOOTSTRAP": bootstrap,
            "HEALTH_PORT": "0",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "WORKER_BACKOFF_BASE_SECONDS": "1",
            "WORKER_TIMEOUT_SECONDS": "2",
            "HEARTBEAT_STALE_SECONDS": "2",
        }

    @asynccontextmanager
    async def process(self, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A running service."""
        log = (self._directory / f"escalation-{next(numbers)}.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.escalation"),
            cwd=ROOT,
            env=self._environment | environment,
            stdout=log,
            stderr=log,
        )
        log.close()
        try:
            yield process
            assert process.returncode in (None, -signal.SIGKILL), self.logs()
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), 20)

    async def command(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.escalation", *arguments),
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def add_channel(self) -> None:
        said = await self.command(
            *f"channel add --tenant {self.tenant} --name ops --url {self.sink.url}".split()
        )
        self.secret = said.split()[-1]

    async def add_rule(self, *more: str) -> None:
        await self.command(
            *f"rule add --tenant {self.tenant} --metric soc_pct --comparison LT".split(), *more
        )

    async def register(self) -> None:
        device = registry_pb2.Device(
            tenant=self.tenant,
            device=self.device,
            device_key=self.key,
            site="s1",
            box="box-1",
            state="active",
        )
        await self.produce(REGISTRY, device.SerializeToString())

    async def sample(self, value: float, *, at_s: float | None = None, name: str = "") -> None:
        """One sample of soc_pct, as the gateway passes it on."""
        at_us = int((at_s or time.time()) * 1_000_000)
        block = telemetry_pb2.Block(device_key=self.key, ts_us=np.array([at_us], "<i8").tobytes())
        block.columns.add(quantity=8, values=np.array([value], "<f8").tobytes())
        record = telemetry_pb2.Record(
            tenant=self.tenant,
            device=name or self.device,
            received_at_us=int(time.time() * 1e6),
            blocks=[block],
        )
        await self.produce(TELEMETRY, record.SerializeToString(), partition_of(self.tenant, self.device, 4))

    async def status(self, kind: agent_pb2.Status.Kind, *, ago_s: float = 0) -> int:
        """What an agent or the broker said, received so long ago; answers when, in microseconds."""
        received_at_us = int((time.time() - ago_s) * 1_000_000)
        status = agent_pb2.AgentStatus(
            tenant=self.tenant,
            device=self.device,
            status=agent_pb2.Status(kind=kind),
            received_at_us=received_at_us,
        )
        await self.produce(AGENT_STATUS, status.SerializeToString())
        return received_at_us

    async def produce(self, topic: str, value: bytes, partition: int = 0) -> None:
        async with bus.producer(self.bootstrap, name="test") as producer:
            await producer.send(topic, identity(self.tenant, self.device), value, partition=partition)

    async def rows(self, sql: str, *values: object) -> list[Any]:
        db = await asyncpg.connect(self._url)
        try:
            return list(await db.fetch(sql, *values))
        finally:
            await db.close()

    async def until(self, sql: str, timeout_s: float = 60) -> list[Any]:
        """The rows of a query, once there are some."""
        return await until(lambda: self.rows(sql), timeout_s, self.logs)

    async def pages(self, number: int, timeout_s: float = 60) -> list[Received]:
        try:
            return await self.sink.wait(lambda got: len(got) >= number, timeout_s)
        except TimeoutError:
            raise AssertionError(f"{len(self.sink.received)} of {number} pages\n{self.logs()}") from None

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._directory.glob("*.log")))[-6_000:]


async def until(
    found: Callable[[], Awaitable[list[Any]]], timeout_s: float, why: Callable[[], str]
) -> list[Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if rows := await found():
            return rows
        await asyncio.sleep(0.1)
    raise AssertionError(f"nothing came within {timeout_s} s\n{why()}")


async def open_alerts(site: Site, number: int) -> None:
    """As the stream side leaves them: committed, and due."""
    await site.rows(
        """insert into alerts (alert_id, tenant_id, fingerprint, severity, summary, next_escalation_at)
           select gen_random_uuid(), $1, 'test:' || n, 2, 'made by hand', now()
           from generate_series(1, $2) n""",
        site.tenant,
        number,
    )
