"""What the tables mean for the broker, on a real PostgreSQL; the keeper between them and a (fake) EMQX."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import httpx2
import pytest

from services.provisioning.brokers import store
from services.provisioning.brokers.emqx import Emqx
from services.provisioning.brokers.keeper import Keeper
from services.runtime.postgres import connect_pool
from tests.fakes.emqx import a_fake_emqx
from tests.integration.controller_rig import until

FUTURE = datetime.now(UTC) + timedelta(days=1)
PAST = datetime.now(UTC) - timedelta(days=1)
HASH = "$7$101$c2FsdA==$aGFzaA=="


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenant (tenant_id, name) values ('t', 'T'), ('off', 'Off')")
    yield connection
    await connection.close()


async def device(db: Any, name: str, *, state: str = "active", tenant: str = "t") -> None:
    await db.execute(
        "insert into device (tenant_id, device_id, state) values ($1, $2, $3)", tenant, name, state
    )


async def certificate(
    db: Any, serial: str, name: str, *, tenant: str = "t", ends: datetime = FUTURE, revoked: bool = False
) -> None:
    await db.execute(
        """insert into certificate (serial, tenant_id, device_id, spki_sha256, pem, via, not_before,
             not_after, revoked_at, revoke_reason) values ($1, $2, $3, $4, '', 'enrol', $5, $6, $7, $8)""",
        serial,
        tenant,
        name,
        sha256(serial.encode()).digest(),
        PAST - timedelta(days=1),
        ends,
        PAST if revoked else None,
        "superseded" if revoked else None,
    )


async def token(db: Any, name: str, *, revoked: bool = False) -> None:
    await db.execute(
        """insert into device_token (token_hash, prefix, tenant_id, device_id, mosquitto_hash, revoked_at)
           values ($1, 'p', 't', $2, $3, $4)""",
        sha256(f"token of {name} {revoked}".encode()).digest(),
        name,
        HASH,
        PAST if revoked else None,
    )


async def cut(db: Any, name: str) -> None:
    await db.execute("insert into session_cut (tenant_id, device_id, reason) values ('t', $1, 'test')", name)


async def test_who_has_a_credential_and_is_not_active_is_denied(db: Any) -> None:  # X18
    for name, state in (
        ("a", "active"),
        ("b", "revoked"),
        ("c", "disabled"),
        ("d", "revoked"),
        ("e", "revoked"),
    ):
        await device(db, name, state=state)
    await device(db, "f", tenant="off")
    await db.execute("update tenant set state = 'disabled' where tenant_id = 'off'")
    await certificate(db, "a1", "a")
    await certificate(db, "b1", "b", revoked=True)
    await token(db, "c", revoked=True)
    await certificate(db, "d1", "d", ends=PAST)  # expired: refused by itself
    await certificate(db, "f1", "f", tenant="off")

    wanted = await store.read_wanted(db)

    assert wanted.denied == ("off/f", "t/b", "t/c")


async def test_what_is_revoked_and_has_not_expired_is_on_the_list(db: Any) -> None:
    await device(db, "a")
    await certificate(db, "a1", "a", revoked=True)
    await certificate(db, "a2", "a", revoked=True, ends=PAST)
    await certificate(db, "a3", "a")

    (revoked,) = (await store.read_wanted(db)).revoked

    assert (revoked.serial, revoked.reason) == ("a1", "superseded")


async def test_only_a_live_token_of_an_active_device_is_a_password(db: Any) -> None:  # U-P08
    for name, state in (("a", "active"), ("b", "revoked")):
        await device(db, name, state=state)
        await token(db, name)
    await token(db, "a", revoked=True)

    wanted = await store.read_wanted(db)

    assert wanted.passwords == (("t/a", HASH),)


async def test_emqx_may_ask_for_one_devices_token_and_for_nothing_else(
    db: Any, role_url: Callable[[str], str]
) -> None:
    for name, state in (("a", "active"), ("b", "revoked")):
        await device(db, name, state=state)
        await token(db, name)
    broker = await asyncpg.connect(role_url("broker"))
    try:

        async def asked(user: str) -> list[str]:
            rows = await broker.fetch("select password_hash from broker_password($1)", user)
            return [row["password_hash"] for row in rows]

        assert await asked("t/a") == [sha256(b"token of a False").hexdigest()]
        for stranger in ("t/b", "t/a/x", "t", "", "t/%", "off/a", "svc-ingest-0"):
            assert await asked(stranger) == []
        for table in ("device_token", "device", "certificate"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await broker.fetch(f"select * from {table}")
    finally:
        await broker.close()


@asynccontextmanager
async def kept(url: str, emqx_url: str) -> AsyncIterator[Keeper]:
    """A keeper that runs."""
    async with (
        connect_pool(url, name="test") as pool,
        httpx2.AsyncClient(base_url=emqx_url) as http,
    ):
        keeper = Keeper(pool, Emqx(http))
        running = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_the_keeper_bans_first_and_cuts_then_and_tries_again_what_failed(
    db: Any, role_url: Callable[[str], str]
) -> None:  # X18
    await device(db, "a", state="revoked")
    await certificate(db, "a1", "a", revoked=True)
    await cut(db, "a")
    with a_fake_emqx() as emqx:
        emqx.is_out_of_order = True
        async with kept(role_url("provisioning"), emqx.url):
            await until("EMQX was asked", lambda: _is(bool(emqx.authorizations)))
            assert await db.fetchval("select count(*) from session_cut where done_at is null") == 1

            emqx.is_out_of_order = False
            await until("cut", lambda: db.fetchval("select bool_and(done_at is not null) from session_cut"))

        assert emqx.kicked == ["t/a"]
        assert [path.rpartition("/")[2] for path in emqx.writes] == ["banned", "bulk"]


async def test_a_cut_that_fails_says_why_and_does_not_hold_up_others(
    db: Any, role_url: Callable[[str], str]
) -> None:
    await device(db, "a")
    await cut(db, "a")
    await cut(db, "b")
    with a_fake_emqx() as emqx:
        emqx.unkickable.add("t/a")
        async with kept(role_url("provisioning"), emqx.url):
            done = "select count(*) = 1 from session_cut where device_id = 'b' and done_at is not null"
            await until("the other is cut", lambda: db.fetchval(done))
            failed = "select error from session_cut where device_id = 'a' and attempts > 1"
            assert "500" in await until("tried again", lambda: db.fetchval(failed))
            emqx.unkickable.clear()
            await until("cut", lambda: db.fetchval("select bool_and(done_at is not null) from session_cut"))


async def _is(value: bool) -> bool:
    return value
