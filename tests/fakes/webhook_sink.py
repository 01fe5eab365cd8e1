"""A receiver of webhooks: remembers every request, and answers as it was told to, 204 by default."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook

HANG = "hang"
"""Take the request and never answer."""
DRIP = "drip"
"""Answer 200 with a body that never ends, a byte at a time."""
FLOOD = "flood"
"""Answer 200 with a body that never ends, as fast as it is taken."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    target: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Any:
        """The body, if the signature is right; raises otherwise. The library is the independent judge."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Sink:
    """`answers` are used up one by one: a status, a raw answer to send, HANG, DRIP or FLOOD."""

    host: str = "127.0.0.1"
    port: int = 0
    answers: list[int | str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}/hook"

    async def wait(self, what: Callable[[list[Received]], bool], timeout_s: float = 60) -> list[Received]:
        """Until what was received satisfies a condition."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: what(self.received))
        return self.received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            self.received.append(await _request(reader))
            answer = self.answers.pop(0) if self.answers else 204
            async with self._changed:
                self._changed.notify_all()
            await _answer(answer, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split()[1], headers, body)


async def _answer(answer: int | str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if answer == HANG:
        await reader.read()
    elif answer in (DRIP, FLOOD):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"x" * (1 if answer == DRIP else 65_536))
            await writer.drain()
            await asyncio.sleep(0.01 if answer == DRIP else 0)
    else:
        raw = answer if isinstance(answer, str) else f"HTTP/1.1 {answer} Told\r\ncontent-length: 0\r\n\r\n"
        writer.write(raw.encode())
        await writer.drain()


@asynccontextmanager
async def webhook_sink(*answers: int | str, host: str = "127.0.0.1") -> AsyncIterator[Sink]:
    """A sink on a free loopback port."""
    sink = Sink(host=host, answers=list(answers))
    server = await asyncio.start_server(sink.serve, host, 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
