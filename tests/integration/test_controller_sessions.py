"""Agent sessions in the database, as status messages on Kafka open and close them."""

import re
from collections.abc import AsyncIterator

import pytest

from overwatt.v1.agent_pb2 import Status
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
