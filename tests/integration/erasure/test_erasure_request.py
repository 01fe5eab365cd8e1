"""A request, from asking to what is erased and may be taken along, through the doors of real processes."""

import csv
import io
import json
import zipfile
from datetime import datetime, timedelta
from typing import Any, Final

from tests.integration.controller_rig import until
from tests.integration.erasure_rig import Doors, Post, audit
from tests.integration.erasure_world import Person, a_person, where_found

SENTENCE: Final = "your data has been deleted."


PING: Final = "a person asks for the deletion of all data"


async def test_a_person_asks_and_everything_is_erased_told_and_provable(
    doors: Doors, db: Any, anna: Person, post: Post
) -> None:  # H-019, H-020, H-021, H-022, H-023, H-024
    asked = await doors.does("anna", "POST", "/account/data/delete-request", {"reason": "I move to Ghent"})

    row = await audit(db, "user.delete_request")
    assert (row["target_type"], row["target_id"], row["actor"]) == ("user", str(anna.user), str(anna.user))
    assert (row["detail"]["boxes"], row["detail"]["user_id"]) == ([anna.box], str(anna.user))
    assert "Ghent" not in str(row)
    assert "127.0.0.1" not in str(row)
    log = await doors.does("operator", "GET", "/admin/audit?action=user.delete_request")
    assert (log[0]["detail"]["reason"], log[0]["address"]) == ("I move to Ghent", "127.0.0.1")

    [listed] = await doors.does("operator", "GET", "/admin/data-requests")
    times = {name: datetime.fromisoformat(listed[name]) for name in ("requested_at", "target_at", "due_at")}
    assert times["target_at"] - times["requested_at"] == timedelta(days=7)
    assert times["due_at"] - times["requested_at"] == timedelta(days=30)
    assert (listed["request_id"], listed["state"], listed["overdue"]) == (asked["request_id"], "open", False)

    path = f"/admin/data-requests/{asked['request_id']}/execute"
    before = await where_found(db, anna.needles, anna.keys)
    preview = await doors.does("operator", "POST", f"{path}?dry_run=1")
    assert preview["unaccounted"] == []
    assert preview["boxes"][anna.box]["metrics"] == 12
    assert await where_found(db, anna.needles, anna.keys) == before

    done = await doors.does("operator", "POST", path)

    assert (done["state"], done["boxes"]) == ("executed", [anna.box])
    assert list(done["counts"])[:5] == [
        *("telemetry", "daily_money", "controller_decisions", "command_replies", "alerts_24h")
    ]
    assert done["counts"]["telemetry"] == 8
    row = await audit(db, "user.delete_executed")
    assert (row["actor"], row["result"]) == ("operator-7", "ok")
    assert (row["target_type"], row["target_id"]) == ("user", str(anna.user))
    assert row["detail"] == {"boxes": [anna.box]}

    async def told() -> bool:
        return {str(mail["subject"]) for _, mail in post.sink.mails} >= {SENTENCE, PING}

    await until("both mails are out", told)
    mails = {recipients[0]: mail for recipients, mail in post.sink.mails}
    assert str(mails[anna.email].get_payload()).splitlines()[0] == SENTENCE
    assert mails["ops@example.org"]["subject"] == PING
    assert anna.email not in str(mails["ops@example.org"])

    log = await doors.does("operator", "GET", "/admin/audit?action=user.delete_request")
    assert (log[0]["detail"]["reason"], log[0]["address"]) == ("erased", "erased")
    await db.execute("select * from audit_seal()")
    assert await db.fetch("select * from audit_verify()") == [], "the chain holds"
    kept = {"box", "device", "site", '"user"', "certificate", "device_token", "session_cut"}
    kept |= {"data_request", "erased_box", "erased_device", "admin_audit_log"}
    assert set(await where_found(db, anna.needles, anna.keys)) == kept
    personal = (anna.email, anna.house, "Ghent", "127.0.0.1")
    assert "admin_audit_log" not in await where_found(db, personal), "opaque ids and nothing else"

    again = await doors.ask("operator", "POST", path)
    assert again.status_code == 409
    [listed] = await doors.does("operator", "GET", "/admin/data-requests")
    assert (listed["state"], listed["overdue"]) == ("executed", False)


async def test_a_table_that_erasure_does_not_know_stops_it_before_anything_runs(
    doors: Doors, db: Any, anna: Person
) -> None:  # H-026
    asked = await doors.does("anna", "POST", "/account/data/delete-request")
    path = f"/admin/data-requests/{asked['request_id']}/execute"
    await db.execute("create table x (box_id text); insert into x values ('something')")
    before = await where_found(db, anna.needles, anna.keys)

    preview = await doors.does("operator", "POST", f"{path}?dry_run=1")
    answer = await doors.ask("operator", "POST", path)

    assert preview["unaccounted"] == ["x"]
    assert (answer.status_code, answer.json()["unaccounted"]) == (409, ["x"])
    assert await where_found(db, anna.needles, anna.keys) == before
    assert await db.fetchval("select state from box where box_id = $1", anna.box) == "active"
    await db.execute("drop table x")
    assert (await doors.does("operator", "POST", path))["state"] == "executed"


async def test_overdue_requests_are_visible_and_nobody_else_may_see_or_execute(
    doors: Doors, db: Any, anna: Person
) -> None:  # H-020
    asked = await doors.does("anna", "POST", "/account/data/delete-request")
    assert (await doors.ask("anna", "POST", "/account/data/delete-request")).status_code == 409
    late = "requested_at - interval '31 days'"
    await db.execute(f"update data_request set requested_at = {late}, due_at = due_at - interval '31 days'")
    [listed] = await doors.does("operator", "GET", "/admin/data-requests")
    assert listed["overdue"] is True

    path = f"/admin/data-requests/{asked['request_id']}/execute"
    assert (await doors.ask("anna", "GET", "/admin/data-requests")).status_code == 403
    assert (await doors.ask("anna", "POST", path)).status_code == 403
    assert (await doors.ask("stranger", "POST", path)).status_code == 404
    assert await doors.does("stranger", "GET", "/admin/data-requests") == []
    assert (await doors.ask("operator", "POST", "/account/data/delete-request")).status_code == 404
    assert await db.fetchval("select state from data_request") == "open"


async def test_a_person_takes_everything_along_in_one_archive_with_every_field_described(
    doors: Doors, db: Any, anna: Person
) -> None:
    await a_person(db, anna.tenant, "neighbour")
    await doors.does("anna", "POST", "/account/data/delete-request", {"reason": "a reason"})

    answer = await doors.ask("anna", "GET", "/account/data/export")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    described = json.loads(files.pop("fields.json"))
    readme = files.pop("README.txt")
    assert set(described) == set(files)
    for name, text in files.items():
        if name.endswith(".csv"):
            head, *rows = list(csv.reader(io.StringIO(text)))
            assert head == list(described[name]["fields"]), name
            assert {row[0] for row in rows} == {anna.battery}, name
        else:
            lines = [json.loads(line) for line in text.splitlines()]
            assert all(set(line) == set(described[name]["fields"]) for line in lines), name
            assert lines or name in ("plans.jsonl",), f"{name} is empty"
        assert all(described[name]["fields"].values()), name
        assert name in readme
        assert "neighbour" not in text, name
    assert len(files["telemetry.csv"].splitlines()) == 5
    assert len(files["telemetry_other.csv"].splitlines()) == 5
    assert len(files["counter_resets.csv"].splitlines()) == 2
    [account] = map(json.loads, files["account.jsonl"].splitlines())
    assert (account["user_id"], account["email"]) == (str(anna.user), anna.email)
    asked = json.loads(files["data_requests.jsonl"])
    assert asked["reason"] == "a reason"
    assert (await doors.ask("operator", "GET", "/account/data/export")).status_code == 404
