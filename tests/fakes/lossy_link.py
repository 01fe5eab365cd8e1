"""A link to a broker that loses chosen MQTT messages while the connection stands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

PUBLISH: Final = 3
PUBACK: Final = 0x40


class LossyLink:
    """Passes everything on, but drops what the broker publishes on the channels in `drops`.

    The broker gets its PUBACK all the same, so for it the message has arrived.
    """

    def __init__(self, broker: tuple[str, int]) -> None:
        self.address = ("127.0.0.1", 0)
        self.drops: set[str] = set()
        self.dropped = 0
        self._broker = broker

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end closes it."""
        from_broker, to_broker = await asyncio.open_connection(*self._broker)
        both = [
            asyncio.create_task(self._up(reader, to_broker)),
            asyncio.create_task(self._down(from_broker, writer, to_broker)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            writer.close()
            to_broker.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head, body = await _packet(reader)
                if head[0] >> 4 == PUBLISH and _channel(body) in self.drops:
                    self.dropped += 1
                    if head[0] & 0x06:  # QoS 1
                        back.write(bytes((PUBACK, 2)) + _packet_id(body))
                    continue
                writer.write(head + body)
                await writer.drain()


async def _packet(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Fixed header and the rest."""
    head, size, shift = await reader.readexactly(1), 0, 0
    while True:
        digit = await reader.readexactly(1)
        head += digit
        size |= (digit[0] & 0x7F) << shift
        shift += 7
        if digit[0] < 0x80:
            return head, await reader.readexactly(size)


def _channel(body: bytes) -> str:
    return body[2 : 2 + int.from_bytes(body[:2])].decode().rpartition("/")[2]


def _packet_id(body: bytes) -> bytes:
    start = 2 + int.from_bytes(body[:2])
    return body[start : start + 2]


@asynccontextmanager
async def lossy_link(broker: tuple[str, int]) -> AsyncIterator[LossyLink]:
    """Listens on a port of its own."""
    link = LossyLink(broker)
    server = await asyncio.start_server(link.carry, "127.0.0.1", 0)
    link.address = server.sockets[0].getsockname()
    yield link
    server.close()
