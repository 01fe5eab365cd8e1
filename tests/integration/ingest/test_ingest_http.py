"""Ingest by HTTP on the real path: what is answered `accepted` is in the database, and nothing twice."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from overwatt.reasons import Reason
from scripts.local import certificates
from services.ingest.http.app import make_app
from services.ingest.http.handover import Handover
from services.ingest.quotas import Quotas
from tests.integration.fuzzer import fuzz, with_names
from tests.integration.ingest.conftest import Platform
from tests.integration.ingest.http_rig import BATCH, Door, Meter, a_client, counts, sample

HOUR_S, DAY_S = 3_600, 86_400
WAITING = 50
"""INGEST_QUEUE_SIZE of these tests."""


@pytest.fixture
async def door(platform_path: Platform) -> AsyncIterator[Door]:
    await asyncio.to_thread(platform_path.stack.start, "ingest-http")
    async with a_client(platform_path) as http:
        yield Door(platform_path, http)


@pytest.fixture
async def meter(door: Door, tenant: str) -> Meter:
    return await door.meter(tenant, "meter-1", external_id="EAN 1")


async def test_what_is_accepted_is_in_the_database(door: Door, meter: Meter) -> None:  # U-P06
    one = await door.send(meter, sample(20.5))
    assert (counts(one), await door.temperatures(meter)) == ((202, 1, 0), [20.5])

    bearer = {"Authorization": f"Bearer {meter.token}"}
    two = await door.http.post(meter.path, json=[sample(21), sample(22)], headers=bearer)
    assert counts(two) == (202, 2, 0)
    assert await door.temperatures(meter) == [20.5, 21, 22]

    without_time = [{"metrics": {"temp_c": value}} for value in (23, 24)]
    assert counts(await door.batch(meter, *without_time)) == (202, 2, 0)
    assert await door.temperatures(meter) == [20.5, 21, 22, 23, 24]


async def test_a_hundred_at_once_are_each_answered_with_their_own(door: Door, tenant: str) -> None:
    # U-P06: two batches of 20 and of other devices are under way together
    meters = [await door.meter(tenant, f"m-{number}") for number in range(10)]
    messages = [[sample(number), sample(500 + number, ago_s=1, seq=7)] for number in range(10)]
    bad = {"metrics": {"temp_c": "warm"}}

    answers = await asyncio.gather(
        *(
            door.batch(each, *some, *([bad] if place % 2 else []))
            for place, (each, some) in enumerate(zip(meters, messages, strict=True))
        )
    )

    assert [counts(answer)[1:] for answer in answers] == [(2, place % 2) for place in range(10)]
    for place, each in enumerate(meters):
        assert await door.temperatures(each) == [500 + place, place]


async def test_unknown_external_ids_are_rejected_and_no_error(door: Door, meter: Meter) -> None:  # T-060
    answer = await door.batch(meter, *(sample(n, external_id=f"nobody's {n}") for n in range(3)))

    assert counts(answer) == (202, 0, 3)
    assert {result["reason"] for result in answer.json()["results"]} == {Reason.DEVICE_UNKNOWN}
    assert 'external_id "nobody\'s 0" is not registered' in answer.json()["results"][0]["detail"]


async def test_of_a_mixed_batch_the_known_rows_are_accepted(door: Door, tenant: str) -> None:  # T-061
    other = await door.meter(tenant, "asset-1", external_id="EAN 2")
    barred = await door.meter(tenant, "asset-2")
    await door.meter(tenant, "not-mine")
    await door.path.fetch("update device set state = 'disabled' where device_key = $1", barred.key)
    logger = await door.meter(tenant, "logger", external_id="LOG", assets=("asset-1", "asset-2"))
    wrong = {
        "": (sample(1), sample(2, ago_s=1, device_id="logger"), sample(3, ago_s=2, external_id="LOG"),
             sample(4, external_id="EAN 2"), sample(5, ago_s=1, device_id="asset-1")),
        Reason.DEVICE_UNKNOWN: (sample(6, device_id="nobody"), sample(6, external_id="nobody")),
        Reason.ASSET_NOT_ALLOWED: (sample(6, device_id="not-mine"),),
        Reason.DEVICE_REVOKED: (sample(6, device_id="asset-2"),),
        Reason.MALFORMED: (sample(6, device_id="a/+"), sample(6, external_id="a\0"), 5, [sample(6)], {},
                           sample(6, device_id="logger", external_id="LOG"), {"metrics": {"x y": 1}}),
        Reason.TIME_IN_FUTURE: (sample(6, ago_s=-600),),
        Reason.TIME_TOO_OLD: (sample(6, ago_s=85 * DAY_S),),
        Reason.PAYLOAD_TOO_LARGE: (sample(6, note="x" * 17_000),),
    }  # fmt: skip

    answer = await door.batch(logger, *(each for some in wrong.values() for each in some))

    told = answer.json()
    assert counts(answer)[1] + counts(answer)[2] == sum(map(len, wrong.values()))
    found = Counter(result.get("reason", "") for result in told["results"])
    assert found == {reason: len(some) for reason, some in wrong.items()}
    later = {result["reason"] for result in told["results"] if result.get("final") is False}
    assert later == {Reason.DEVICE_UNKNOWN, Reason.ASSET_NOT_ALLOWED, Reason.TIME_IN_FUTURE}
    assert all(result["detail"] for result in told["results"] if result["status"] == "rejected")
    assert await door.temperatures(logger) == [3, 2, 1]
    assert await door.temperatures(other) == [5, 4]


async def test_the_same_measurements_again_change_nothing(door: Door, meter: Meter) -> None:  # T-085, U-P06
    firmware = [sample(n, ago_s=3 * DAY_S + n * HOUR_S) for n in range(20)]
    first = await door.batch(meter, *firmware)
    stored = await door.temperatures(meter)

    again = await door.batch(meter, *firmware, *firmware[:5])

    assert (counts(first), counts(again)) == ((202, 20, 0), (202, 25, 0))
    assert sorted(stored) == list(range(20))
    assert await door.temperatures(meter) == stored


async def test_another_value_for_the_same_time_is_rejected_and_the_first_stays(
    door: Door, meter: Meter
) -> None:  # U-P06
    first = sample(20)
    await door.send(meter, first)

    answer = await door.send(meter, first | {"metrics": {"temp_c": 21}})

    [result] = answer.json()["results"]
    assert counts(answer) == (202, 0, 1)
    assert (result["reason"], result["final"]) == (Reason.CONFLICTING_SAMPLE, True)
    assert await door.temperatures(meter) == [20]


async def test_the_tenant_is_the_tokens_and_never_the_bodys(door: Door, meter: Meter, tenant: str) -> None:
    # U-P06, U-P07
    foreign = await door.meter(f"{tenant}-b", "meter-1", external_id="EAN 1")
    other = await door.meter(tenant, "meter-2")

    by_path = await door.http.post(foreign.path, json=sample(1), headers=meter.head)
    sibling = await door.http.post(other.path, json=sample(1), headers=meter.head)
    by_body = await door.batch(
        meter,
        sample(2, tenant_id=foreign.tenant, device_id="meter-1"),
        sample(3, external_id="EAN 1"),
        sample(4, ago_s=1, tenant_id=tenant, device_id="meter-1"),
    )

    assert (by_path.status_code, sibling.status_code) == (403, 403)
    assert "this token is of" in by_path.json()["detail"]
    assert counts(by_body) == (202, 2, 1)
    assert by_body.json()["results"][0]["reason"] == Reason.ADDRESS_MISMATCH
    assert await door.temperatures(meter) == [4, 3]
    assert await door.temperatures(foreign) == await door.temperatures(other) == []


async def test_a_token_that_was_taken_back_is_refused_with_the_next_request(
    door: Door, meter: Meter
) -> None:  # U-P06
    def set_state(what: str) -> str:
        return f"update device set state = '{what}' where device_key = $1"

    await door.send(meter, sample(1))
    await door.path.fetch(set_state("disabled"), meter.key)
    disabled = await door.send(meter, sample(2))
    await door.path.fetch(set_state("active"), meter.key)
    await door.path.fetch("update tenant set state = 'disabled' where tenant_id = $1", meter.tenant)
    with_tenant = await door.send(meter, sample(3))
    await door.path.fetch("update tenant set state = 'active' where tenant_id = $1", meter.tenant)
    await door.path.fetch("update device_token set revoked_at = now() where tenant_id = $1", meter.tenant)
    revoked = await door.send(meter, sample(4))

    assert [answer.status_code for answer in (disabled, with_tenant, revoked)] == [403, 403, 401]
    assert disabled.json()["reason"] == Reason.DEVICE_REVOKED
    assert revoked.headers["WWW-Authenticate"] == "Bearer"
    assert await door.temperatures(meter) == [1]
    assert meter.token not in door.path.stack.log_file("ingest-http").read_text()


async def test_errors_say_what_to_do(door: Door, meter: Meter) -> None:  # U-P06
    post, good, warm = door.http.post, sample(1), {"metrics": {"temp_c": "x"}}
    strange = {"X-Provision-Token": "x"}
    cases: list[tuple[int, str, httpx2.Response]] = [
        (401, "X-Provision-Token", await post(meter.path, json=good)),
        (401, "unknown or was taken back", await post(meter.path, json=good, headers=strange)),
        (401, "Bearer <token>", await post(BATCH, json=good, headers={"Authorization": "Basic eDp5"})),
        (400, "metrics.temp_c is 'x'; it must be a number", await door.send(meter, warm)),
        (400, "not JSON", await post(meter.path, content=b"{", headers=meter.head)),
        (400, "Expected `object`", await post(BATCH, content=b"[]", headers=meter.head)),
        (400, "1 to 100", await door.batch(meter, *[good] * 101)),
        (400, "1 to 100", await door.batch(meter)),
        (413, "at most 16384", await door.send(meter, good | {"note": "x" * 17_000})),
        (413, "at most 262144", await door.batch(meter, good | {"note": "x" * 270_000})),
        (405, "GET is not possible", await door.http.get(BATCH)),
        (404, "no route", await door.http.get("/docs")),
        (404, "no route", await door.http.get("/health")),
    ]  # fmt: skip

    for status, sentence, answer in cases:
        assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text
    assert await door.temperatures(meter) == []


async def test_who_sends_too_much_is_held_back_and_nobody_else(door: Door, meter: Meter, tenant: str) -> None:
    # U-P05, U-P06: 10 messages of 16 KiB a second, 50 at once; each of these batches is 16 of them
    calm = await door.meter(tenant, "calm")
    nobody = [sample(1, external_id="nobody", note="x" * 2_400)] * 100

    answers = await asyncio.gather(*(door.batch(meter, *nobody) for _ in range(20)))
    held = [answer for answer in answers if answer.status_code == 429]
    undisturbed = await door.send(calm, sample(1))

    assert held
    assert {answer.status_code for answer in answers} == {202, 429}
    assert int(held[-1].headers["Retry-After"]) >= 1
    assert held[-1].json()["reason"] == Reason.RATE_LIMITED
    assert counts(undisturbed) == (202, 1, 0)


async def test_what_was_rejected_is_counted_exactly(door: Door, meter: Meter) -> None:  # U-P05
    bad = [{"metrics": {"temp_c": None}} for _ in range(25)]
    await door.batch(meter, *bad, sample(1, external_id="EAN 9"))
    await asyncio.to_thread(
        door.path.stack.stop_part, "ingest-http"
    )  # the rest of a minute is told at the end

    query = "select sum(count) from rejection where tenant_id = $1 and reason = $2"
    await door.path.until(query, meter.tenant, "MALFORMED", is_true=lambda count: count == 25)
    await door.path.until(query, meter.tenant, "DEVICE_UNKNOWN", is_true=lambda count: count == 1)
    rows = await door.path.fetch(
        "select * from rejection where tenant_id = $1 and reason = 'MALFORMED' and payload <> ''",
        meter.tenant,
    )
    assert len(rows) == 10
    assert {(row["device_id"], row["source_topic"]) for row in rows} == {("meter-1", BATCH)}


async def test_samples_that_wait_are_bounded(door: Door, meter: Meter) -> None:
    answer = await door.batch(meter, *(sample(n, ago_s=n) for n in range(WAITING + 1)))

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "too many samples wait" in answer.json()["detail"]
    assert await door.temperatures(meter) == []


async def test_no_request_finds_a_bug(door: Door, meter: Meter, tmp_path: Path) -> None:  # U-P06
    quotas = Quotas(device_rate=0, device_burst=1, tenant_rate=0, tenant_burst=1)
    described: Any = make_app(None, Handover("", most_waiting=1), quotas).openapi()  # type: ignore[arg-type]
    described = with_names(
        json.loads(json.dumps(described)), {"tenant": [meter.tenant, "a+"], "device": [meter.device, "x"]}
    )
    own, root = door.http.base_url, certificates.directory(door.path.stack.home) / "root.pem"
    log, head = door.path.stack.log_file("ingest-http"), f"X-Provision-Token: {meter.token}"

    await asyncio.to_thread(fuzz, tmp_path, described, str(own), log, "-H", head, "--tls-verify", str(root))


async def test_without_tls_nothing_is_read(door: Door, meter: Meter) -> None:
    port = door.path.stack.ports.ingest_http
    with pytest.raises(httpx2.TransportError):
        async with httpx2.AsyncClient(timeout=10) as plain:
            await plain.post(f"http://127.0.0.1:{port}{meter.path}", json=sample(1), headers=meter.head)
    with pytest.raises(httpx2.ConnectError):
        async with httpx2.AsyncClient(verify=ssl.create_default_context()) as strict:
            await strict.post(f"https://127.0.0.1:{port}{meter.path}", json=sample(1), headers=meter.head)
