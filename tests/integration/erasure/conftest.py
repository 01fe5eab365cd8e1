"""A person with everything that can be erased, the doors that the request goes through, and a mail server."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiosmtpd.controller import Controller

from tests.integration.controller_rig import free_port
from tests.integration.erasure_rig import Doors, Post, Sink, doors_of
from tests.integration.erasure_world import Person, a_person


@pytest.fixture
def post() -> Any:
    sink = Sink()
    server = Controller(sink, hostname="127.0.0.1", port=free_port())  # type: ignore[no-untyped-call]
    server.start()  # type: ignore[no-untyped-call]
    yield Post(sink, f"smtp://127.0.0.1:{server.port}")
    server.stop()  # type: ignore[no-untyped-call]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def anna(db: Any, database_url: str) -> Person:
    number = database_url.rpartition("_")[2]
    return await a_person(db, f"tenant-{number}", f"anna{number}")


@pytest.fixture
def environment(role_url: Callable[[str], str], redis_server: str) -> dict[str, str]:
    return {"DATABASE_URL": role_url("provisioning"), "REDIS_URL": redis_server}


@pytest.fixture
async def doors(
    tmp_path: Path, role_url: Callable[[str], str], environment: dict[str, str], anna: Person, post: Post
) -> AsyncIterator[Doors]:
    more = {"SMTP_URL": post.url, "OPS_EMAIL": "ops@example.org"}
    async with doors_of(tmp_path, role_url, {**environment, **more}, anna) as opened:
        yield opened
