"""What is said about an erasure, and what nobody can read afterwards: mails and sealed values."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from services.provisioning.notices import Notices
from services.runtime.mail import Mailer
from services.runtime.postgres import connect_pool
from tests.integration.erasure_rig import Post
from tests.integration.erasure_world import Person

SENTENCE: Final = "your data has been deleted."


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
