"""A service with an HTTP door as a real process, and the database behind it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from overwatt.topics import REGISTRY
from overwatt.v1.registry_pb2 import Device
from services.runtime.bus import consumer
from tests.integration.controller_rig import ROOT, free_port, until

NOBODY_LISTENS: Final = "127.0.0.1:1"


@dataclass
class Service:
    """A running process and a client for its door; nothing is assumed about its answers."""

    process: asyncio.subprocess.Process
    http: httpx2.AsyncClient
    log_file: Path

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """One request."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, json=body, headers=given)

    async def get(self, path: str, **headers: str) -> Any:
        """The JSON of a 200."""
        answer = await self.ask("GET", path, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def is_ready(self) -> bool:
        """200 of /health/ready."""
        return await self.readiness() == (200, "Healthy")

    async def readiness(self) -> tuple[int, str]:
        """Status and text, 0 while nobody listens."""
        assert self.process.returncode is None, f"the service ended: {self.log_file.read_text()}"
        try:
            answer = await self.http.get("/health/ready")
        except httpx2.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    async def end(self, how: Callable[[asyncio.subprocess.Process], None]) -> None:
        """Kill or terminate, and wait."""
        if self.process.returncode is None:
            how(self.process)
            await self.process.wait()


@asynccontextmanager
async def a_service(
    module: str, directory: Path, environment: Mapping[str, str], *, until_ready: bool = True
) -> AsyncIterator[Service]:
    """`python -m services.<module>`, ready unless it is not to be waited for, killed at the end."""
    port = free_port()
    variable = {"api": "API_PORT", "provisioning": "PROVISIONING_PORT"}[module]
    log_file = directory / f"{module}-{port}.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"services.{module}",
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
                "OVERWATT_HOME": str(directory),
                "KAFKA_BOOTSTRAP": NOBODY_LISTENS,
                "ASSETS_PATH": "",
                variable: str(port),
                "HEALTH_PORT": "0",
                **environment,
            },
            stdout=log,
            stderr=log,
        )
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        service = Service(process, http, log_file)
        try:
            if until_ready:
                await until(f"{module} is ready", service.is_ready)
            yield service
        finally:
            await service.end(asyncio.subprocess.Process.kill)


async def registry_of(bootstrap: str, tenant: str) -> dict[str, Device]:
    """What the registry topic says about a tenant's devices now."""
    found: dict[str, Device] = {}
    async with consumer(bootstrap, [REGISTRY], group=None) as source:
        partitions = source.assignment()
        ends = await source.end_offsets(partitions)
        while any([await source.position(each) < ends[each] for each in partitions]):
            for batch in (await source.getmany(timeout_ms=200)).values():
                for record in batch:
                    if record.value is None:  # purged
                        found.pop(record.key.decode().partition("/")[2], None)
                        continue
                    device = Device.FromString(record.value)
                    if device.tenant == tenant:
                        found[device.device] = device
    return found
