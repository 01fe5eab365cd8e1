"""From the operators' door through the real controller: dispatch, agents, and what is left of both."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from overwatt.v1.agent_pb2 import Status
from tests.integration.api_world import KEY, bearer
from tests.integration.controller_rig import Rig, a_rig, until
from tests.integration.door_rig import Service, a_service

ASSETS = ("site-a-x", "site-a-y", "site-a-z")


@pytest.fixture
async def rig(database_url: str, kafka: str) -> AsyncIterator[Rig]:
    async with a_rig(database_url, kafka) as made:
        await made.has_site(x=120, y=40, z=40)
        yield made


@pytest.fixture
async def api(rig: Rig, tmp_path: Path, role_url: Callable[[str], str]) -> AsyncIterator[Service]:
    settings = {
        "DATABASE_URL": role_url("api"),
        "API_TOKEN_KEY": KEY,
        "CONTROLLER_URL": f"http://127.0.0.1:{rig.port}",
    }
    async with a_service("api", tmp_path, settings) as service:
        yield service


async def test_without_the_controller_a_dispatch_is_503_with_a_sentence(api: Service, rig: Rig) -> None:
    answer = await api.ask("POST", "/dispatch", {"site_id": "site-a", "mw": 12}, **bearer(rig.tenant))

    assert answer.status_code == 503
    assert "nothing was dispatched" in answer.json()["detail"]


async def test_a_dispatch_goes_to_the_controller_as_the_caller_and_is_remembered(
    api: Service, rig: Rig
) -> None:
    # D-024, D-025, D-027, H-004
    await rig.start()
    await rig.connect("site-a", *ASSETS)
    who = bearer(rig.tenant)

    site = await api.ask("POST", "/dispatch", {"site_id": "site-a", "mw": 12}, X_Request_Id="r-1", **who)
    both = await api.ask("POST", "/dispatch", {"asset_id": "site-a-y", "site_id": "site-a", "mw": 5}, **who)

    assert [each["mw"] for each in site.json()["allocations"]] == pytest.approx([7.2, 2.4, 2.4])
    assert (both.json()["asset_id"], both.json()["site_id"]) == ("site-a-y", None)
    history = await api.get("/dispatch/history", **who)
    assert [each["dispatch_id"] for each in history] == [each.json()["dispatch_id"] for each in (both, site)]
    assert {each["requested_by"] for each in history} == {f"user-of-{rig.tenant}"}
    assert len(history[1]["allocations"]) == 3
    rows = await rig.db.fetch("select * from admin_audit where action = 'dispatch.create' order by at")
    assert [(row["target_type"], row["target_id"], row["result"]) for row in rows] == [
        ("site", "site-a", "ok"),
        ("asset", "site-a-y", "ok"),
    ]
    assert (rows[0]["actor"], rows[0]["request_id"], rows[0]["tenant_id"]) == (
        f"user-of-{rig.tenant}",
        "r-1",
        rig.tenant,
    )


async def test_a_dispatch_that_cannot_be_is_refused_with_what_would_be_right(api: Service, rig: Rig) -> None:
    # D-035
    await rig.start()
    who = bearer(rig.tenant)
    for body, status, word in [
        ({"mw": 5}, 422, "asset_id and site_id are both missing"),
        ({"site_id": "nowhere", "mw": 5}, 404, "nowhere"),
        ({"asset_id": "nothing", "mw": 5}, 404, "nothing"),
        ({"asset_id": "a\x00", "mw": 5}, 404, "does not exist"),
        ({"site_id": "site-a", "mw": "5"}, 422, "mw: "),
        ({"site_id": "site-a"}, 422, "mw: "),
        ({"site_id": "site-a", "mw": 5, "duration": 1}, 422, "duration: "),
    ]:
        answer = await api.ask("POST", "/dispatch", body, **who)
        assert (answer.status_code, word in answer.json()["detail"]) == (status, True), answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    for text in ('{"site_id": "site-a", "mw": NaN}', '{"site_id": "site-a", "mw": -Infinity}',
                 '{"site_id": "site-a", "mw": 1e999}', "{", '{"a":' * 5000, "\xff"):  # fmt: skip
        answer = await api.http.post(
            "/dispatch", content=text.encode("latin-1"), headers={**who, "Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422), (text[:40], answer.text)
        assert "must be JSON" in answer.text or "finite number" in answer.text
    too_big = await api.http.post("/dispatch", content=b" " * 70_000, headers=who)
    assert too_big.status_code == 413
    assert await api.get("/dispatch/history", **who) == []


async def test_an_observing_box_is_409_that_names_it_and_the_refusal_is_audited(
    api: Service, rig: Rig
) -> None:
    await rig.start()
    await rig.db.execute("update box set mode = 'observe'")

    answer = await api.ask("POST", "/dispatch", {"site_id": "site-a", "mw": 5}, **bearer(rig.tenant))

    assert (answer.status_code, answer.json()["box"]) == (409, rig.box("site-a"))
    assert answer.json()["reason"] == "MODE_OBSERVE"
    assert await rig.db.fetchval("select result from admin_audit") == "refused"


async def test_another_tenants_assets_cannot_be_dispatched(api: Service, rig: Rig) -> None:  # U-P07
    await rig.start()
    for target in ({"site_id": "site-a"}, {"asset_id": "site-a-x"}):
        answer = await api.ask(
            "POST", "/dispatch", {**target, "mw": 5}, X_Tenant=rig.tenant, **bearer("other")
        )
        assert answer.status_code == 404

    assert await rig.db.fetchval("select count(*) from dispatch") == 0


async def test_agents_are_none_then_one_and_restarts_leave_one_open_session(api: Service, rig: Rig) -> None:
    # D-018, D-020, D-021, D-031
    await rig.start()
    who = bearer(rig.tenant)
    assert await api.get("/agents", **who) == []

    connected_at = []
    for boot in ("one", "two", "three", "four"):
        await rig.connect("site-a", *ASSETS, boot=boot)
        (agent,) = await api.get("/agents", **who)
        (again,) = await api.get("/agents", **who)
        assert agent["connected_at"] == again["connected_at"]
        connected_at.append(agent["connected_at"])

    assert [each["asset_id"] for each in agent["assets"]] == list(ASSETS)
    assert (agent["connected"], agent["site_id"]) == (True, "site-a")
    assert connected_at == sorted(set(connected_at))
    assert [each["disconnected_at"] is None for each in agent["sessions"]] == [True, False, False, False]

    async def is_gone() -> bool:
        agents: list[Any] = await api.get("/agents", **who)
        return agents == []

    await rig.status(Status.GONE, "four", "site-a")
    await until("the agent is not listed any more", is_gone)
