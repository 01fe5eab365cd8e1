"""The gateway's parts that need no broker: receipts, rejections, columns, acknowledgements, settings."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.reasons import Reason
from overwatt.topics import PROTOBUF
from overwatt.v1.agent_pb2 import Command, Config
from overwatt.v1.telemetry_pb2 import Ack, DeadLetter, Range, Record
from services.ingest import acks
from services.ingest.columns import Columns
from services.ingest.commands import refusal
from services.ingest.configs import Configs
from services.ingest.decode_json import decode as decode_json
from services.ingest.gather import gather
from services.ingest.inbox import Inbox
from services.ingest.model import Member, Message, Rejected, Sample
from services.ingest.receipts import Receipts
from services.ingest.registry import Registry
from services.ingest.rejections import Rejections
from services.ingest.settings import Settings
from services.ingest.store import Mode

MINUTE_US = 60_000_000


@given(st.permutations(range(8)))
def test_acknowledgements_leave_in_the_order_in_which_messages_came(order: list[int]) -> None:
    ring = Receipts(connection=1)
    receipts = [ring.add(mid) for mid in range(100, 108)]
    sent: list[int] = []

    for done, place in enumerate(order, 1):
        sent += ring.settle(receipts[place])
        finished = set(order[:done])
        assert len(sent) == next((i for i in range(8) if i not in finished), 8)

    assert sent == list(range(100, 108))
    assert len(ring) == 0


def a_rejected(device: str = "d", reason: Reason = Reason.MALFORMED) -> Rejected:
    return Rejected(tenant="t", device=device, reason=reason, detail="x", topic="top", payload=b"p")


def test_ten_a_minute_keep_their_payload_and_the_rest_is_a_number() -> None:
    rejections, letters = Rejections(), list[DeadLetter]()

    for number in range(25):
        letters += rejections.letters(a_rejected(), 1_000 + number)
    letters += rejections.letters(a_rejected("other"), 2_000)
    assert [letter.count for letter in letters] == [1] * 11
    assert list(rejections.rest(MINUTE_US)) == []

    [rest] = rejections.rest(MINUTE_US + 1_000 + 1)
    assert (rest.device, rest.count, rest.payload) == ("d", 15, b"")


def test_a_new_minute_keeps_payloads_again_and_loses_no_number() -> None:
    rejections = Rejections()
    for _ in range(12):
        rejections.letters(a_rejected(), 0)

    first, second = rejections.letters(a_rejected(), MINUTE_US)
    assert (first.count, second.count, second.payload) == (2, 1, b"p")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4 * MINUTE_US)), max_size=80))
def test_every_rejection_is_counted_exactly_once(events: list[tuple[str, int]]) -> None:
    rejections, letters = Rejections(), list[DeadLetter]()
    for device, at_us in sorted(events, key=lambda event: event[1]):
        letters += rejections.letters(a_rejected(device), at_us)
    letters += rejections.rest(0, everything=True)

    for device in "ab":
        counted = sum(letter.count for letter in letters if letter.device == device)
        assert counted == sum(1 for each, _ in events if each == device)


def test_half_a_surrogate_pair_in_a_name_is_a_dead_letter_too() -> None:
    payload = b'{"metrics":{"\\ud800":"x"}}'
    rejected = decode_json(Message("devices/t/d/telemetry", payload, "", 0), Member("t", "d", 1))
    assert isinstance(rejected, Rejected)

    [letter] = Rejections().letters(rejected, 0)
    assert "\\ud800" in letter.detail


def test_of_an_erased_device_no_payload_is_kept() -> None:
    [letter] = Rejections().letters(a_rejected(reason=Reason.DEVICE_ERASED), 0)

    assert letter.payload == b""


def test_simple_samples_become_columns_that_read_back_the_same() -> None:
    columns = Columns(5)
    one, two = Member("t", "one", 1), Member("u", "two", 2)
    columns.add(one, Sample(10, 0, {"temp_c": 1.5}))
    columns.add(two, Sample(11, 7, {"temp_c": 2.5}))
    columns.add(one, Sample(12, 0, {"temp_c": 3.5, "rssi": -70.0}))

    [record] = columns.records()
    batch = gather([Record.FromString(record)])
    frame = batch.frame
    rows = sorted(zip(frame.key.tolist(), frame.ts_us.tolist(), frame.values["temp_c"].tolist(), strict=True))
    assert rows == [(1, 10, 1.5), (1, 12, 3.5), (2, 11, 2.5)]
    assert {(batch.senders[s].device, q) for s, q in zip(batch.sender, batch.seq, strict=True)} == {
        ("one", 0), ("two", 7),
    }  # fmt: skip
    assert (frame.metrics, frame.other.value.tolist()) == (("rssi",), [-70.0])


def test_records_of_simple_samples_stay_far_below_what_kafka_takes() -> None:
    columns = Columns(5)
    for number in range(3_000):
        columns.add(Member("t", f"d{number}", number), Sample(number, 0, {f"m{i}": 1.0 for i in range(64)}))

    records = list(columns.records())
    assert max(map(len, records)) < 600_000
    assert sum(len(gather([Record.FromString(record)]).frame) for record in records) == 3_000


def test_an_agent_is_answered_in_protobuf_and_a_simple_device_in_json() -> None:
    refused = acks.refusal(Reason.DEVICE_UNKNOWN, [(6, 6)])
    payload, form = acks.encode(Ack(epoch=3, committed=[Range(first=1, last=5)], refused=[refused]))
    assert form == PROTOBUF
    assert Ack.FromString(payload).refused[0].retry_after_s == 60

    payload, form = acks.encode(Ack(committed=[Range(first=1, last=5)], refused=[refused]))
    assert form == "application/json"
    answer = json.loads(payload)
    assert answer["committed"] == [[1, 5]]
    assert answer["refused"] == [
        {"ranges": [[6, 6]], "reason": "DEVICE_UNKNOWN", "final": False, "retry_after_s": 60}
    ]


@pytest.mark.parametrize(
    ("member", "mode", "reason"),
    [
        (None, None, "DEVICE_REVOKED"),
        (Member("t", "d", 1, box="b", state="disabled"), Mode("active", 1, ("battery",)), "DEVICE_REVOKED"),
        (Member("t", "d", 1, box="b"), None, "MODE_OBSERVE"),
        (Member("t", "d", 1, box="b"), Mode("observe", 1, ("battery",)), "MODE_OBSERVE"),
        (Member("t", "d", 1, box="b"), Mode("active", 1, ("ev",)), "CAPABILITY_CLOSED"),
    ],
)
def test_a_command_against_mode_or_opt_in_is_not_published(
    member: Member | None, mode: Mode | None, reason: str
) -> None:
    found = refusal(Command(device="d", capability="battery"), member, mode)

    assert found
    assert found[0] == reason


def test_an_order_of_an_earlier_mode_is_void_also_when_the_box_is_active_again() -> None:
    member, mode = Member("t", "d", 1, box="b"), Mode("active", 3, ("battery",))

    found = refusal(Command(device="d", capability="battery", mode_epoch=1), member, mode)

    assert found
    assert found[0] == "MODE_EPOCH_OLD"
    assert refusal(Command(device="d", capability="battery", mode_epoch=3), member, mode) is None


def test_a_command_to_an_active_box_that_opted_in_is_published() -> None:
    member, mode = Member("t", "d", 1, box="b"), Mode("active", 1, ("battery",))

    assert refusal(Command(device="d", capability="battery"), member, mode) is None


def test_configurations_follow_the_registry() -> None:
    sent: dict[str, bytes] = {}
    registry = Registry()
    configs = Configs(
        registry,
        lambda tenant, device, payload: sent.update({f"{tenant}/{device}": payload}),
        forget_status=lambda tenant, device: None,
    )
    box = Member("t", "box", 1, box="box", mode="active", mode_epoch=4, opt_ins=("battery",))

    configs.changed("t/box", box)
    configs.changed("t/sensor", Member("t", "sensor", 2))
    assert list(sent) == ["t/box"]
    config = Config.FromString(sent["t/box"])
    assert (config.mode, config.mode_epoch, list(config.opt_ins)) == ("active", 4, ["battery"])

    configs.changed("t/box", None)
    assert sent["t/box"] == b""


async def test_an_inbox_hands_out_in_order_and_in_bulk() -> None:
    inbox = Inbox[int]()
    inbox.put(range(2_500))

    assert await inbox.take() == list(range(2_000))
    assert await inbox.take() == list(range(2_000, 2_500))


def test_settings_have_the_defaults_that_operators_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INGEST_WORKER_COUNT", "INGEST_QUEUE_SIZE", "TIMESCALE_BATCH_SIZE"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings()

    assert settings.timescale_batch_size == 1_000  # P-039
    assert settings.timescale_flush_interval_ms == 1_000  # P-040
    assert settings.ingest_worker_count == 4  # P-044
    assert settings.ingest_queue_size == 10_000  # P-045
    assert settings.receive_maximum == 10_000
    assert Settings(ingest_queue_size=100_000).receive_maximum == 65_535
