"""Apply the migrations: `python -m db.migrate`, or `--pending` to list what is missing (exit code 3).

Files go in sorted order, each in one transaction together with its row in schema_migrations, so a failed
file leaves nothing behind and can be tried again. A file that the server cannot run is recorded as skipped
with the reason, and applied once the server has learned it.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg
from pydantic import ValidationError

from db.files import BadMigration, Migration, read_migrations
from db.passwords import set_passwords
from db.settings import Settings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CAPABILITIES: Final = (Path(__file__).parent / "capabilities.sql").read_text()
EXIT_FAILED: Final = 1
EXIT_PENDING: Final = 3

CREATE_TABLE: Final = """
create table if not exists schema_migrations (
  name text primary key,
  checksum text not null,
  applied_at timestamptz not null default now(),
  skipped_reason text
);
grant select on schema_migrations to public"""

RECORD: Final = """
insert into schema_migrations (name, checksum, skipped_reason) values ($1, $2, $3)
on conflict (name) do update
  set checksum = excluded.checksum, applied_at = now(), skipped_reason = excluded.skipped_reason"""

RESET: Final = """
drop extension if exists timescaledb cascade;
drop schema if exists monitoring, fleet cascade;
drop schema public cascade;
create schema public;
grant usage on schema public to public"""


class MigrationFailed(Exception):
    """A file could not be applied; nothing of it stays."""


async def migrate(connection: Connection, migrations: Sequence[Migration]) -> int:
    """Apply what is pending, one runner at a time; answers how many files were applied."""
    await connection.execute("select pg_advisory_lock(hashtext('overwatt.migrate'))")
    try:
        await connection.execute(CREATE_TABLE)
        applied = 0
        for migration in migrations:
            applied += await _consider(connection, migration)
        # A restored database has its tables and files, but not always its policies (T-084).
        if await connection.fetchval("select to_regprocedure('public.ensure_telemetry_policies()')"):
            made = await connection.fetchval("select public.ensure_telemetry_policies()")
            if made:
                print(f"Made {made} policies of telemetry", flush=True)
        return applied
    finally:
        await connection.execute("select pg_advisory_unlock(hashtext('overwatt.migrate'))")


async def pending(connection: Connection, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Names of the files that this database lacks and its server can run."""
    known = await _known(connection)
    able = await _capabilities(connection)
    return [
        migration.name
        for migration in (read_migrations() if migrations is None else migrations)
        if _is_pending(migration, known, able) and _can_run(migration, able)
    ]


async def _consider(connection: Connection, migration: Migration) -> bool:
    known = await _known(connection)
    able = await _capabilities(connection)
    row = known.get(migration.name)
    if row and row["skipped_reason"] is None and row["checksum"] != migration.checksum:
        raise MigrationFailed(
            f"{migration.name} was changed after it was applied: restore its text and put the change into "
            "a new migration (in development: DB_RESET=1 starts again from an empty database)"
        )
    if not _is_pending(migration, known, able):
        return False
    if not _can_run(migration, able):
        reason = f"requires {migration.requires}, the server has {', '.join(sorted(able))}"
        if row is None:
            print(f"Skipping {migration.name}: {reason}", flush=True)
            await connection.execute(RECORD, migration.name, migration.checksum, reason)
        return False
    await _apply(connection, migration)
    return True


async def _apply(connection: Connection, migration: Migration) -> None:
    print(f"Applying {migration.name}...", flush=True)
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(RECORD, migration.name, migration.checksum, None)
    except asyncpg.PostgresError as error:
        detail = f" ({error.detail})" if error.detail else ""
        raise MigrationFailed(f"{migration.name} failed and left nothing behind: {error}{detail}") from error
    print(f"Applied migration '{migration.name}'", flush=True)


def _is_pending(migration: Migration, known: dict[str, asyncpg.Record], able: frozenset[str]) -> bool:
    row = known.get(migration.name)
    return row is None or (row["skipped_reason"] is not None and _can_run(migration, able))


def _can_run(migration: Migration, able: frozenset[str]) -> bool:
    return migration.requires is None or migration.requires in able


async def _known(connection: Connection) -> dict[str, asyncpg.Record]:
    if await connection.fetchval("select to_regclass('public.schema_migrations')") is None:
        return {}
    rows = await connection.fetch("select name, checksum, skipped_reason from public.schema_migrations")
    return {row["name"]: row for row in rows}


async def _capabilities(connection: Connection) -> frozenset[str]:
    return frozenset(row["capability"] for row in await connection.fetch(CAPABILITIES))


async def _connect(url: str) -> Connection:
    connection = await asyncpg.connect(url, statement_cache_size=0)
    connection.add_log_listener(_print_information)
    return connection


def _print_information(_: object, message: asyncpg.PostgresLogMessage) -> None:
    # INFO is what migrations say on purpose; NOTICE is the "already exists" of idempotent statements.
    if message.severity_en == "INFO":
        print(f"  {message.message}", flush=True)


async def run(settings: Settings, migrations: Sequence[Migration], *, list_pending: bool = False) -> int:
    """The command; answers its exit code."""
    if settings.db_reset and not list_pending:
        connection = await _connect(settings.database_url)
        await connection.execute(RESET)
        await connection.close()
        print("Emptied the database (DB_RESET)", flush=True)
    connection = await _connect(settings.database_url)
    try:
        if list_pending:
            missing = await pending(connection, migrations)
            print("\n".join(f"Pending {name}" for name in missing) or "Nothing is pending", flush=True)
            return EXIT_PENDING if missing else 0
        if not await migrate(connection, migrations):
            print("Nothing to apply", flush=True)
        await set_passwords(connection, settings.service_password)
        return 0
    finally:
        await connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the environment, run, say in one line what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m db.migrate", description=__doc__)
    parser.add_argument(
        "--pending", action="store_true", help="list what is missing; exit code 3 if anything is"
    )
    options = parser.parse_args(arguments)
    try:
        return asyncio.run(run(Settings(), read_migrations(), list_pending=options.pending))
    except ValidationError as error:
        problem = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
    except (MigrationFailed, BadMigration) as error:
        problem = str(error)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        problem = f"cannot use the database at {_address()}: {error or type(error).__name__}"
    print(f"migrate: {problem}", file=sys.stderr, flush=True)
    return EXIT_FAILED


def _address() -> str:
    """Host and port without the password."""
    return Settings().database_url.rpartition("@")[2] or "DATABASE_URL"


if __name__ == "__main__":
    sys.exit(main())
