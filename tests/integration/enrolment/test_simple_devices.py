"""Simple devices: an activation code becomes a token, once; tokens are rotated and taken back (U-P08)."""

import asyncio
import base64
import hashlib
from typing import Any

import pytest

from tests.integration.enrol_rig import Place, audit_rows


@pytest.fixture
async def place(place: Place) -> Place:
    """With a sensor."""
    new = {"tenant_id": place.tenant, "device_id": "sensor-1"}
    assert (await place.admin("POST", "/devices", new)).status_code == 201
    return place


async def a_code(place: Place) -> str:
    answer = await place.admin("POST", f"/devices/{place.tenant}/sensor-1/activation-code")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["code"])


async def test_a_code_becomes_a_token_that_the_broker_can_check(place: Place, db: Any) -> None:
    # U-P08: code for 60 minutes, single use, POST /api/device/activate
    code = await a_code(place)

    answer = await place.post("/api/device/activate", {"code": code.lower().replace("-", " ")})

    told = answer.json()
    assert answer.status_code == 200
    assert (told["username"], told["mqtt"]["port"]) == (f"{place.tenant}/sensor-1", 8884)
    row = await db.fetchrow("select * from device_token")
    assert row["token_hash"] == hashlib.sha256(told["token"].encode()).digest()
    _, _, rounds, salt, derived = row["mosquitto_hash"].split("$")
    again = hashlib.pbkdf2_hmac("sha512", told["token"].encode(), base64.b64decode(salt), int(rounds))
    assert base64.b64decode(derived) == again
    stored = await db.fetchrow("select code_hash, expires_at - created_at as life from activation_code")
    assert stored["life"].total_seconds() == 3600
    assert code.encode() not in stored["code_hash"]
    text = place.service.log_file.read_text()
    assert told["token"] not in text
    assert code not in text
    (entry,) = await audit_rows(db, "device.activated")
    assert entry["actor"] == f"{place.tenant}/sensor-1"


async def test_a_code_works_once_and_what_does_not_is_answered_alike(place: Place, db: Any) -> None:
    used = await a_code(place)
    first = await asyncio.gather(*(place.post("/activate", {"code": used}) for _ in range(20)))
    expired = await a_code(place)
    await db.execute("update activation_code set expires_at = now() where used_at is null")
    expired_answer = await place.post("/activate", {"code": expired})
    replaced = await a_code(place)
    await a_code(place)

    bad = [
        await place.post("/activate", {"code": code}) for code in (used, replaced, "AAAA-BBBB-CCCC", "", "а")
    ]
    bad.append(expired_answer)

    assert sorted(answer.status_code for answer in first) == [200] + [410] * 19
    assert {(answer.status_code, answer.content) for answer in bad} == {(410, bad[0].content)}
    assert await db.fetchval("select count(*) from device_token") == 1


async def test_a_rotated_token_voids_the_old_one_and_ends_its_session(place: Place, db: Any) -> None:
    # U-P08: …/rotate-token
    old = (await place.post("/activate", {"code": await a_code(place)})).json()["token"]

    new = (await place.admin("POST", f"/devices/{place.tenant}/sensor-1/rotate-token")).json()["token"]

    rows = await db.fetch("select token_hash, revoked_at is null as live from device_token")
    assert {row["token_hash"]: row["live"] for row in rows} == {
        hashlib.sha256(old.encode()).digest(): False,
        hashlib.sha256(new.encode()).digest(): True,
    }
    assert await db.fetchval("select reason from session_cut where device_id = 'sensor-1'") == "superseded"


async def test_a_revoked_device_is_out_until_a_new_code_is_used(place: Place, db: Any) -> None:
    # U-P08: …/revoke
    await place.post("/activate", {"code": await a_code(place)})
    unused = await a_code(place)

    revoked = await place.admin("POST", f"/devices/{place.tenant}/sensor-1/revoke", {"reason": "lost"})

    assert revoked.json()["state"] == "revoked"
    assert await db.fetchval("select count(*) from device_token where revoked_at is null") == 0
    assert await db.fetchval("select count(*) from session_cut where device_id = 'sensor-1'") == 1
    assert (await place.post("/activate", {"code": unused})).status_code == 410
    assert (await place.admin("POST", f"/devices/{place.tenant}/sensor-1/rotate-token")).status_code == 409
    assert (await place.post("/activate", {"code": await a_code(place)})).status_code == 200
    assert await db.fetchval("select state from device where device_id = 'sensor-1'") == "active"


@pytest.mark.parametrize("state", ["disabled", "decommissioned", "erased"])
async def test_who_may_not_come_in_gets_no_code_and_cannot_use_one(place: Place, db: Any, state: str) -> None:
    code = await a_code(place)
    await db.execute("update device set state = $1 where device_id = 'sensor-1'", state)

    refused = await place.admin("POST", f"/devices/{place.tenant}/sensor-1/activation-code")

    assert (refused.status_code, state in refused.json()["detail"]) == (409, True)
    assert (await place.post("/activate", {"code": code})).status_code == 410
    revoked = await place.admin("POST", f"/devices/{place.tenant}/sensor-1/revoke")
    assert revoked.json()["state"] == state  # its credentials are void; what a person decided stays


async def test_a_boxs_agent_takes_no_code_and_no_token(place: Place) -> None:
    for route in ("activation-code", "rotate-token", "revoke"):
        answer = await place.admin("POST", f"/devices/{place.tenant}/hems-900100/{route}")

        assert answer.status_code == 409
        assert "agent of a box" in answer.json()["detail"]
    unknown = await place.admin("POST", f"/devices/{place.tenant}/nobody/activation-code")
    assert unknown.status_code == 404
