"""What devices send: every shape of it is understood or refused with a reason, and nothing raises."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt import topics
from overwatt.reasons import Reason
from overwatt.v1.agent_pb2 import AgentEvent, AgentReply, AgentStatus, Event, Reply, Status
from overwatt.v1.telemetry_pb2 import Batch, Block, Column, Record
from services.ingest.decode import Meaning, decode
from services.ingest.model import AgentBatch, Member, Message, Rejected, Said, Samples
from services.ingest.registry import Registry

NOW_US = 1_800_000_000_000_000
SENSOR = "devices/tenant-a/sensor-001/telemetry"
AGENT = "devices/tenant-a/site-1/telemetry"


def a_registry() -> Registry:
    registry = Registry()
    members = (
        Member("tenant-a", "sensor-001", 1, site="site-1"),
        Member("tenant-a", "site-1", 2, type="agent", assets=frozenset({"bat-1", "bat-2", "ghost"})),
        Member("tenant-a", "bat-1", 3),
        Member("tenant-a", "bat-2", 4, state="disabled"),
        Member("tenant-a", "bat-9", 5),
        Member("tenant-a", "erased-1", 6, state="erased"),
        Member("tenant-a", "old-1", 7, state="decommissioned"),
    )
    registry.members = {f"{member.tenant}/{member.device}": member for member in members}
    return registry


def said(payload: bytes | str | object, topic: str = SENSOR, content_type: str = "") -> Meaning:
    if not isinstance(payload, bytes):
        payload = (payload if isinstance(payload, str) else json.dumps(payload)).encode()
    return decode(Message(topic, payload, content_type, NOW_US), a_registry())


def refused(payload: bytes | str | object, topic: str = SENSOR, content_type: str = "") -> Rejected:
    meaning = said(payload, topic, content_type)
    assert isinstance(meaning, Rejected), meaning
    return meaning


def a_block(rows: int = 3, asset: str = "bat-1", first: int = 0, **changes: Any) -> Block:
    fields: dict[str, Any] = {
        "asset": asset,
        "ts_us": struct.pack(f"<{rows}q", *(NOW_US + i for i in range(rows))),
        "seq_offset": struct.pack(f"<{rows}I", *(first + i for i in range(rows))),
        "columns": [Column(quantity=1, values=struct.pack(f"<{rows}d", *map(float, range(rows))))],
    }
    return Block(**(fields | changes))


def a_batch(*blocks: Block, epoch: int = 77, first_seq: int = 10) -> bytes:
    return Batch(epoch=epoch, first_seq=first_seq, blocks=blocks).SerializeToString()


def of_agent(payload: bytes, topic: str = AGENT) -> AgentBatch:
    meaning = said(payload, topic, topics.PROTOBUF)
    assert isinstance(meaning, AgentBatch), meaning
    return meaning


def test_the_plain_message_is_a_sample_at_its_time_of_arrival() -> None:  # P-033
    meaning = said('{"metrics":{"temp_c":25.5}}')

    assert isinstance(meaning, Samples)
    [sample] = meaning.samples
    assert (sample.ts_us, sample.seq, sample.metrics) == (NOW_US, 0, {"temp_c": 25.5})
    assert meaning.member.key == 1


@pytest.mark.parametrize(
    ("ts", "expected_us"),
    [
        ("2026-05-01T12:00:00Z", 1_777_636_800_000_000),
        ("2026-05-01T14:00:00.000001+02:00", 1_777_636_800_000_001),
        (1_777_636_800, 1_777_636_800_000_000),
        (1_777_636_800.25, 1_777_636_800_250_000),
    ],
)
def test_a_sample_may_bring_its_own_time(ts: object, expected_us: int) -> None:
    meaning = said({"metrics": {"temp_c": 1}, "ts": ts})

    assert isinstance(meaning, Samples)
    assert meaning.samples[0].ts_us == expected_us


def test_a_list_is_many_samples_with_times_apart() -> None:
    meaning = said([{"metrics": {"temp_c": 1}}, {"metrics": {"temp_c": 2}, "seq": 9}])

    assert isinstance(meaning, Samples)
    assert [(s.ts_us, s.seq) for s in meaning.samples] == [(NOW_US, 0), (NOW_US + 1, 9)]


@pytest.mark.parametrize(
    ("payload", "reason", "named"),
    [
        ("", Reason.MALFORMED, "not JSON"),
        ("\xff\xfe", Reason.MALFORMED, "not JSON"),
        ("[" * 5_000, Reason.MALFORMED, "JSON"),
        ("[]", Reason.MALFORMED, "at least one"),
        ("7", Reason.MALFORMED, "metrics"),
        ('{"temp_c": 25.5}', Reason.MALFORMED, "metrics"),
        ('{"metrics":{}}', Reason.MALFORMED, "metrics is empty"),
        ('{"metrics":{"temp_c":NaN}}', Reason.NOT_A_NUMBER, "metrics.temp_c"),
        ('{"metrics":{"a":1,"temp_c":-Infinity}}', Reason.NOT_A_NUMBER, "metrics.temp_c"),
        ('{"metrics":{"temp_c":1e999}}', Reason.NOT_A_NUMBER, "metrics.temp_c"),
        ('{"metrics":{"temp_c":1' + "0" * 400 + "}}", Reason.NOT_A_NUMBER, "metrics.temp_c"),
        ('{"metrics":{"temp_c":true}}', Reason.MALFORMED, "metrics.temp_c is True"),
        ('{"metrics":{"temp_c":"25.5"}}', Reason.MALFORMED, "metrics.temp_c is '25.5'"),
        ('{"metrics":{"temp_c":null}}', Reason.MALFORMED, "metrics.temp_c is None"),
        ('{"metrics":{"Temp C":1}}', Reason.MALFORMED, "Temp C"),
        ('{"metrics":{"' + "a" * 65 + '":1}}', Reason.MALFORMED, "at most 64"),
        ('{"metrics":{"a":1},"ts":"yesterday"}', Reason.MALFORMED, "yesterday"),
        ('{"metrics":{"a":1},"ts":"2026-05-01T12:00:00"}', Reason.MALFORMED, "append Z"),
        ('{"metrics":{"a":1},"ts":1777636800000}', Reason.MALFORMED, "milliseconds"),
        ('{"metrics":{"a":1},"ts":true}', Reason.MALFORMED, "ts is True"),
        ('{"metrics":{"a":1},"seq":0}', Reason.MALFORMED, "seq is 0"),
        ('{"metrics":{"a":1},"seq":9223372036854775807}', Reason.MALFORMED, "seq"),
        ('{"metrics":{"a":1},"seq":1.5}', Reason.MALFORMED, "seq is 1.5"),
    ],
)
def test_what_is_wrong_is_named(payload: str, reason: Reason, named: str) -> None:
    rejected = refused(payload)

    assert rejected.reason == reason
    assert named in rejected.detail
    assert (rejected.tenant, rejected.device) == ("tenant-a", "sensor-001")


@pytest.mark.parametrize(
    ("claim", "named"),
    [
        ({"tenant_id": "tenant-b"}, "tenant_id is 'tenant-b'"),  # TENANT_MISMATCH_TOPIC_VS_PAYLOAD
        ({"site_id": "site-2"}, "'site-1'"),  # SITE_MISMATCH_REGISTRY_VS_PAYLOAD
        ({"device_id": {"id": "sensor-001"}}, "device_id"),
    ],
)
def test_a_payload_may_not_contradict_its_topic_or_the_registry(claim: Any, named: str) -> None:  # U-P05
    rejected = refused([{"metrics": {"a": 1}, "seq": 4}, {"metrics": {"a": 1}, "seq": 5} | claim])

    assert (rejected.reason, rejected.refused) == (Reason.ADDRESS_MISMATCH, [(4, 4), (5, 5)])
    assert named in rejected.detail


def test_a_payload_needs_no_address_and_a_right_one_does_no_harm() -> None:
    # MISSING_SITE_ID of U-P05 cannot happen: the site stands in the registry.
    address = {"tenant_id": "tenant-a", "device_id": "sensor-001", "site_id": "site-1"}

    assert isinstance(said({"metrics": {"a": 1}}), Samples)
    assert isinstance(said({"metrics": {"a": 1}} | address), Samples)


def test_a_sample_has_at_most_64_metrics() -> None:
    assert isinstance(said({"metrics": {f"m{i}": 1 for i in range(64)}}), Samples)
    assert refused({"metrics": {f"m{i}": 1 for i in range(65)}}).reason == Reason.TOO_MANY_METRICS


def test_json_is_at_most_16_kib() -> None:  # U-P05
    fits = b'{"metrics":{"temp_c":1}}'.ljust(topics.MAX_JSON_BYTES)

    assert isinstance(said(fits), Samples)
    assert refused(fits + b" ").reason == Reason.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize(
    "topic",
    [
        "devices/Tenant-A/sensor/telemetry",
        "devices/a/b",
        "devices/a/b/cmd",
        "devices/a/+/telemetry",
        "x/a/b/c",
    ],
)
def test_a_topic_that_is_not_ours_is_refused(topic: str) -> None:  # P-069
    assert refused("{}", topic).reason == Reason.BAD_TOPIC_FORMAT


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("nobody", Reason.DEVICE_UNKNOWN),
        ("bat-2", Reason.DEVICE_REVOKED),
        ("old-1", Reason.DEVICE_REVOKED),  # P-023
        ("erased-1", Reason.DEVICE_ERASED),
    ],
)
def test_who_does_not_belong_is_refused_and_told_which_numbers(device: str, reason: Reason) -> None:
    rejected = refused('{"metrics":{"a":1},"seq":5}', f"devices/tenant-a/{device}/telemetry")

    assert rejected.reason == reason
    assert rejected.refused == [(5, 5)]


def test_the_numbers_of_a_message_with_nan_are_told_too() -> None:
    assert refused('{"metrics":{"a":NaN},"seq":5}').refused == [(5, 5)]


def test_an_agents_batch_becomes_a_record_with_keys() -> None:
    batch = of_agent(a_batch(a_block(), a_block(1, asset="", first=3)))

    record = Record.FromString(batch.record)
    assert (record.tenant, record.device, record.epoch, record.first_seq) == ("tenant-a", "site-1", 77, 10)
    assert [(block.asset, block.device_key) for block in record.blocks] == [("bat-1", 3), ("site-1", 2)]
    assert record.blocks[0].columns[0].values == a_block().columns[0].values
    assert batch.rejected == ()


@pytest.mark.parametrize(
    ("asset", "reason"),
    [
        ("bat-9", Reason.ASSET_NOT_ALLOWED),
        ("nobody", Reason.ASSET_NOT_ALLOWED),
        ("ghost", Reason.DEVICE_UNKNOWN),
        ("bat-2", Reason.DEVICE_REVOKED),
    ],
)
def test_a_block_for_somebody_elses_asset_is_refused_and_the_others_pass(asset: str, reason: Reason) -> None:
    batch = of_agent(a_batch(a_block(3, asset), a_block(2, first=3)))

    assert [block.asset for block in Record.FromString(batch.record).blocks] == ["bat-1"]
    [rejected] = batch.rejected
    assert (rejected.reason, rejected.refused, rejected.epoch) == (reason, [(10, 12)], 77)
    assert Batch.FromString(rejected.payload).blocks[0].asset == asset


def test_a_batch_of_an_unknown_agent_is_refused_with_all_its_numbers() -> None:
    batch = a_batch(a_block(3), a_block(2, first=3), a_block(1, first=9))
    rejected = refused(batch, "devices/tenant-a/nobody/telemetry", topics.PROTOBUF)

    assert rejected.reason == Reason.DEVICE_UNKNOWN
    assert (rejected.epoch, rejected.refused) == (77, [(10, 14), (19, 19)])


def test_a_batch_over_64_kib_is_refused_for_good_with_its_numbers() -> None:
    rejected = refused(a_batch(a_block(4_000)), AGENT, topics.PROTOBUF)

    assert rejected.reason == Reason.PAYLOAD_TOO_LARGE
    assert rejected.refused == [(10, 4_009)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ts_us": b""}, "ts_us"),
        ({"ts_us": b"1234567"}, "ts_us"),
        ({"seq_offset": b"1234"}, "seq_offset has 4 bytes; 12"),
        ({"quality": b"\0\0"}, "quality has 2 bytes"),
        ({"quality": b"\0\0\3"}, "quality has a byte 3"),
        ({"columns": [Column(quantity=1, values=b"12345678")]}, "column 1 has 8 bytes; 24"),
        ({"columns": [Column(quantity=99, values=bytes(24))]}, "quantity 99"),
        ({"columns": [Column(metric="No", values=bytes(24))]}, "metric 'No'"),
        ({"columns": [Column(quantity=1, values=bytes(24))] * 2}, "twice"),
        ({"device_key": 9}, "device_key"),
        ({"device_keys": bytes(12)}, "device_key"),
        ({"seq": bytes(24)}, "seq"),
    ],
)
def test_a_block_whose_lengths_do_not_fit_is_refused(changes: dict[str, Any], named: str) -> None:
    batch = of_agent(a_batch(a_block(3, **changes), a_block(1, first=7)))

    [rejected] = batch.rejected
    assert rejected.reason == Reason.MALFORMED
    assert named in rejected.detail
    assert len(Record.FromString(batch.record).blocks) == 1


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff", a_batch(), a_batch(a_block(), epoch=0), a_batch(a_block(), epoch=2**63),
     a_batch(a_block(), first_seq=0), a_batch(a_block(), first_seq=2**64 - 1)],
)  # fmt: skip
def test_a_batch_without_sense_is_malformed(payload: bytes) -> None:
    assert refused(payload, AGENT, topics.PROTOBUF).reason == Reason.MALFORMED


def test_words_of_an_agent_go_to_their_topics() -> None:
    status = said(Status(kind=Status.BIRTH, boot_id="b").SerializeToString(), AGENT[:-9] + "status")
    reply = said(Reply(command_id="c").SerializeToString(), AGENT[:-9] + "reply")
    event = said(Event(asset="bat-1").SerializeToString(), AGENT[:-9] + "event")

    assert isinstance(status, Said)
    assert isinstance(reply, Said)
    assert isinstance(event, Said)
    assert (status.kafka_topic, reply.kafka_topic, event.kafka_topic) == (
        topics.AGENT_STATUS, topics.AGENT_REPLY, topics.AGENT_EVENT,
    )  # fmt: skip
    assert AgentStatus.FromString(status.value).status.boot_id == "b"
    assert AgentStatus.FromString(status.value).received_at_us == NOW_US
    assert AgentReply.FromString(reply.value).reply.command_id == "c"
    assert AgentEvent.FromString(event.value).event.asset == "bat-1"


def test_an_event_of_a_foreign_asset_is_refused() -> None:
    rejected = refused(Event(asset="bat-9").SerializeToString(), AGENT[:-9] + "event")

    assert rejected.reason == Reason.ASSET_NOT_ALLOWED


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metrics", "ts", "seq", "temp_c", "x"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=12,
)
an_address = st.sampled_from(
    [SENSOR, AGENT, AGENT[:-9] + "status", AGENT[:-9] + "event", "devices/a/b/reply"]
)


@given(st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()), an_address,
       st.sampled_from(["", topics.PROTOBUF, "application/json"]))  # fmt: skip
def test_nothing_that_a_stranger_sends_raises(payload: bytes, topic: str, content_type: str) -> None:
    meaning = said(payload, topic, content_type)

    assert isinstance(meaning, Samples | AgentBatch | Said | Rejected)
    if isinstance(meaning, Samples):
        for sample in meaning.samples:
            assert all(math.isfinite(value) for value in sample.metrics.values())


@given(st.data())
def test_a_batch_with_bytes_flipped_anywhere_never_raises(data: st.DataObject) -> None:
    payload = bytearray(a_batch(a_block(), a_block(2, first=3)))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
        payload[place] = data.draw(st.integers(0, 255))

    meaning = said(bytes(payload), AGENT, topics.PROTOBUF)
    assert isinstance(meaning, AgentBatch | Rejected)
