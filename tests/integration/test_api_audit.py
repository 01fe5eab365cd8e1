"""The sealed audit log against whoever can write to its table, and the door while its database is away."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from overwatt.topics import AUDIT_HEAD
from scripts.local import services
from scripts.local.ports import Ports
from scripts.local.stack import Stack
from services.api.audit.verify import heads_of_topic
from tests.integration.controller_rig import ROOT, until


@pytest.fixture
def own(home: Path) -> Any:
    """A platform of its own: heads of other databases on the same topic would contradict this one's."""
    with Stack(home, Ports.free(), service_environment={"ASSETS_PATH": ""}) as stack:
        stack.start("kafka", "postgres")
        stack.migrate()
        stack.start("api")
        yield stack


@pytest.fixture
async def db(own: Stack) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(own.env()["DATABASE_URL"])
    yield connection
    await connection.close()


def verify(own: Stack, *arguments: str) -> tuple[int, str]:
    """`python -m services.api audit verify`: exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "services.api", "audit", "verify", *arguments],
        cwd=ROOT,
        env={**os.environ, **own.env()},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def sealed(own: Stack, db: Any, action: str) -> int:
    """Write a row and wait until Kafka has heard of a head that covers it; answers its place."""
    await db.execute("insert into admin_audit (actor, action) values ('tester', $1)", action)

    async def place() -> int | None:
        found: int | None = await db.fetchval(
            "select position from admin_audit_log where action = $1", action
        )
        return found

    number = await until("the row is sealed", place)
    assert number is not None

    async def is_told() -> bool:
        heads = await heads_of_topic(own.env()["KAFKA_BOOTSTRAP"])
        return any(head.count >= number for head in heads)

    await until("the head is told", is_told)
    return number


async def forge(db: Any, *statements: str) -> None:
    """As somebody who owns the database and takes the guards off."""
    async with db.transaction():
        await db.execute("alter table admin_audit_log disable trigger all")
        for statement in statements:
            await db.execute(statement)
        await db.execute("alter table admin_audit_log enable always trigger admin_audit_rows")
        await db.execute("alter table admin_audit_log enable always trigger admin_audit_truncate")


async def test_rows_are_sealed_told_and_found_out_when_they_change(own: Stack, db: Any) -> None:  # X21, H-004
    for action in ("first", "second", "third"):
        await sealed(own, db, action)
    await db.execute("create table kept as select * from admin_audit_log")
    seq = await db.fetchval("select seq from admin_audit_log where action = 'second'")

    async def verdict_on(*forged: str) -> tuple[int, str]:
        await forge(
            db,
            "delete from admin_audit_log",
            "insert into admin_audit_log overriding system value select * from kept",
            *forged,
        )
        return await asyncio.to_thread(verify, own)

    code, words = await verdict_on()
    assert (code, "3 rows hold" in words) == (0, True), words
    assert f"topic {AUDIT_HEAD}" in words
    assert "log api.log" in words

    changed = "update admin_audit_log set actor = 'nobody' where action = 'second'"
    code, words = await verdict_on(changed)
    assert (code, f"seq {seq}: its content does not match" in words) == (1, True), words

    # The chain is written anew from the changed row on: it holds, but it is not the one that was seen.
    link = (
        "update admin_audit_log l set prev_hash = p.hash, hash = sha256(p.hash || audit_canonical(l))"
        " from admin_audit_log p where l.position = {0} and p.position = {0} - 1"
    )
    code, words = await verdict_on(changed, link.format(2), link.format(3))
    assert await db.fetch("select * from audit_verify()") == []
    assert (code, "row 2 of the chain" in words) == (1, True), words

    code, words = await verdict_on("delete from admin_audit_log where position = 3")
    assert (code, "row 3 of the chain is missing" in words) == (1, True), words

    code, words = await verdict_on("delete from admin_audit_log where position = 2")
    assert (code, "before it are missing" in words) == (1, True), words


async def test_alive_but_not_ready_while_the_database_is_away(home: Path) -> None:  # T-028, T-029, T-049, X16
    with Stack(home, Ports.free()) as own:
        await asyncio.to_thread(own.start, "postgres")
        await asyncio.to_thread(services.migrate, own.env()["DATABASE_URL"])
        await asyncio.to_thread(own.start, "api")
        await _alive_but_not_ready(own)


async def _alive_but_not_ready(own: Stack) -> None:
    async with httpx2.AsyncClient(base_url=own.env()["API_URL"], timeout=30) as http:
        assert (await http.get("/health/ready")).text == "Healthy"
        await asyncio.to_thread(own.kill_part, "postgres")

        assert ((await http.get("/health")).status_code, (await http.get("/health")).text) == (200, "Healthy")
        ready = await http.get("/health/ready")
        assert (ready.status_code, ready.text.splitlines()[0]) == (503, "Unhealthy")
        assert (await http.get("/assets")).status_code == 503

        await asyncio.to_thread(own.start, "postgres")

        async def is_back() -> bool:
            answer = await http.get("/health/ready")
            return answer.status_code == 200

        await until("it is ready again", is_back)
        assert (await http.get("/assets")).json() == []
