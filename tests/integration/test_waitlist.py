"""The waitlist, from the application to the invitation."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.integration.controller_rig import ROOT
from tests.integration.registry_rig import TENANT, Door, audit_rows, db, door

__all__ = ["db", "door"]


async def applicant(door: Door, email: str, hardware: str = "") -> str:
    body = {"tenant_id": TENANT, "email": email, "hardware": hardware}
    return str((await door.does("POST", "/waitlist", body))["entry_id"])


async def test_the_open_ones_are_newest_first_with_hardware_tier_and_a_link(door: Door) -> None:
    # H-005, H-006, H-008, H-014
    for email, hardware in (("a@b.c", "SolarEdge SE5K"), ("b@b.c", "Huawei"), ("c@b.c", "tea")):
        await applicant(door, email, hardware)
    await door.does("POST", "/tenants", {"tenant_id": "other"})

    found = await door.does("GET", f"/waitlist?tenant_id={TENANT}")

    assert [(each["email"], each["hardware"], each["tier"]) for each in found["open"]] == [
        ("c@b.c", "tea", "unsupported"),
        ("b@b.c", "Huawei", "beta"),
        ("a@b.c", "SolarEdge SE5K", "stable"),
    ]
    assert all("PASTE_TOKEN_HERE" in each["mailto"] for each in found["open"])
    assert found["dismissed"] == []
    assert await door.does("GET", "/waitlist?tenant_id=other") == {"open": [], "dismissed": []}
    twice = await door.ask("POST", "/waitlist", {"tenant_id": TENANT, "email": "A@B.C"})
    assert twice.status_code == 409


async def test_queue_and_invite_leave_an_entry_open_and_a_dismissed_one_stays_so(door: Door, db: Any) -> None:
    # H-009, H-015, H-016
    entries = {email: await applicant(door, email) for email in ("a@b.c", "b@b.c", "c@b.c")}

    async def decide(email: str, what: str, body: Any = None) -> int:
        path = f"/waitlist/{TENANT}/{entries[email]}/{what}"
        return int((await door.ask("POST", path, body, X_Actor="u-1")).status_code)

    assert await decide("a@b.c", "decision", {"decision": "queue"}) == 200
    assert await decide("b@b.c", "decision", {"decision": "invite"}) == 200
    waiting = (await door.does("GET", f"/waitlist?tenant_id={TENANT}"))["open"]
    assert [each["decision"] for each in waiting] == [None, "invite", "queue"]
    for _ in range(2):
        assert await decide("b@b.c", "invited") == 200
        assert await decide("c@b.c", "dismiss") == 200
    assert await decide("c@b.c", "invited") == 409
    assert await decide("c@b.c", "decision", {"decision": "queue"}) == 409
    assert await decide("a@b.c", "decision", {"decision": "maybe"}) == 422

    found = await door.does("GET", f"/waitlist?tenant_id={TENANT}")
    assert [each["email"] for each in found["open"]] == ["a@b.c"]
    assert [(each["email"], each["reason"], each["actor"]) for each in found["dismissed"]] == [
        ("c@b.c", "dismissed", "u-1"),
        ("b@b.c", "invited", "u-1"),
    ]
    assert all(each["at"] for each in found["dismissed"])
    rows = await audit_rows(db, "waitlist.dismiss")
    assert [(row["detail"]["reason"], row["target_id"]) for row in rows] == [
        ("invited", entries["b@b.c"]),
        ("dismissed", entries["c@b.c"]),
    ]
    assert "b.c" not in str(rows)
    assert await db.fetchval("select count(*) from notice") == 0


async def test_an_invitation_is_mailed_only_on_request(door: Door, db: Any) -> None:  # H-016, H-018
    entry = await applicant(door, "a@b.c")
    url = "https://enrol.example.com:8443/enroll?root=00#secret"
    path = f"/waitlist/{TENANT}/{entry}/invited"
    wrong = await door.ask("POST", path, {"token_url": "javascript:alert(1)"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "token_url")

    await door.does("POST", path, {"token_url": url})
    await door.does("POST", path, {"token_url": url})

    (notice,) = await db.fetch("select * from notice")
    assert (notice["kind"], notice["recipient"]) == ("waitlist.invite", "a@b.c")
    assert url in notice["body"]
    assert "PASTE_TOKEN_HERE" not in notice["body"]


async def test_json_lines_go_out_and_come_in_again_once(door: Door, db: Any) -> None:  # H-017
    first, second = await applicant(door, "a@b.c", "Shelly"), await applicant(door, "b@b.c")
    await door.does("POST", f"/waitlist/{TENANT}/{second}/dismiss")
    await door.does("POST", "/tenants", {"tenant_id": "other"})

    async def put(tenant: str, text: str) -> Any:
        return await door.service.http.post(
            f"/api/admin/waitlist/import?tenant_id={tenant}",
            content=text,
            headers={"X-Admin-Key": "change-me-now", "Content-Type": "application/x-ndjson"},
        )

    out = (await door.ask("GET", f"/waitlist/export?tenant_id={TENANT}")).text
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["entry_id"], line["email"], line["state"]) for line in lines] == [
        (first, "a@b.c", "open"),
        (second, "b@b.c", "dismissed"),
    ]
    for added in (2, 0):
        assert (await put("other", out)).json() == {"added": added, "known": 2 - added}
    assert (await put(TENANT, out)).json() == {"added": 0, "known": 2}
    same = "email, hardware, state, reason, decided_at, created_at"
    rows = f"select {same} from waitlist where tenant_id = $1 order by email"
    assert await db.fetch(rows, "other") == await db.fetch(rows, TENANT)
    page = await door.ask("GET", f"/waitlist/export?tenant_id={TENANT}&limit=1&after={first}")
    assert json.loads(page.text)["entry_id"] == second

    bad = await put("other", '{"email": "new@b.c"}\n{"email": "nonsense"}\n')
    assert (bad.status_code, "line 2: email" in bad.text) == (422, True)
    assert await db.fetchval("select count(*) from waitlist where email = 'new@b.c'") == 0
    assert (await put("nobody", '{"email": "new@b.c"}\n')).json()["field"] == "tenant_id"


async def test_no_address_is_taken_that_could_be_more_than_one(door: Door) -> None:
    for email in (
        "a@b",
        "a b@c.d",
        "a@b.c,d@e.f",
        "a@b.c\r\nBcc: x@y.z",
        "а@b.c",
        "@b.c",
        "a" * 65 + "@b.c",
        "a@b.c\x00",
    ):
        answer = await door.ask("POST", "/waitlist", {"tenant_id": TENANT, "email": email})
        assert (answer.status_code, answer.json()["field"]) == (422, "email"), email


async def test_the_commands_export_one_object_a_line_and_import_it_once(
    door: Door, db: Any, tmp_path: Path
) -> None:  # H-017
    for number in range(3):
        await applicant(door, f"a{number}@b.c")
    await door.does("POST", "/tenants", {"tenant_id": "other"})

    async def command(*arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scripts.waitlist",
            *arguments,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PROVISIONING_URL": str(door.service.http.base_url)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    file = tmp_path / "waitlist.jsonl"
    code, out, _ = await command("--tenant", TENANT, "export")
    assert (code, [json.loads(line)["email"] for line in out.splitlines()]) == (
        0,
        ["a0@b.c", "a1@b.c", "a2@b.c"],
    )
    file.write_text(out)
    for said in ("3 added, 0 there already", "0 added, 3 there already"):
        code, _, err = await command("--tenant", "other", "import", str(file))
        assert (code, said in err) == (0, True), err
    file.write_text('{"email": "nonsense"}\n')
    code, _, err = await command("--tenant", "other", "import", str(file))
    assert (code, "line 1: email" in err) == (1, True)
