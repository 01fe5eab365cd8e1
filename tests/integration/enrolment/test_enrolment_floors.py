"""The floors: of many at once, exactly one certificate each."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx2

from services.provisioning.enrolment import store
from services.provisioning.enrolment.tokens import hash_of
from services.runtime import clock
from tests.integration.enrol_rig import EMAIL, Place, add_boxes, add_tokens, audit_rows


async def test_fifty_redemptions_at_once_give_exactly_one_certificate(place: Place, db: Any) -> None:
    # H-013, floor: 50 concurrent redemptions of one token: exactly one.
    token = await place.token("hems-900100")

    answers = await asyncio.gather(*(place.enrol(token, place.a_box()) for _ in range(50)))

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 410, 429}
    assert await db.fetchval("select count(*) from certificate") == 1
    assert len(await audit_rows(db, "box.enrolled")) == 1


async def test_the_statement_that_spends_a_token_is_enough_without_any_lock(
    db: Any, role_url: Callable[[str], str]
) -> None:  # H-013
    await add_boxes(db, "tenant-a", "hems-900100")
    [token] = await add_tokens(db, "tenant-a", "hems-900100")

    async def spend(number: int) -> bool:
        connection = await asyncpg.connect(role_url("provisioning"))
        try:
            return await store.use_token(
                connection, hash_of(token), clock.now(), bytes([number]) * 32, f"{number:x}"
            )
        finally:
            await connection.close()

    spent = await asyncio.gather(*(spend(number) for number in range(1, 21)))

    assert spent.count(True) == 1
    serial = await db.fetchval("select serial from enrol_token")
    assert int(serial, 16) == spent.index(True) + 1


async def test_fifty_repetitions_of_one_box_at_once_get_the_same_certificate(place: Place, db: Any) -> None:
    token, box = await place.token("hems-900100"), place.a_box()

    answers = await asyncio.gather(*(place.enrol(token, box) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["certificate"] for answer in answers}) == 1
    assert await db.fetchval("select count(*) from certificate") == 1


async def test_a_thousand_boxes_at_once_have_exactly_one_certificate_each(place: Place, db: Any) -> None:
    # Floor: 1,000 boxes enrol at once and each has exactly one certificate.
    names = [f"box-{number:04d}" for number in range(1000)]
    await add_boxes(db, place.tenant, *names)
    tokens = await add_tokens(db, place.tenant, *names)
    csr = place.a_box().csr
    context = place.a_box().context(place.authority.root)

    async def one(token: str) -> int:
        body = {"token": token, "email": EMAIL, "csr": csr}
        for _ in range(20):
            try:
                answer = await place.post("/enroll", body, context)
            except httpx2.TransportError:
                continue  # a box tries again with the same key
            if answer.status_code != 503:
                return answer.status_code
        return 0

    statuses = await asyncio.gather(*(one(token) for token in tokens))

    assert set(statuses) == {200}
    counts = await db.fetch("select device_id, count(*) from certificate group by device_id")
    assert {row["count"] for row in counts} == {1}
    assert {row["device_id"] for row in counts} == set(names)
    assert await db.fetchval("select count(distinct serial) from certificate") == 1000
