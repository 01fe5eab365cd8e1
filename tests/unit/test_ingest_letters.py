"""Dead letters as people read them, and as they would be sent again."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.reasons import Reason
from overwatt.topics import PROTOBUF
from overwatt.v1.telemetry_pb2 import Record
from services.ingest.letters.cli import explained, since, table
from services.ingest.letters.letter import ADVICE, Letter, again, readable
from services.ingest.model import Message
from services.ingest.rejections import MOST_PAYLOAD
from services.runtime.errors import Invalid
from tests.integration.ingest.conftest import a_batch

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_letter(payload: bytes = b'{"metrics": {"temp_c": 1}}', **fields: object) -> Letter:
    known = {
        "id": 42, "at": AT, "tenant": "t", "device": "d", "asset": "", "reason": "MALFORMED",
        "detail": "metrics.temp_c is 'warm'; it must be a number", "payload": payload, "count": 1,
        "topic": "devices/t/d/telemetry",
    }  # fmt: skip
    return Letter(**(known | fields))  # type: ignore[arg-type]


def test_a_message_is_sent_again_as_it_came_at_the_time_at_which_it_came() -> None:
    message = again(a_letter())
    assert isinstance(message, Message)
    assert (message.topic, message.content_type) == ("devices/t/d/telemetry", "")
    assert message.received_at_us == int(AT.timestamp()) * 1_000_000

    batch = again(a_letter(a_batch(epoch=0x7B, first_seq=1, times_us=[1], power=[1.0])))
    assert isinstance(batch, Message)
    assert batch.content_type == PROTOBUF


def test_what_came_by_http_or_was_refused_by_the_writer_is_sent_again_as_its_device_would() -> None:
    by_http = again(a_letter(topic="/ingest/v1/batch"))
    assert isinstance(by_http, Message)
    assert by_http.topic == "devices/t/d/telemetry"

    row = json.dumps({"ts_us": 1_700_000_000_123_456, "metrics": {"temp_c": 3}, "seq": 9}).encode()
    by_writer = again(a_letter(row, topic="", asset="meter"))
    assert isinstance(by_writer, Message)
    assert by_writer.topic == "devices/t/meter/telemetry"
    assert json.loads(by_writer.payload) == {
        "ts": "2023-11-14T22:13:20.123456+00:00",
        "metrics": {"temp_c": 3},
    }


def test_what_named_another_device_by_http_is_never_stored_under_its_senders_name() -> None:
    payload = b'{"metrics": {"temp_c": 1}, "external_id": "EAN 9"}'
    refused = again(a_letter(payload, topic="/ingest/v1/batch", asset="EAN 9", reason="DEVICE_UNKNOWN"))
    assert refused == "it names 'EAN 9', which d could not use: who sent it by HTTP was told"


def test_a_record_goes_back_to_the_writer() -> None:
    record = Record(tenant="t", device="d", epoch=5)
    letter = a_letter(record.SerializeToString(), topic="", detail="Kafka topic telemetry: partition 0")
    assert again(letter) == record


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"count": 15}, "counted and not kept"),
        ({"payload": b""}, "no payload"),
        ({"payload": b"x" * MOST_PAYLOAD}, "only its first"),
        ({"topic": "devices/t/d/status"}, "a status"),
        ({"topic": "", "device": "../x"}, "must match"),
    ],
)
def test_it_says_why_it_cannot_be_sent_again(fields: dict[str, object], why: str) -> None:
    said = again(a_letter(**fields))
    assert isinstance(said, str)
    assert why in said


@given(st.binary(max_size=300), st.sampled_from(["", "devices/t/d/telemetry", "/ingest/v1/batch", "\0"]))
def test_no_payload_is_too_strange_to_be_shown(payload: bytes, topic: str) -> None:
    assert explained(a_letter(payload, topic=topic))
    assert len(readable(payload)) <= 4_000


def test_an_explanation_says_what_is_wrong_and_what_would_be_right() -> None:
    text = explained(a_letter())
    assert "metrics.temp_c is 'warm'" in text
    assert "smallest good message" in text
    assert '"temp_c": 1' in text
    assert "final" in text
    batch = explained(a_letter(a_batch(epoch=5, first_seq=7, times_us=[10**15, 2 * 10**15], power=[1.5, 2])))
    assert '"active_power_w": [' in batch
    assert '"first_seq": 7' in batch


def test_every_reason_has_advice() -> None:
    assert set(ADVICE) == set(Reason)


def test_the_list_sums_what_its_lines_stand_for() -> None:
    assert table([a_letter(), a_letter(count=15)]).endswith("2 dead letters for 16 messages and samples")


def test_since_is_a_span_or_a_time_with_its_offset() -> None:
    assert since("90m", AT) == AT - timedelta(minutes=90)
    assert since("7d", AT) == AT - timedelta(days=7)
    assert since("2026-05-01T12:00Z", AT) == AT
    for wrong in ("yesterday", "2026-05-01T12:00", "5x"):
        with pytest.raises(Invalid, match="--since"):
            since(wrong, AT)
