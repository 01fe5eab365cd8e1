"""PostgreSQL: a pool of connections, and its failures told in our words."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import asyncpg.pool

from services.runtime.errors import Unavailable
from services.runtime.log import get_logger

log = get_logger(__name__)

Connection: TypeAlias = "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"
Pool: TypeAlias = "asyncpg.Pool"

PGBOUNCER_PORT: Final = 6432
CONNECT_TIMEOUT_S: Final = 10
GONE: Final = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # A connection whose server was killed between two statements can say this before it knows.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.QueryCanceledError,
)
"""Failures after which the same statement can succeed (SQLSTATE classes 08, 40, 53, 57)."""


def where(url: str) -> str:
    """Host, port and database of a URL: what may stand in a message."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


@asynccontextmanager
async def connect_pool(
    url: str, *, name: str, min_size: int = 1, max_size: int = 8
) -> AsyncIterator[asyncpg.Pool]:
    """A pool; leaves the process with a message that names host and port when nobody answers there.

    Through pgbouncer (port 6432 or PGBOUNCER=1) no statement is cached, since the next transaction may
    run on another server connection (P-013).
    """
    pooled = urlsplit(url).port == PGBOUNCER_PORT or os.environ.get("PGBOUNCER") == "1"
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=60,
            statement_cache_size=0 if pooled else 100,
            server_settings={} if pooled else {"application_name": name},
        )
    except GONE as error:
        raise SystemExit(
            f"Error: cannot reach PostgreSQL at {where(url)} ({error or type(error).__name__}). "
            "Start it, or set DATABASE_URL to where it runs."
        ) from error
    except asyncpg.PostgresError as error:
        raise SystemExit(
            f"Error: PostgreSQL at {where(url)} refused the connection ({error}). "
            "Check user, password and database in DATABASE_URL, and run `make migrate`."
        ) from error
    log.info("Database connection resolved via DATABASE_URL", database=where(url))  # T-051
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), 5)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """One transaction on one connection; raises Unavailable where repeating it can succeed."""
    try:
        async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection, connection.transaction():
            yield connection
    except GONE as error:
        raise Unavailable(f"PostgreSQL: {error or type(error).__name__}") from error


async def is_reachable(pool: asyncpg.Pool) -> None:
    """Readiness: raises Unavailable when a trivial statement does not come back."""
    try:
        async with pool.acquire(timeout=2) as connection:
            await connection.execute("select 1", timeout=2)
    except (*GONE, asyncpg.PostgresError) as error:
        raise Unavailable(f"PostgreSQL does not answer: {error or type(error).__name__}") from error
