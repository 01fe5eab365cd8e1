"""The spoilable link: what each trouble does to bytes on a real socket, and that it heals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scripts.chaos import links
from scripts.chaos.links import Link, Trouble
from scripts.local.ports import HOST, free_ports


@asynccontextmanager
async def an_echo() -> AsyncIterator[tuple[Link, int]]:
    """A link to a server that says everything back, and the link's port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            writer.write(data)
        writer.close()

    port, target = free_ports(2)
    async with await asyncio.start_server(echo, HOST, target):
        async with Link(port, target) as link:
            yield link, port


async def said_back(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(text)
        return await reader.readexactly(len(text))
    finally:
        writer.transport.abort()


async def test_a_sound_link_passes_everything_on() -> None:
    async with an_echo() as (_, port):
        assert await said_back(port, b"x" * 300_000) == b"x" * 300_000


async def test_a_severed_link_resets_old_and_new_connections_until_it_is_mended() -> None:
    async with an_echo() as (link, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"

        with link.spoiled(Trouble.SEVERED):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await said_back(port, b"b")

        assert await said_back(port, b"c") == b"c"


@pytest.mark.parametrize("trouble", [Trouble.HALF_OPEN, Trouble.TRICKLE])
async def test_what_is_held_back_comes_whole_once_the_link_is_mended(trouble: Trouble) -> None:
    async with an_echo() as (link, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"0")
        assert await reader.readexactly(1) == b"0"

        with link.spoiled(trouble):
            writer.write(b"held back")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(9), 0.3)
        reader_rest = await asyncio.wait_for(reader.read(9), 5)
        while len(reader_rest) < 9:
            reader_rest += await asyncio.wait_for(reader.read(9), 5)

        assert b"held back".endswith(reader_rest[-4:])
        writer.transport.abort()


async def test_a_late_link_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "LATENCY_S", 0.2)
    async with an_echo() as (link, port):
        with link.spoiled(Trouble.LATE):
            began = asyncio.get_running_loop().time()
            assert await said_back(port, b"there and back") == b"there and back"
            assert asyncio.get_running_loop().time() - began >= 0.4


async def test_a_deaf_link_loses_answers_while_the_connection_stands() -> None:
    async with an_echo() as (link, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        with link.spoiled(Trouble.DEAF):
            writer.write(b"nobody hears the answer")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.3)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert await said_back(port, b"well again") == b"well again"
