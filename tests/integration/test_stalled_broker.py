"""A command whose bytes a broker does not take is dropped with its connection: it must not go out later."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from services.ingest.source import MqttSource, connected
from services.runtime.errors import Unavailable
from tests.fakes.agent_cloud import until

CONNACK = b"\x20\x03\x00\x00\x00"
COMMAND = b"this-command-is-of-an-old-mode"


@dataclass
class Stalled:
    """Takes a CONNECT, then reads nothing until it is told to."""

    port: int = 0
    thaws: asyncio.Event = field(default_factory=asyncio.Event)
    read: list[bytes] = field(default_factory=list)
    """all that came over each connection that has ended"""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = bytearray(await reader.read(1024))
        writer.write(CONNACK)
        await self.thaws.wait()
        while more := await reader.read(1 << 20):
            got += more
        self.read.append(bytes(got))
        writer.close()


@pytest.fixture
async def broker() -> AsyncIterator[Stalled]:
    stalled = Stalled()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # soon full
    listener.bind(("127.0.0.1", 0))
    stalled.port = listener.getsockname()[1]
    server = await asyncio.start_server(stalled.serve, sock=listener, limit=4096)
    yield stalled
    stalled.thaws.set()
    server.close()


async def test_a_command_that_is_not_on_the_socket_in_time_never_gets_there(broker: Stalled) -> None:
    source = MqttSource(client_id="svc-ingest-0", host="127.0.0.1", port=broker.port, receive_maximum=100)
    async with connected(source):
        await until(lambda: source.is_connected)
        for _ in range(1_000):  # more than the buffers of both ends hold
            source.publish("devices/t/d/ack", bytes(16_384))

        with pytest.raises(Unavailable, match="not on the socket"):
            await source.publish_now("devices/t/d/cmd", COMMAND, content_type="", expiry_s=5, within_s=1.0)
        broker.thaws.set()

        await until(lambda: broker.read, what="the connection has ended")
        await until(lambda: source.is_connected, what="it has come back")
    await until(lambda: len(broker.read) > 1)
    assert sum(map(len, broker.read)) > 100_000
    assert not any(COMMAND in read for read in broker.read)
