"""The HTTP door's decisions: what a batch says, who waits for what, and when it may run without TLS."""

import asyncio
import json
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import Ack, Range, Refusal
from services.ingest.acks import refusal
from services.ingest.http.body import MOST_ITEMS, Verdict, answer_of, items_of
from services.ingest.http.tls import keep_certificate_fresh, server_context
from services.ingest.http.waiting import Full, Waiting
from services.ingest.http.wiring import http
from services.ingest.settings import Settings
from services.runtime.errors import Invalid

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_no_body_raises_more_than_invalid(body: bytes) -> None:  # U-P06
    with suppress(Invalid):
        assert len(items_of(body)) <= MOST_ITEMS


@given(st.lists(anything, min_size=1, max_size=5))
def test_an_item_that_cannot_be_read_does_not_harm_the_others(items: list[Any]) -> None:  # T-061
    good = {"metrics": {"temp_c": 1}, "external_id": "EAN 7"}
    body = json.dumps({"messages": [*items, good]}, allow_nan=False).encode() if _is_json(items) else b""
    if body:
        assert len(items_of(body)) == len(items) + 1
        assert (items_of(body)[-1].external_id, items_of(body)[-1].wrong) == ("EAN 7", "")


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False).encode()
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def test_accepted_and_rejected_add_up() -> None:  # T-061
    told = answer_of(
        [Verdict(), Verdict.of_writer(Reason.CONFLICTING_SAMPLE), Verdict(Reason.MALFORMED, "x")]
    )

    assert (told["accepted"], told["rejected"]) == (1, 2)
    assert [each["status"] for each in told["results"]] == ["accepted", "rejected", "rejected"]
    assert "the first one stays" in told["results"][1]["detail"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.randoms())
def test_each_request_hears_of_its_own_samples_and_of_all(sizes: list[int], random: Any) -> None:  # U-P06
    waiting = Waiting(most=100)
    requests = [waiting.expect(size) for size in sizes]
    refused = {number for each in requests for number in each.numbers if random.random() < 0.3}
    numbers = [number for each in requests for number in each.numbers]
    random.shuffle(numbers)

    for number in numbers:
        assert not all(each.is_settled.is_set() for each in requests)
        span = [Range(first=number, last=number)]
        is_refused = number in refused
        waiting.settle(
            Ack(refused=[refusal(Reason.TIME_IN_FUTURE, [(number, number)])])
            if is_refused
            else Ack(committed=span)
        )

    assert all(each.is_settled.is_set() for each in requests)
    assert len(waiting) == 0
    for each in requests:
        assert each.verdicts == [Reason.TIME_IN_FUTURE if n in refused else None for n in each.numbers]


def test_what_waits_is_bounded_and_forgotten_when_nobody_waits() -> None:
    waiting = Waiting(most=3)
    expected = waiting.expect(3)
    with pytest.raises(Full):
        waiting.expect(1)

    waiting.forget(expected)
    waiting.settle(Ack(committed=[Range(first=1, last=3)], refused=[Refusal(reason="MALFORMED")]))

    assert len(waiting) == 0
    assert not expected.is_settled.is_set()
    assert list(waiting.expect(1).numbers) == [4]  # a late outcome is never another request's


async def test_production_refuses_to_open_without_tls() -> None:
    with pytest.raises(SystemExit, match="INGEST_HTTP_CERT and INGEST_HTTP_KEY are not set"):
        await http(Settings(environment="production"))
    with pytest.raises(ValueError, match="belong together"):
        Settings(ingest_http_cert=Path("a.pem"))
    with pytest.raises(SystemExit, match="cannot be used"):
        server_context(Path("nowhere.pem"), Path("nowhere.key"))


async def test_a_renewed_certificate_is_taken_up(tmp_path: Path) -> None:
    certificate, key = tmp_path / "a.pem", tmp_path / "a.key"
    certificate.write_text("")
    key.write_text("")
    loaded = asyncio.Event()

    class Context:
        def load_cert_chain(self, first: Path, second: Path) -> None:
            if first.read_text() == "broken":
                first.write_text("renewed")
                raise ssl.SSLError("no certificate")
            assert (first.read_text(), second) == ("renewed", key)
            loaded.set()

    keeping = asyncio.create_task(
        keep_certificate_fresh(Context(), certificate, key, period_s=0.01)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)  # it has looked once
    certificate.write_text("broken")  # half written: looked at again
    async with asyncio.timeout(10):
        await loaded.wait()
    keeping.cancel()
