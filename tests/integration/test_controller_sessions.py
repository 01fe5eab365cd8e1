"""Agent sessions in the database, as status messages on Kafka open and close them."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from overwatt.v1.agent_pb2 import Status
from services.controller.presence import Presence
from services.runtime import clock
from services.runtime.postgres import connect_pool
from tests.integration.controller_rig import Rig, a_rig, until


@pytest.fixture
async def rig(database_url: str, kafka: str) -> AsyncIterator[Rig]:
    async with a_rig(database_url, kafka) as started:
        await started.start()
        yield started


async def test_three_agent_restarts_leave_one_open_session(rig: Rig) -> None:  # D-031
    for boot in ("first", "second", "third", "fourth"):
        await rig.connect("site-a", "site-a-x", boot=boot)

    sessions = await rig.sessions()
    assert [row["close_reason"] for row in sessions] == ["replaced", "replaced", "replaced", None]
    assert sessions[-1]["session_id"].startswith("fourth")
    assert sessions[-1]["assets"] == ["site-a-x"]
    assert sorted(row["connected_at"] for row in sessions) == [row["connected_at"] for row in sessions]


async def test_connected_at_rises_only_on_a_reconnect(rig: Rig) -> None:  # D-021
    await rig.status(Status.BIRTH, "boot", "site-a", at_us=1)
    (first,) = await until("a session is open", lambda: rig.sessions(only_open=True))

    await rig.status(Status.BIRTH, "boot", "site-a", at_us=1)  # retained, seen after a gateway restart
    await rig.status(Status.GONE, "boot", "site-a")

    async def is_closed() -> bool:
        return not await rig.sessions(only_open=True)

    await until("the session is closed", is_closed)
    (closed,) = await rig.sessions()
    assert (closed["connected_at"], closed["close_reason"]) == (first["connected_at"], "gone")

    await rig.status(Status.BIRTH, "boot", "site-a", at_us=2)
    (again,) = await until("the session is open again", lambda: rig.sessions(only_open=True))
    assert again["session_id"] == first["session_id"]
    assert again["connected_at"] > first["connected_at"]


async def test_alive_moves_last_seen_at(rig: Rig) -> None:
    await rig.connect()
    (before,) = await rig.sessions()

    await rig.status(Status.ALIVE, "boot")

    async def moved() -> bool:
        (now,) = await rig.sessions()
        return bool(now["last_seen_at"] > before["last_seen_at"])

    await until("last_seen_at moves", moved)
    (after,) = await rig.sessions()
    assert after["connected_at"] == before["connected_at"]


async def test_telemetry_is_a_sign_of_life(rig: Rig) -> None:
    await rig.connect()
    (before,) = await rig.sessions()

    async def moved() -> bool:
        await rig.sample("site-a", "site-a-x", soc_pct=50.0)
        (now,) = await rig.sessions()
        return bool(now["last_seen_at"] > before["last_seen_at"])

    await until("last_seen_at moves", moved)


async def test_an_agent_that_falls_silent_is_closed_as_stale_and_its_next_alive_opens_it_again(
    rig: Rig, role_url: Callable[[str], str]
) -> None:
    await rig.connect()
    (opened,) = await rig.sessions()
    now = clock.now()
    await rig.db.execute("update agent_session set last_seen_at = $1", now - timedelta(seconds=91))

    async with connect_pool(role_url("controller"), name="test") as pool:
        deaf_until_now = Presence(pool, watching_since=now, on_connect=list)
        assert 89 < await deaf_until_now.close_silent() <= 90
        assert await rig.sessions(only_open=True)

        listening = Presence(pool, watching_since=now - timedelta(seconds=91), on_connect=list)
        assert await listening.close_silent() == 90
    (closed,) = await rig.sessions()
    assert closed["close_reason"] == "stale"

    await rig.status(Status.ALIVE, "boot")
    (again,) = await until("the session is open again", lambda: rig.sessions(only_open=True))
    assert again["connected_at"] == opened["connected_at"]


async def test_what_is_no_status_disturbs_nothing_that_follows(rig: Rig) -> None:
    await rig.bus.send("agent.status", f"{rig.tenant}/site-a", b"\xff\xff not protobuf")
    await rig.status(Status.BIRTH, "nul\0boot", "site-a", "asset\0id")

    (session,) = await until("a session is open", lambda: rig.sessions(only_open=True))
    assert session["assets"] == ["assetid"]
    assert 'controller_unusable_messages_total{topic="agent.status"}' in await rig.metrics()


async def test_it_ticks_and_stops_when_told(rig: Rig) -> None:  # H-063
    metrics = await rig.metrics()
    ticked = re.search(r"^controller_last_tick_timestamp (\S+)$", metrics, re.M)
    assert ticked
    assert float(ticked[1]) > 1.7e9
    assert await rig.terminate() == 0
