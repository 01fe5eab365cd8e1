"""EMQX is told over its REST interface who is out; the interface is a fake, no EMQX runs here."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from services.provisioning.brokers.emqx import LOOK_AGAIN, PAGE, Emqx
from services.provisioning.brokers.wanted import Wanted
from services.runtime.errors import Unavailable
from tests.fakes.emqx import FakeEmqx, a_fake_emqx

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def fake() -> Iterator[FakeEmqx]:
    with a_fake_emqx() as running:
        yield running


@pytest.fixture
async def emqx(fake: FakeEmqx) -> AsyncIterator[Emqx]:
    async with httpx2.AsyncClient(base_url=fake.url, auth=("key", "secret")) as http:
        yield Emqx(http)


def denying(*names: str) -> Wanted:
    return Wanted(denied=names, passwords=(), revoked=())


async def test_who_is_denied_is_banned_by_user_name_and_let_in_again_afterwards(
    fake: FakeEmqx, emqx: Emqx
) -> None:
    await emqx.keep(denying("t/a", "t/b"), NOW)
    assert {(ban["as"], ban["who"]) for ban in fake.bans.values()} == {
        ("username", "t/a"),
        ("username", "t/b"),
    }

    await emqx.keep(denying("t/b"), NOW)

    assert set(fake.bans) == {"t/b"}
    assert fake.authorizations == {"Basic a2V5OnNlY3JldA=="}


async def test_bans_that_people_made_stay(fake: FakeEmqx, emqx: Emqx) -> None:
    for who, by in (("t/a", "mgmt_api"), ("t/old", "overwatt")):
        fake.bans[who] = {"as": "username", "who": who, "by": by}

    await emqx.keep(denying("t/a"), NOW)

    assert fake.bans == {"t/a": {"as": "username", "who": "t/a", "by": "mgmt_api"}}


async def test_nothing_is_said_twice_but_a_lifted_ban_comes_back(fake: FakeEmqx, emqx: Emqx) -> None:
    await emqx.keep(denying("t/a"), NOW)
    told = list(fake.writes)
    await emqx.keep(denying("t/a"), NOW + timedelta(seconds=1))
    assert fake.writes == told

    fake.bans.clear()
    await emqx.keep(denying("t/a"), NOW + LOOK_AGAIN + timedelta(seconds=1))

    assert set(fake.bans) == {"t/a"}


async def test_more_bans_than_fit_on_a_page_are_all_seen(fake: FakeEmqx, emqx: Emqx) -> None:
    names = tuple(f"t/d{number}" for number in range(PAGE + 1))
    fake.bans.update({who: {"as": "username", "who": who, "by": "overwatt"} for who in names})

    await emqx.keep(denying(*names), NOW)

    assert fake.writes == []


async def test_a_session_is_kicked_by_its_client_id(fake: FakeEmqx, emqx: Emqx) -> None:
    await emqx.cut("t/a", NOW)

    assert fake.kicked == ["t/a"]


async def test_an_emqx_that_does_not_answer_is_unavailable_and_told_later(fake: FakeEmqx, emqx: Emqx) -> None:
    fake.is_out_of_order = True
    with pytest.raises(Unavailable, match="answered 503"):
        await emqx.keep(denying("t/a"), NOW)
    with pytest.raises(Unavailable, match="answered 503"):
        await emqx.cut("t/a", NOW)
    fake.is_out_of_order = False

    await emqx.keep(denying("t/a"), NOW)

    assert set(fake.bans) == {"t/a"}
