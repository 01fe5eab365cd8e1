"""The controller as a real process on real PostgreSQL and Kafka, and the two that it talks to: an agent
behind the gateway (Kafka records) and the api (HTTP)."""

import asyncio
import json
import os
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx2

from overwatt import topics
from overwatt.quantities import BY_NAME
from overwatt.v1.agent_pb2 import AgentReply, AgentStatus, AssetInfo, Command, Reply, Share, Status
from overwatt.v1.telemetry_pb2 import Block, Column, Record
from scripts.local.ports import free_ports
from services.runtime import clock
from services.runtime.bus import Producer, consumer, producer

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 90.0
"""A killed member of a Kafka group holds its partition for 10 s."""
T = TypeVar("T")


def free_port() -> int:
    [port] = free_ports(1)
    return port


def as_role(url: str, role: str) -> str:
    """The database's URL for a service's login role."""
    parts = urlsplit(url)
    place = (parts.netloc.rpartition("@")[2],)
    return urlunsplit(
        parts._replace(netloc=f"{role}:{os.environ.get('SERVICE_PASSWORD', 'iot_dev')}@{place[0]}")
    )


async def until(what: str, ask: Callable[[], Awaitable[T]]) -> T:
    """The first true answer; the failure says what never came true, and the last answer."""
    answer: T | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (answer := await ask()):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}; last answer {answer!r}") from None
    return answer


@dataclass
class Rig:
    """One tenant with a controller of its own group, and everything that is published to that tenant."""

    database_url: str
    kafka_bootstrap: str
    db: asyncpg.Connection
    bus: Producer
    http: httpx2.AsyncClient
    tenant: str = field(default_factory=lambda: f"t-{uuid4().hex[:12]}")
    commands: list[Command] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)

    async def start(self) -> None:
        """Start the controller and wait until it is ready."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.controller",
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
                "DATABASE_URL": as_role(self.database_url, "controller"),
                "KAFKA_BOOTSTRAP": self.kafka_bootstrap,
                "CONTROLLER_PORT": str(self.port),
                "CONTROLLER_GROUP": f"controller-{self.tenant}",
                "HEALTH_PORT": str(self.health_port),
            },
            stdout=None if os.environ.get("SHOW_LOGS") else asyncio.subprocess.DEVNULL,
        )
        await until("the controller is ready", self.is_ready)

    async def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, "the controller ended"
        try:
            answer = await self.http.get(f"http://127.0.0.1:{self.health_port}/health/ready")
        except httpx2.TransportError:
            return False
        return answer.status_code == 200

    async def kill(self) -> None:
        """As a power cut would."""
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def terminate(self) -> int:
        """As an operator would; answers the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    async def metrics(self) -> str:
        return (await self.http.get(f"http://127.0.0.1:{self.health_port}/metrics")).text

    # --- the registry, as provisioning writes it

    async def has_site(
        self,
        site: str = "site-a",
        mode: str = "active",
        opt_ins: tuple[str, ...] = ("battery",),
        **mwh: float,
    ) -> None:
        """A site with a box, a gateway agent and batteries of half their MWh in MW."""
        assets = {f"{site}-{name}": capacity for name, capacity in mwh.items()}
        await self.db.execute(
            "insert into tenant (tenant_id, name) values ($1, $1) on conflict do nothing", self.tenant
        )
        await self.db.execute("insert into site (tenant_id, site_id) values ($1, $2)", self.tenant, site)
        await self.db.execute(
            "insert into box (tenant_id, box_id, site_id, mode, opt_ins) values ($1, $2, $3, $4, $5)",
            self.tenant,
            self.box(site),
            site,
            mode,
            list(opt_ins),
        )
        await self._device(site, site, "agent", list(assets))
        for asset, capacity in assets.items():
            key = await self._device(asset, site, "battery", [])
            await self.db.execute(
                "insert into asset (tenant_id, asset_id, device_key, capacity_mwh, max_mw, min_mw)"
                " values ($1, $2, $3, $4::float8, $4::float8 / 2, -$4::float8 / 2)",
                self.tenant,
                asset,
                key,
                float(capacity),
            )

    def box(self, site: str) -> str:
        return f"{site}-{self.tenant}"

    async def _device(self, device: str, site: str, kind: str, assets: list[str]) -> int:
        return int(
            await self.db.fetchval(
                "insert into device (tenant_id, device_id, site_id, box_id, type, assets)"
                " values ($1, $2, $3, $4, $5, $6) returning device_key",
                self.tenant,
                device,
                site,
                self.box(site),
                kind,
                assets,
            )
        )

    # --- the agent, as the gateway passes it on

    async def status(
        self, kind: "Status.Kind.ValueType", boot: str, device: str = "site-a", *assets: str, at_us: int = 0
    ) -> None:
        status = Status(
            kind=kind,
            boot_id=f"{boot}-{self.tenant}",
            at_us=at_us or clock.to_us(clock.now()),
            site=device,
            agent_mode="gateway",
            assets=[AssetInfo(id=asset) for asset in assets],
        )
        await self._send(topics.AGENT_STATUS, device, AgentStatus(status=status))

    async def connect(self, device: str = "site-a", *assets: str, boot: str = "boot") -> None:
        """A birth, and the session that it opens."""
        await self.status(Status.BIRTH, boot, device, *assets)

        async def is_open() -> bool:
            return any(
                row["device_id"] == device and row["session_id"] == f"{boot}-{self.tenant}"
                for row in await self.sessions(only_open=True)
            )

        await until(f"{device} has an open session", is_open)

    async def reply(
        self,
        command: Command,
        state: "Reply.State.ValueType",
        *shares: Share,
        reason: str = "",
        device: str = "",
        from_gateway: bool = False,
    ) -> None:
        reply = Reply(
            command_id=command.id,
            dispatch_id=command.dispatch_id,
            state=state,
            reason=reason,
            shares=shares,
            at_us=clock.to_us(clock.now()),
        )
        await self._send(
            topics.AGENT_REPLY, device or command.device, AgentReply(reply=reply, from_gateway=from_gateway)
        )

    async def sample(self, device: str, asset: str, *, soc_pct: float) -> None:
        """One row of telemetry, as an agent's batch behind the gateway."""
        now_us = clock.to_us(clock.now())
        values = Column(quantity=BY_NAME["soc_pct"].number, values=struct.pack("<d", soc_pct))
        block = Block(asset=asset, ts_us=struct.pack("<q", now_us), columns=[values])
        record = Record(tenant=self.tenant, device=device, received_at_us=now_us, blocks=[block])
        await self.bus.send(
            topics.TELEMETRY, topics.identity(self.tenant, device), record.SerializeToString()
        )

    async def _send(self, topic: str, device: str, message: AgentStatus | AgentReply) -> None:
        message.tenant, message.device = self.tenant, device
        message.received_at_us = clock.to_us(clock.now())
        await self.bus.send(topic, topics.identity(self.tenant, device), message.SerializeToString())

    # --- the api

    async def post(self, body: Any, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, str) else json.dumps(body)
        return await self.http.post(
            f"http://127.0.0.1:{self.port}/internal/dispatch",
            content=content,
            headers={
                "Content-Type": "application/json",
                "X-Tenant": self.tenant,
                "X-User": "user-1",
                "X-Request-Id": "request-1",
            }
            | headers,
        )

    async def dispatch(self, **body: Any) -> dict[str, Any]:
        answer = await self.post(body)
        assert answer.status_code == 200, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    # --- what came of it

    async def sessions(self, only_open: bool = False) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.db.fetch(
            "select * from agent_session where tenant_id = $1 and (not $2 or disconnected_at is null)"
            " order by connected_at",
            self.tenant,
            only_open,
        )
        return rows

    async def row(self, dispatch: dict[str, Any]) -> asyncpg.Record:
        row: asyncpg.Record = await self.db.fetchrow(
            "select * from dispatch where dispatch_id = $1", dispatch["dispatch_id"]
        )
        return row

    async def becomes(self, dispatch: dict[str, Any], state: str) -> asyncpg.Record:
        """The dispatch once it is in this state."""

        async def row() -> asyncpg.Record | None:
            found = await self.row(dispatch)
            return found if found["state"] == state else None

        found = await until(f"the dispatch is {state}", row)
        assert found is not None
        return found

    async def published(self, dispatch: dict[str, Any], count: int = 1) -> list[Command]:
        """The commands of a dispatch once so many have been published."""

        async def enough() -> list[Command]:
            found = [c for c in self.commands if c.dispatch_id == dispatch["dispatch_id"]]
            return found if len(found) >= count else []

        return await until(f"{count} commands are published", enough)


@asynccontextmanager
async def a_rig(database_url: str, kafka_bootstrap: str) -> AsyncIterator[Rig]:
    """A rig whose controller is not started yet."""
    db = await asyncpg.connect(database_url)
    async with producer(kafka_bootstrap, name="test") as bus, httpx2.AsyncClient(timeout=30) as http:
        rig = Rig(database_url, kafka_bootstrap, db, bus, http)
        listening = asyncio.Event()
        collector = asyncio.create_task(_collect(rig, listening))
        try:
            await asyncio.wait_for(listening.wait(), PATIENCE_S)
            yield rig
        finally:
            await rig.kill()
            collector.cancel()
            await db.close()


async def _collect(rig: Rig, listening: asyncio.Event) -> None:
    async with consumer(rig.kafka_bootstrap, [topics.COMMANDS], group=None, from_latest=True) as source:
        for partition in source.assignment():
            await source.position(partition)
        listening.set()
        async for record in source:
            command = Command.FromString(record.value)
            if command.tenant == rig.tenant:
                rig.commands.append(command)
