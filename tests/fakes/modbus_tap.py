"""Stands between an agent and a Modbus TCP device, and notes each register write when it passes."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

WRITES: Final = {6, 16}
HEADER: Final = struct.Struct(">HHHBB")
"""Transaction, protocol, length of what follows, unit, function."""


@dataclass
class Tap:
    """What was written, in order."""

    port: int = 0
    writes: list[tuple[float, int, bytes]] = field(default_factory=list)
    """(Unix time, first register, what was written)"""
    delay_s: float = 0.0
    """of every request: a slow device"""

    def between(self, first: float, last: float) -> list[tuple[float, int, bytes]]:
        return [write for write in self.writes if first < write[0] < last]


@asynccontextmanager
async def tapped(host: str, port: int) -> AsyncIterator[Tap]:
    """Connect to `tap.port` instead."""
    tap = Tap()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        device, to_device = await asyncio.open_connection(host, port)
        tasks.add(asyncio.create_task(_answers(device, to_agent)))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await agent.readexactly(HEADER.size)
                _, _, length, _, function = HEADER.unpack(head)
                body = await agent.readexactly(length - 2)
                await asyncio.sleep(tap.delay_s)
                if function in WRITES:
                    (register,) = struct.unpack(">H", body[:2])
                    tap.writes.append((time.time(), register, body[2:]))
                to_device.write(head + body)
        to_device.close()
        to_agent.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def _answers(device: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
    while answer := await device.read(4096):
        to_agent.write(answer)
