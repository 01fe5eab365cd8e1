"""One tenant's view of the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from db.files import Migration
from db.migrate import pending
from services.runtime.errors import Unavailable
from services.runtime.postgres import GONE, Connection, Pool, transaction

# For this transaction only, so that it holds behind pgbouncer; the first is SET LOCAL ROLE api.
BECOME: Final = """
select set_config('role', 'api', true), set_config('app.tenant', $1, true),
  set_config('statement_timeout', '15s', true)"""


@asynccontextmanager
async def tenant_transaction(pool: Pool, tenant: str) -> AsyncIterator[Connection]:
    """A transaction that sees and writes this tenant's rows and no others. Raises Unavailable."""
    try:
        async with transaction(pool) as db:
            await db.execute(BECOME, tenant)
            yield db
    except (
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedColumnError,
        asyncpg.UndefinedFunctionError,
    ) as error:
        raise Unavailable(f"the database lacks a migration: {error}") from error


async def is_migrated(pool: Pool, migrations: tuple[Migration, ...]) -> None:
    """Readiness: raises Unavailable that names the first missing migration (P-022)."""
    try:
        async with pool.acquire(timeout=2) as connection:
            missing = await pending(connection, migrations)  # type: ignore[arg-type]
    except (*GONE, asyncpg.PostgresError) as error:
        raise Unavailable(f"PostgreSQL does not answer: {error or type(error).__name__}") from error
    if missing:
        raise Unavailable(f"migration {missing[0]} is missing ({len(missing)} in all): run `make migrate`")
