"""A TCP proxy between two parts that can be spoiled: what a network does on a bad day."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from scripts.local.ports import HOST

CHUNK: Final = 65_536
LATENCY_S: Final = 0.5


class Trouble(StrEnum):
    """What is wrong with a link."""

    SEVERED = "severed"
    """connections are reset, new ones too"""
    LATE = "late"
    """half a second more on each read, in both directions"""
    TRICKLE = "trickle"
    """one byte a second"""
    HALF_OPEN = "half-open"
    """nothing passes, nobody is told; afterwards it goes on"""
    DEAF = "deaf"
    """answers (acknowledgements among them) vanish while the connection stands; then it is reset"""


class Link:
    """Listens on one port and passes bytes on to another."""

    def __init__(self, port: int, target: int) -> None:
        self._port = port
        self._target = target
        self._trouble: Trouble | None = None
        self._healed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Link":
        self._server = await asyncio.start_server(self._accept, HOST, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._reset()

    @contextmanager
    def spoiled(self, trouble: Trouble) -> Iterator[None]:
        """As long as the block runs."""
        self._trouble = trouble
        self._healed.clear()
        if trouble is Trouble.SEVERED:
            self._reset()
        try:
            yield
        finally:
            self._trouble = None
            self._healed.set()
            if trouble is Trouble.DEAF:
                self._reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            await self._hold()
            if self._trouble is Trouble.SEVERED:
                return
            upstream, out = await asyncio.open_connection(HOST, self._target)
            self._writers.add(out)
            try:
                await asyncio.gather(
                    self._pump(reader, out, is_answer=False), self._pump(upstream, writer, is_answer=True)
                )
            finally:
                self._drop(out)
        except (OSError, asyncio.CancelledError):
            pass  # one end is gone: the other end is reset
        finally:
            self._drop(writer)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while data := await source.read(CHUNK):
            while self._trouble is Trouble.TRICKLE and len(data) > 1:
                sink.write(data[:1])
                data = data[1:]
                await self._until_healed(1.0)
            if self._trouble is Trouble.LATE:
                await self._until_healed(LATENCY_S)
            await self._hold()
            if self._trouble is Trouble.DEAF and is_answer:
                continue
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError

    async def _hold(self) -> None:
        if self._trouble is Trouble.HALF_OPEN:
            await self._healed.wait()

    async def _until_healed(self, most_s: float) -> None:
        try:
            await asyncio.wait_for(self._healed.wait(), most_s)
        except TimeoutError:
            return

    def _reset(self) -> None:
        for writer in list(self._writers):
            self._drop(writer)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()
