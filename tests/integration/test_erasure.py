"""A person's data, from the request to the purge, through the doors of real processes, with real mail."""

import asyncio
import csv
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from overwatt.topics import AGENT_REPLY, REGISTRY, identity_hash, tombstone_of
from overwatt.v1.agent_pb2 import AgentReply, Reply
from overwatt.v1.registry_pb2 import Device
from services.api.tokens import Identity, make_token
from services.provisioning.erasure.job import Eraser
from services.provisioning.notices import Notices
from services.runtime.bus import consumer, producer
from services.runtime.mail import Mailer
from services.runtime.postgres import connect_pool
from tests.integration.api_world import KEY
from tests.integration.controller_rig import free_port, until
from tests.integration.door_rig import NOBODY_LISTENS, Service, a_service
from tests.integration.erasure_world import Person, a_person, where_found

SENTENCE: Final = "your data has been deleted."
PING: Final = "a person asks for the deletion of all data"


class Sink:
    """A mail server that keeps what it is given, or answers what it is told to."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Message]] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        return self.answer


@dataclass
class Post:
    """Where it listens."""

    sink: Sink
    url: str


@pytest.fixture
def post() -> Any:
    sink = Sink()
    server = Controller(sink, hostname="127.0.0.1", port=free_port())  # type: ignore[no-untyped-call]
    server.start()  # type: ignore[no-untyped-call]
    yield Post(sink, f"smtp://127.0.0.1:{server.port}")
    server.stop()  # type: ignore[no-untyped-call]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def anna(db: Any, database_url: str) -> Person:
    number = database_url.rpartition("_")[2]
    return await a_person(db, f"tenant-{number}", f"anna{number}")


@pytest.fixture
def environment(role_url: Callable[[str], str], redis_server: str) -> dict[str, str]:
    return {"DATABASE_URL": role_url("provisioning"), "REDIS_URL": redis_server}


@dataclass
class Doors:
    """The api, with whoever asks."""

    api: Service
    person: Person

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """`who` is operator, anna, or stranger: an operator of another tenant."""
        tenant = "another" if who == "stranger" else self.person.tenant
        role = "customer" if who == "anna" else "operator"
        user = str(self.person.user) if who == "anna" else f"{who}-7"
        token = make_token(KEY, Identity(tenant, user, role), now=datetime.now(UTC), ttl_s=600)
        return await self.api.ask(method, path, body, Authorization=f"Bearer {token}")

    async def does(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a success."""
        answer = await self.ask(who, method, path, body)
        assert answer.is_success, (path, answer.text)
        return answer.json()


@asynccontextmanager
async def doors_of(
    tmp_path: Path, role_url: Callable[[str], str], environment: dict[str, str], person: Person
) -> AsyncIterator[Doors]:
    """Provisioning without Kafka is not ready, but its door is open."""
    has_kafka = environment.get("KAFKA_BOOTSTRAP", NOBODY_LISTENS) != NOBODY_LISTENS
    async with a_service("provisioning", tmp_path, environment, until_ready=has_kafka) as provisioning:

        async def is_open() -> bool:
            return (await provisioning.readiness())[0] > 0

        await until("provisioning answers", is_open)
        settings = {
            "DATABASE_URL": role_url("api"),
            "API_TOKEN_KEY": KEY,
            "PROVISIONING_URL": str(provisioning.http.base_url),
        }
        async with a_service("api", tmp_path, settings) as api:
            yield Doors(api, person)


@pytest.fixture
async def doors(
    tmp_path: Path, role_url: Callable[[str], str], environment: dict[str, str], anna: Person, post: Post
) -> AsyncIterator[Doors]:
    more = {"SMTP_URL": post.url, "OPS_EMAIL": "ops@example.org"}
    async with doors_of(tmp_path, role_url, {**environment, **more}, anna) as opened:
        yield opened


async def audit(db: Any, action: str) -> dict[str, Any]:
    row = await db.fetchrow("select * from admin_audit where action = $1", action)
    assert row, action
    return {**dict(row), "detail": json.loads(row["detail"])}


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


async def test_a_kill_at_any_step_is_taken_up_where_it_stopped(
    role_url: Callable[[str], str], redis_server: str, db: Any, anna: Person
) -> None:
    request = await db.fetchval(
        "insert into data_request (tenant_id, user_id, boxes, requested_at, target_at, due_at, executed_by)"
        " values ($1, $2, $3, now(), now(), now(), 'operator') returning request_id",
        anna.tenant,
        anna.user,
        [anna.box],
    )
    await db.execute("select entomb($1)", request)
    seen = []
    async with connect_pool(role_url("provisioning"), name="test") as pool:
        while True:
            # Each step by another process: what the one before it knew is gone.
            eraser = Eraser(pool, redis_url=redis_server, on_change=lambda: None, on_notice=lambda: None)
            if not await eraser.step(datetime.now(UTC)):
                break
            row = await db.fetchrow("select state, levels_left from data_request")
            seen.append((row["state"], len(row["levels_left"])))

    assert seen == [*(("deleted", left) for left in (4, 3, 2, 1, 0)), ("executed", 0)]
    count = "select count(*) from admin_audit where action = 'user.delete_executed'"
    assert await db.fetchval(count) == 1
    assert await db.fetchval("select count(*) from notice where kind = 'data.deleted'") == 1


async def executed(doors: Doors) -> str:
    asked = await doors.does("anna", "POST", "/account/data/delete-request")
    done = await doors.does("operator", "POST", f"/admin/data-requests/{asked['request_id']}/execute")
    assert done["state"] == "executed"
    return str(asked["request_id"])


async def read_registry(kafka: str) -> dict[str, Device | None]:
    """The topic as it would be after compaction."""
    said: dict[str, Device | None] = {}
    async with consumer(kafka, [REGISTRY], group=None) as source:
        partitions = source.assignment()
        ends = await source.end_offsets(partitions)
        while any([await source.position(each) < ends[each] for each in partitions]):
            for batch in (await source.getmany(timeout_ms=200)).values():
                for record in batch:
                    said[record.key.decode()] = record.value and Device.FromString(record.value)
    return said


async def test_tombstones_reach_the_registry_and_a_wiped_spool_ends_in_revocation_and_purge(
    tmp_path: Path,
    role_url: Callable[[str], str],
    environment: dict[str, str],
    kafka: str,
    redis_server: str,
    db: Any,
    anna: Person,
) -> None:  # H-025
    async with doors_of(tmp_path, role_url, {**environment, "KAFKA_BOOTSTRAP": kafka}, anna) as doors:
        await executed(doors)
        box, battery = f"{anna.tenant}/{anna.box}", f"{anna.tenant}/{anna.battery}"
        tombs = [tombstone_of(identity_hash(anna.tenant, name)) for name in (anna.box, anna.battery)]

        async def is_told() -> bool:
            said = await read_registry(kafka)
            return all(each in said for each in (*tombs, box, battery))

        await until("the registry has the tombstones", is_told)
        said = await read_registry(kafka)
        assert said[tombs[0]] == Device(state="erased")
        assert (said[box].state, said[box].wipe) == ("erased", True)  # type: ignore[union-attr]
        assert said[battery].wipe is False  # type: ignore[union-attr]

        word = AgentReply(tenant=anna.tenant, device=anna.box, reply=Reply(state=Reply.ERASED))
        async with producer(kafka, name="test") as out:
            await out.send(AGENT_REPLY, box, word.SerializeToString())

        async def is_revoked() -> bool:
            found = "select revoked_at is not null from certificate where device_id = $1"
            return bool(await db.fetchval(found, anna.box))

        await until("the box is revoked", is_revoked)
        reason = await db.fetchval("select revoke_reason from certificate where device_id = $1", anna.box)
        assert reason == "cessation_of_operation"

        async def order_is_gone() -> bool:
            device = (await read_registry(kafka))[box]
            return device is not None and not device.wipe

        await until("the order to wipe is taken back", order_is_gone)

    await db.execute("update session_cut set done_at = now()")
    at = await db.fetchval("select executed_at from data_request")
    async with connect_pool(role_url("provisioning"), name="test") as pool, producer(kafka, name="x") as out:
        eraser = Eraser(pool, redis_url=redis_server, on_change=lambda: None, on_notice=lambda: None)
        assert not await eraser.purge(at + timedelta(days=29), out)
        assert await db.fetchval("select count(*) from box where box_id = $1", anna.box) == 1
        assert await eraser.purge(at + timedelta(days=31), out)
        assert not await eraser.purge(at + timedelta(days=31), out)

    assert set(await where_found(db, anna.needles)) == {"admin_audit_log"}
    assert "admin_audit_log" not in await where_found(db, (anna.email, anna.house))
    said = await read_registry(kafka)
    assert (said[box], said[battery]) == (None, None)
    assert said[tombs[0]] == said[tombs[1]] == Device(state="erased")


async def test_a_box_that_never_answers_is_revoked_after_thirty_days(
    doors: Doors, role_url: Callable[[str], str], redis_server: str, db: Any, anna: Person
) -> None:
    await executed(doors)
    at = await db.fetchval("select executed_at from data_request")
    async with connect_pool(role_url("provisioning"), name="test") as pool:
        eraser = Eraser(pool, redis_url=redis_server, on_change=lambda: None, on_notice=lambda: None)
        assert not await eraser.revoke_erased(at + timedelta(days=29))
        assert await eraser.revoke_erased(at + timedelta(days=31))

    certificate = await db.fetchrow("select * from certificate where device_id = $1", anna.box)
    assert certificate["revoked_at"] is not None
    cut = "select count(*) from session_cut where device_id = $1 and done_at is null"
    assert await db.fetchval(cut, anna.box) == 1
    assert await db.fetchval("select bool_or(wipe) from device") is False


@pytest.mark.parametrize(
    ("answer", "outcome"), [("451 later", "again"), ("550 no such person", "failed"), ("250 OK", "sent")]
)
async def test_a_mail_is_repeated_until_it_is_out_or_can_never_be(
    role_url: Callable[[str], str], db: Any, anna: Person, post: Post, answer: str, outcome: str
) -> None:  # H-024
    post.sink.answer = answer
    await db.execute("delete from notice")
    await db.execute(
        "insert into notice (tenant_id, kind, recipient, subject, body)"
        " values ($1, 'x', $2, 'Subject', 'Body')",
        anna.tenant,
        anna.email,
    )
    now = datetime.now(UTC) + timedelta(seconds=1)
    async with connect_pool(role_url("provisioning"), name="test") as pool:
        notices = Notices(pool, Mailer(post.url, "Overwatt <no-reply@example.org>"))
        assert await notices.send_next(now)
        assert not await notices.send_next(now), "not again at once"

        row = await db.fetchrow("select * from notice")
        assert row["attempts"] == 1
        match outcome:
            case "sent":
                assert row["sent_at"]
                [(recipients, mail)] = post.sink.mails
                assert (recipients, mail["subject"]) == ([anna.email], "Subject")
                assert (row["recipient"], row["body"]) == ("", ""), "what is out is not kept"
            case "failed":
                assert row["failed_at"]
                assert "550" in row["error"]
            case "again":
                assert row["next_attempt_at"] > now
                post.sink.answer = "250 OK"
                assert await notices.send_next(now + timedelta(hours=2))
                [(_, mail)] = post.sink.mails
                assert str(row["notice_id"]) in str(mail["message-id"]), "the same message for a receiver"
                assert (await db.fetchrow("select * from notice"))["sent_at"]


async def test_nobody_smuggles_a_header_into_a_mail(
    role_url: Callable[[str], str], db: Any, anna: Person, post: Post
) -> None:
    await db.execute("delete from notice")
    await db.execute(
        "insert into notice (tenant_id, kind, recipient, subject, body) values ($1, 'x', $2, 'S', 'B')",
        anna.tenant,
        f"{anna.email}\nBcc: everybody@example.org",
    )
    async with connect_pool(role_url("provisioning"), name="test") as pool:
        await Notices(pool, Mailer(post.url, "a@example.org")).send_next(
            datetime.now(UTC) + timedelta(hours=1)
        )

    assert post.sink.mails == []
    assert (await db.fetchrow("select * from notice"))["failed_at"]


async def test_personal_values_are_sealed_and_unreadable_once_the_key_is_gone(
    role_url: Callable[[str], str], db: Any, anna: Person
) -> None:
    from services.runtime import personal

    api = await asyncpg.connect(role_url("api"))
    detail = {
        "email": anna.email,
        "rows": [{"recipient": anna.email, "n": 1}],
        "why": personal.Personal(str(anna.user), 'a "quoted" reason'),
        "plain": "x",
    }
    sealed = await personal.seal_detail(api, detail, anna.tenant)
    address = await personal.seal(api, "an operator, with blanks", "10.1.2.3")

    assert anna.email not in json.dumps(sealed)
    assert "quoted" not in json.dumps(sealed)
    assert await personal.seal(api, "other", sealed["email"]) == sealed["email"], "not twice"
    assert await personal.seal(api, "p", "v") != await personal.seal(api, "p", "v")
    rows: list[dict[str, Any]] = [{"detail": json.dumps(sealed), "address": address, "at": datetime.now(UTC)}]
    [opened] = await personal.open_rows(api, rows)
    assert json.loads(opened["detail"]) == {**detail, "why": 'a "quoted" reason'}
    assert opened["address"] == "10.1.2.3"

    await db.execute("delete from personal_key")

    [opened] = await personal.open_rows(api, rows)
    assert json.loads(opened["detail"])["email"] == "erased"
    assert opened["address"] == "erased"
    # A new key of the same person does not open what the old one closed.
    await personal.seal(api, personal.person_of_email(anna.tenant, anna.email), "x")
    [opened] = await personal.open_rows(api, rows)
    assert json.loads(opened["detail"])["email"] == "erased"
    await api.close()


async def test_the_database_is_asked_for_nothing_where_nothing_is_sealed() -> None:
    from services.runtime import personal

    assert await personal.open_rows(None, [{"detail": "{}", "n": 1}]) == [{"detail": "{}", "n": 1}]  # type: ignore[arg-type]


def test_the_notice_says_exactly_that_and_what_is_left() -> None:  # H-024
    from services.provisioning.erasure import plan

    assert SENTENCE in plan.NOTICE.splitlines()
    assert "7 days" in plan.NOTICE
    assert "30 days" in plan.NOTICE


async def test_nothing_waits_for_ever_on_a_mail_server_that_is_not_there() -> None:
    from services.runtime.errors import Unavailable

    with pytest.raises(Unavailable):
        await asyncio.wait_for(Mailer("smtp://127.0.0.1:1", "a@b").send("c@d", "s", "b", message_id="1"), 30)
