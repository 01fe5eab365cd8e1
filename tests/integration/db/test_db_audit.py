"""The sealed audit log (X21, P-057)."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from db.files import read_migrations
from db.migrate import run
from db.settings import Settings
from tests.integration.db.conftest import Database

RUNBOOK = (
    "insert into admin_audit (actor, action, target_type, target_id, detail, result)"
    " values ('operator', $1, 'user', 'user-1', '{\"boxes\": [\"box-1\"]}', 'ok')"
)


@pytest.fixture
async def audited(empty_database: str) -> AsyncIterator[Any]:
    """An owner's connection to a database of its own with three sealed rows."""
    assert await run(Settings(database_url=empty_database), read_migrations()) == 0
    connection = await asyncpg.connect(empty_database)
    for action in ("first", "second", "third"):
        await connection.execute(RUNBOOK, action)
    await connection.execute("select * from audit_seal()")
    yield connection
    await connection.close()


async def _broken(connection: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch("select seq, reason from audit_verify()")]


async def test_the_runbooks_statement_writes_a_row_that_reads_back(audited: Any) -> None:
    # H-023
    row = await audited.fetchrow(
        "select actor, action, result, detail::text from admin_audit where action = 'first'"
    )

    assert tuple(row) == ("operator", "first", "ok", '{"boxes": ["box-1"]}')


async def test_a_seal_chains_what_is_committed_and_answers_count_and_head(audited: Any) -> None:
    await audited.execute(RUNBOOK, "fourth")

    sealed, count, head = await audited.fetchrow("select * from audit_seal(10)")

    rows = await audited.fetch("select position, prev_hash, hash from admin_audit_log order by position")
    assert (sealed, count, head) == (1, 4, rows[-1]["hash"])
    assert [row["position"] for row in rows] == [1, 2, 3, 4]
    assert [row["prev_hash"] for row in rows] == [b"", *(row["hash"] for row in rows[:-1])]
    assert await _broken(audited) == []


async def test_a_seal_takes_no_more_than_its_limit(audited: Any) -> None:
    for action in ("a", "b", "c"):
        await audited.execute(RUNBOOK, action)

    assert [(await audited.fetchrow("select * from audit_seal(2)"))["sealed"] for _ in range(3)] == [2, 1, 0]
    assert await _broken(audited) == []


async def test_a_row_that_commits_late_is_sealed_late_and_the_chain_holds(
    audited: Any, empty_database: str
) -> None:
    slow = await asyncpg.connect(empty_database)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(RUNBOOK, "slow")
    await audited.execute(RUNBOOK, "quick")
    await audited.execute("select * from audit_seal()")
    await transaction.commit()
    await slow.close()

    await audited.execute("select * from audit_seal()")

    order = await audited.fetch("select action from admin_audit_log order by position offset 3")
    assert [row["action"] for row in order] == ["quick", "slow"]
    assert await _broken(audited) == []


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        (
            "update admin_audit_log set actor = 'somebody' where seq = 2",
            (2, "its content does not match its hash"),
        ),
        (
            "update admin_audit_log set at = at + interval '1 us' where seq = 1",
            (1, "its content does not match its hash"),
        ),
        ("delete from admin_audit_log where seq = 2", (3, "1 sealed row(s) before it are missing")),
        (
            "update admin_audit_log set prev_hash = hash where seq = 3",
            (3, "its prev_hash is not the hash of the row before it"),
        ),
    ],
)
async def test_what_was_changed_behind_the_triggers_back_is_found(
    audited: Any, damage: str, broken: tuple[int, str]
) -> None:
    await audited.execute("alter table admin_audit_log disable trigger all")
    await audited.execute(damage)

    assert await _broken(audited) == [broken]


@pytest.mark.parametrize(
    "statement",
    [
        "update admin_audit_log set actor = 'somebody'",
        "update admin_audit_log set hash = 'x', prev_hash = 'y', position = 9",
        "delete from admin_audit_log",
        "truncate admin_audit_log",
    ],
)
async def test_nobody_changes_or_removes_a_row_not_even_the_owner(audited: Any, statement: str) -> None:
    # P-057
    await audited.execute(RUNBOOK, "unsealed")

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await audited.execute(statement)
    for role in ("api", "ingest", "controller", "escalation", "provisioning"):
        await audited.execute(f"set role {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await audited.execute(statement)
        await audited.execute("reset role")


async def test_even_the_sealer_cannot_change_what_a_row_says(audited: Any) -> None:
    await audited.execute(RUNBOOK, "unsealed")
    await audited.execute("grant update on admin_audit_log to auditor; set role auditor")

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await audited.execute(
            "update admin_audit_log set actor = 'x', position = 4, hash = '1', prev_hash = '1'"
            " where hash is null"
        )
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await audited.execute("update admin_audit_log set hash = '1' where seq = 1")


async def test_only_the_api_may_seal(audited: Any) -> None:
    for role in ("ingest", "controller", "escalation", "provisioning"):
        await audited.execute(f"set role {role}")
        with pytest.raises(
            asyncpg.InsufficientPrivilegeError, match="permission denied for function audit_seal"
        ):
            await audited.fetch("select * from audit_seal()")
        await audited.execute("reset role")
    await audited.execute("set role api")

    assert (await audited.fetchrow("select * from audit_seal()"))["count"] == 3


async def test_every_service_writes_and_the_api_only_for_its_tenant(database: Database) -> None:
    async with database.connect() as connection:
        for role in ("ingest", "controller", "escalation", "provisioning"):
            await connection.execute(f"set role {role}")
            await connection.execute(
                "insert into admin_audit (actor, action, tenant_id) values ('s', 'a', 'acme')"
            )
            await connection.execute("reset role")

        await connection.execute("set role api")
        async with connection.transaction():
            await connection.execute("select set_config('app.tenant', 'acme', true)")
            await connection.execute("insert into admin_audit (actor, action) values ('user', 'own')")
            assert (
                await connection.fetchval("select tenant_id from admin_audit where action = 'own'") == "acme"
            )
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="tenant_id other is not the tenant"):
                await connection.execute(
                    "insert into admin_audit (actor, action, tenant_id) values ('u', 'a', 'other')"
                )
