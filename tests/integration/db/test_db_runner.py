"""`python -m db.migrate` on real PostgreSQL."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from db.files import DIRECTORY, Migration, migration, read_migrations
from db.migrate import MigrationFailed, migrate, pending, run
from db.settings import Settings
from tests.integration.db.conftest import ROOT, Database

TABLE = migration("000_a.sql", "create table if not exists a (x int);")


async def _migrate(url: str, migrations: Sequence[Migration]) -> int:
    connection = await asyncpg.connect(url)
    try:
        return await migrate(connection, migrations)
    finally:
        await connection.close()


def _command(url: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "db.migrate", *arguments],
        env={"DATABASE_URL": url, "PYTHONPATH": f"{ROOT}:{ROOT}/proto", **environment},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def _psql(url: str, name: str) -> None:
    command = ["psql", url, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(DIRECTORY / name)]
    subprocess.run(command, check=True, capture_output=True)


def _schema(url: str) -> list[str]:
    dump = subprocess.run(
        ["pg_dump", "--schema-only", url], check=True, capture_output=True, text=True
    ).stdout
    # Newer patch releases write a random word around their dump.
    return [line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


async def test_each_pending_migration_is_announced_once_and_never_again(empty_database: str) -> None:
    # P-011, T-052
    first = _command(empty_database)
    second = _command(empty_database)

    applied = [each.name for each in read_migrations() if each.requires in (None, "plain")]
    assert [line for line in first.stdout.splitlines() if line.startswith("Applied")] == [
        f"Applied migration '{name}'" for name in applied
    ]
    assert [line for line in first.stdout.splitlines() if line.startswith("Applying")] == [
        f"Applying {name}..." for name in applied
    ]
    assert second.stdout == "Nothing to apply\n"
    assert (first.returncode, second.returncode) == (0, 0)


async def test_what_the_server_cannot_run_is_skipped_with_a_line_and_a_row(empty_database: str) -> None:
    # X24
    output = _command(empty_database).stdout

    reason = "requires timescaledb-tsl, the server has plain"
    assert f"Skipping 009_telemetry_timescaledb.sql: {reason}\n" in output
    connection = await asyncpg.connect(empty_database)
    row = await connection.fetchrow(
        "select * from schema_migrations where name = '009_telemetry_timescaledb.sql'"
    )
    await connection.close()
    assert row
    assert row["skipped_reason"] == reason


async def test_every_file_runs_alone_with_psql_and_twice_without_a_difference(empty_database: str) -> None:
    # P-009, P-010
    runnable = [each.name for each in read_migrations() if each.requires in (None, "plain")]

    schemas = []
    for _ in range(2):
        for name in runnable:
            _psql(empty_database, name)
        schemas.append(_schema(empty_database))

    assert schemas[0] == schemas[1]
    assert any("CREATE VIEW public.v_telemetry" in line for line in schemas[0])


async def test_the_runner_takes_over_a_database_that_psql_migrated(empty_database: str) -> None:
    # P-010, T-037
    for each in read_migrations():
        if each.requires in (None, "plain"):
            _psql(empty_database, each.name)

    assert _command(empty_database).returncode == 0


async def test_a_failed_migration_leaves_no_row_and_nothing_of_itself(empty_database: str) -> None:
    # T-038
    broken = migration("001_b.sql", "create table b (x int); insert into nowhere values (1);")

    with pytest.raises(MigrationFailed, match=r'001_b.sql failed .* relation "nowhere" does not exist'):
        await _migrate(empty_database, [TABLE, broken])

    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("select array_agg(name) from schema_migrations") == ["000_a.sql"]
    assert await connection.fetchval("select to_regclass('b')") is None
    await connection.close()
    fixed = migration("001_b.sql", "create table b (x int);")
    assert await _migrate(empty_database, [TABLE, fixed]) == 1


async def test_a_file_that_was_changed_after_it_was_applied_is_an_error_that_says_what_to_do(
    empty_database: str,
) -> None:
    await _migrate(empty_database, [TABLE])

    changed = migration("000_a.sql", "create table if not exists a (y int);")
    with pytest.raises(
        MigrationFailed, match=r"000_a\.sql was changed after it was applied: restore its text"
    ):
        await _migrate(empty_database, [changed])


async def test_a_skipped_file_is_applied_once_the_server_has_learned_what_it_needs(
    empty_database: str,
) -> None:
    # The same file asks for something that this server has.
    later = migration("000_a.sql", f"-- requires: timescaledb\n{TABLE.sql}")
    assert await _migrate(empty_database, [later]) == 0

    learned = migration("000_a.sql", f"-- requires: plain\n{TABLE.sql}")
    connection = await asyncpg.connect(empty_database)
    assert await pending(connection, [learned]) == ["000_a.sql"]
    await connection.close()
    assert await _migrate(empty_database, [learned]) == 1


async def test_pending_lists_what_is_missing_and_exits_3(empty_database: str) -> None:
    # P-022, X15
    before = _command(empty_database, "--pending")
    _command(empty_database)
    after = _command(empty_database, "--pending")

    assert before.returncode == 3
    assert "Pending 000_roles.sql" in before.stdout
    assert "009_telemetry_timescaledb.sql" not in before.stdout
    assert (after.returncode, after.stdout) == (0, "Nothing is pending\n")


async def test_two_runners_at_once_apply_each_file_once(empty_database: str) -> None:
    counts = await asyncio.gather(*(_migrate(empty_database, read_migrations()) for _ in range(3)))

    assert sorted(counts)[:2] == [0, 0]
    assert max(counts) > 0


async def test_a_reset_empties_the_database(empty_database: str) -> None:
    # D-006
    _command(empty_database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("insert into tenant (tenant_id, name) values ('t', 't')")
    await connection.close()

    assert _command(empty_database, DB_RESET="1").returncode == 0

    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("select count(*) from tenant") == 0
    await connection.close()


async def test_a_reset_in_production_is_refused_and_changes_nothing(plain_database: Database) -> None:
    # D-006
    refused = _command(
        plain_database.url, DB_RESET="1", ENVIRONMENT="production", SERVICE_PASSWORD="long-random"
    )

    assert refused.returncode == 1
    assert refused.stderr == (
        "migrate: DB_RESET=1 empties the database, refused with ENVIRONMENT=production: unset it\n"
    )


async def test_services_log_in_with_the_password_that_the_runner_was_given(empty_database: str) -> None:
    assert await run(Settings(database_url=empty_database, service_password="first"), read_migrations()) == 0
    assert (
        await run(Settings(database_url=empty_database, service_password="iot_dev"), read_migrations()) == 0
    )

    address = empty_database.rpartition("@")[2]
    connection = await asyncpg.connect(f"postgres://ingest:iot_dev@{address}")  # D-041: either scheme
    assert await connection.fetchval("select current_user") == "ingest"
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://ingest:first@{address}")


def test_an_unreachable_database_is_named_without_its_password() -> None:
    failed = _command("postgresql://iot:hush@127.0.0.1:1/iotcloud")

    assert failed.returncode == 1
    assert "127.0.0.1:1/iotcloud" in failed.stderr
    assert "hush" not in failed.stderr


async def test_no_service_may_change_the_schema(plain_database: Database) -> None:
    # H-027
    async with plain_database.connect() as connection:
        roles: list[Any] = await connection.fetch(
            "select rolname, rolsuper, rolbypassrls, rolcreaterole,"
            " has_schema_privilege(oid, 'public', 'create') as may_create from pg_roles where rolname in"
            " ('ingest', 'controller', 'escalation', 'provisioning', 'api', 'telemetry_reader', 'auditor')"
        )

    assert len(roles) == 7
    assert not [role for role in roles if any(list(role.values())[1:])]
