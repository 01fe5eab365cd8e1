"""A platform made to suffer: real parts, spoilable links between them, small disks, devices of all kinds."""

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg

from scripts import device
from scripts.chaos import bad, ledger, simple
from scripts.chaos.agents import Agent, write_assets
from scripts.chaos.bad import Bad
from scripts.chaos.ear import Ear
from scripts.chaos.links import Link
from scripts.chaos.plan import SERVICES
from scripts.local import process
from scripts.local.ports import HOST, Ports, free_ports
from scripts.local.stack import COMPONENTS, Stack

QUEUE: Final = 500
"""Messages that the gateway takes, and as many again that the broker keeps: so few that it overflows."""
SETTINGS: Final = {
    "INGEST_QUEUE_SIZE": str(QUEUE),
    "MQTT_MOST_QUEUED": str(QUEUE),
    "TIMESCALE_FLUSH_INTERVAL_MS": "250",
    "ROLLUP_INTERVAL_S": "5",
    "LOG_LEVEL": "warning",
}
ADMIN_KEY: Final = "change-me-now"
PATIENCE_S: Final = 90.0
COMING_BACK: Final = (
    asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
)  # fmt: skip


@dataclass
class World:
    """All that faults act on."""

    home: Path
    stack: Stack
    links: Mapping[str, Link]
    disks: Mapping[str, Path]
    agents: list[Agent]
    simples: list[simple.Simple]
    bad: Bad
    ear: Ear
    device_port: int

    def pids(self, part: str) -> list[int]:
        """Of a part with all that it has started; agents are one part."""
        roots = (
            [agent.running.pid for agent in self.agents if agent.running and agent.running.is_alive]
            if part == "agent"
            else [pid for pid in [self.stack.pid(part)] if pid]
        )
        return [*roots, *(each.pid for root in roots for each in process.descendants(root))]

    async def kill(self, part: str) -> None:
        """kill -9."""
        await whole(self.stack.kill_part, part, signal.SIGKILL)

    async def revive(self, part: str) -> None:
        """Start it if it does not run. A service is not waited for: what it needs may be hurt just now."""
        await whole(self.stack.start if part in COMPONENTS else self.stack.launch, part)

    @asynccontextmanager
    async def stopped(self, pids: Callable[[], list[int]]) -> AsyncIterator[None]:
        """These stand still as long as the block runs."""
        frozen = pids()
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in frozen:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def database(self) -> "AsyncIterator[asyncpg.Connection[Any]]":
        """A connection of its owner that no link spoils."""
        connection = await asyncpg.connect(self.stack.env()["DATABASE_URL"], timeout=30)
        try:
            yield connection
        finally:
            await connection.close(timeout=10)

    async def rows(self, query: str, *arguments: Any) -> list[Any]:
        """Of a query, also from a database that is just coming back."""
        return list(await self._patiently(lambda db: db.fetch(query, *arguments)))

    async def execute(self, statements: str) -> None:
        """The same without rows."""
        await self._patiently(lambda db: db.execute(statements))

    async def _patiently(self, ask: "Callable[[asyncpg.Connection[Any]], Awaitable[Any]]") -> Any:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                async with self.database() as db:
                    return await ask(db)
            except (OSError, TimeoutError, *COMING_BACK):
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.5)

    def metric(self, port: int, name: str) -> float | None:
        """Sum over all labels of a service's metric."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=1) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return None
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)


@asynccontextmanager
async def a_world(
    home: Path, disks: Mapping[str, Path], *, agents: int, seed: int, say: Callable[[str], None]
) -> AsyncIterator[World]:
    """Everything runs, and each device has been registered; all of it ends on leaving."""
    ports = Ports.free()
    postgres, kafka, gateway, devices = free_ports(4)
    links = {
        "services-postgres": Link(postgres, ports.postgres),
        "services-kafka": Link(kafka, ports.kafka),
        "gateway-broker": Link(gateway, ports.mqtt_tls),
        "agents-broker": Link(devices, ports.mosquitto),
    }
    assets = home / "assets.yaml"
    write_assets(assets, agents, seed)
    stack = Stack(
        home,
        ports,
        service_environment={**SETTINGS, "ASSETS_PATH": str(assets)},
        say=say,
        reached=replace(ports, postgres=postgres, kafka=kafka, mqtt_tls=gateway),
    )
    spools = home / "spools"
    spools.mkdir(exist_ok=True)
    async with AsyncExitStack() as on_exit:
        stack.acquire()
        on_exit.push_async_callback(asyncio.to_thread, stack.release)
        for link in links.values():
            await on_exit.enter_async_context(link)
        on_exit.push_async_callback(asyncio.to_thread, stack.stop)
        await whole(_start, stack)
        boxes = [
            Agent(stack, f"site-{n}", assets, spools / f"site-{n}.sqlite", devices)
            for n in range(1, agents + 1)
        ]
        for box in boxes:
            ledger.arm(box.spool)
            box.start()
            on_exit.push_async_callback(box.end)
        talkers = [simple.Simple(devices, name) for name in simple.DEVICES if name != simple.FLOOD]
        world = World(home, stack, links, disks, boxes, talkers, Bad(devices), Ear(ports.mosquitto), devices)
        closers: list[Callable[[], None]] = [
            world.bad.close,
            world.ear.close,
            *(each.close for each in talkers),
        ]
        for close in closers:
            on_exit.callback(close)
        yield world


def _start(stack: Stack) -> None:
    stack.start("kafka", "postgres", "mosquitto")
    stack.sql("alter system set track_commit_timestamp = on", "postgres")
    stack.restart("postgres")
    stack.migrate()
    stack.start("provisioning", *(name for name in SERVICES if name.startswith("ingest-")))
    url = f"{stack.env()['PROVISIONING_URL']}/api/admin"
    for name in (*simple.DEVICES, *bad.DEVICES):
        device.post(f"{url}/devices", {"tenant_id": simple.TENANT, "device_id": name}, ADMIN_KEY)


async def whole(work: Callable[..., None], *arguments: Any) -> None:
    """In a thread; who is cancelled meanwhile waits for its end, so that nothing starts behind a stop."""
    task = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def as_json(value: Any) -> str:
    """For files that people read, too."""
    return json.dumps(value, indent=2, default=str) + "\n"
