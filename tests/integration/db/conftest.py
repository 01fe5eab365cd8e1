"""Databases for these tests: a PostgreSQL cluster of their own, and real TimescaleDB as WebAssembly.

A cluster of their own because roles belong to a whole server and these tests change them. `database` runs a
test on both forms; the TimescaleDB one has a single connection, so nothing else may be connected meanwhile.
"""

import asyncio
import fcntl
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from db.files import read_migrations
from db.migrate import run
from db.settings import Settings
from scripts.local.ports import Ports
from scripts.local.stack import Stack

ROOT: Final = Path(__file__).parents[3]
TIMESCALE: Final = ROOT / "tests" / "timescale"
INSTALLED: Final = ROOT / ".local" / "timescale"
_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database."""

    url: str
    form: str
    """plain | timescale"""

    @asynccontextmanager
    async def connect(self, role: str | None = None) -> AsyncIterator[Any]:
        """A connection as the owner, or as one of the services."""
        connection = await asyncpg.connect(self.url, ssl=False, statement_cache_size=0, timeout=20)
        try:
            await connection.execute("reset role; reset all; set search_path = public")
            # asyncpg looks this type up in pg_range, which the WebAssembly build lets only its owner read.
            await connection.fetch("select null::int8multirange")
            if role:
                await connection.execute(f"set role {role}")
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """URL of a server, as its owner, without a database's name."""
    directory = Path(tempfile.mkdtemp(prefix="overwatt-db-", dir="/tmp"))
    directory.chmod(0o755)
    with Stack(directory, Ports.free()) as stack:
        stack.start("postgres")
        yield stack.env()["DATABASE_URL"].rpartition("/")[0]
    stack.remove_data()
    shutil.rmtree(directory)


@pytest.fixture
async def empty_database(cluster: str) -> str:
    """URL of a database with nothing in it."""
    return await create_database(cluster)


@pytest.fixture(scope="session")
def plain_database(cluster: str) -> Database:
    """Migrated, on PostgreSQL without TimescaleDB."""

    async def prepare() -> str:
        url = await create_database(cluster)
        assert await run(Settings(database_url=url), read_migrations()) == 0
        return url

    return Database(asyncio.run(prepare()), "plain")


@contextmanager
def timescale_server() -> Iterator[str]:
    """URL of an empty TimescaleDB 2.23 with community features on PostgreSQL 17."""
    node = shutil.which("node") or pytest.fail("these tests need Node 18 or newer: run `make setup`")
    _install_timescale()
    process = subprocess.Popen(
        [node, TIMESCALE / "server.mjs", INSTALLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port, "the TimescaleDB server did not start, its reason stands above"
        yield f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres?sslmode=disable"


@pytest.fixture(scope="session")
def timescale_database() -> Iterator[Database]:
    """Migrated, on real TimescaleDB."""
    with timescale_server() as url:
        assert asyncio.run(run(Settings(database_url=url), read_migrations())) == 0
        yield Database(url, "timescale")


@pytest.fixture(params=["plain", "timescale"])
def database(request: pytest.FixtureRequest) -> Database:
    """The same test on either form."""
    chosen = request.getfixturevalue(f"{request.param}_database")
    assert isinstance(chosen, Database)
    return chosen


async def create_database(cluster: str) -> str:
    """URL of a new one with nothing in it."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(f"{cluster}/postgres")
    await connection.execute(f"create database {name}")
    await connection.close()
    return f"{cluster}/{name}"


def _install_timescale() -> None:
    wanted = (TIMESCALE / "package-lock.json").read_text()
    stamp = INSTALLED / "installed-lock.json"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "lock").open("w") as lock:
        # Files run side by side: the first one installs, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        for name in ("package.json", "package-lock.json"):
            shutil.copy(TIMESCALE / name, INSTALLED / name)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--prefix", INSTALLED], check=True)
        stamp.write_text(wanted)
