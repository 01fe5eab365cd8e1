"""Beyond its quota a simple device is rejected, an agent comes again, and a command's answer passes."""

import asyncio
import struct
from contextlib import suppress

import pytest

from overwatt.reasons import Reason
from overwatt.topics import AGENT_EVENT, AGENT_REPLY, PROTOBUF
from overwatt.v1.telemetry_pb2 import Batch, Block, Column
from services.ingest import acks
from services.ingest.gateway import Gateway
from services.ingest.limits import WORDS_BURST, Limits
from services.ingest.model import AgentBatch, Member, Message, Rejected, Said, Sample, Samples
from services.ingest.registry import Registry
from services.ingest.rejections import Rejections
from services.ingest.settings import Settings
from services.ingest.source import MqttSource

SENSOR = Member("t", "sensor-1", 1)
AGENT = Member("t", "site-1", 2, type="agent")


def limits(**settings: float) -> Limits:
    return Limits(Settings(**settings))


def a_message(payload: bytes = b"{}", content_type: str = "") -> Message:
    return Message("devices/t/x/telemetry", payload, content_type, 0)


def a_sample(seq: int = 0) -> Samples:
    return Samples(SENSOR, (Sample(0, seq, {"temp_c": 1.0}),))


def a_batch(rows: int, first_seq: int = 1) -> tuple[Message, AgentBatch]:
    block = Block(
        ts_us=bytes(8 * rows),
        seq_offset=struct.pack(f"<{rows}I", *range(rows)),
        columns=[Column(quantity=1, values=bytes(8 * rows))],
    )
    payload = Batch(epoch=7, first_seq=first_seq, blocks=[block]).SerializeToString()
    return a_message(payload, PROTOBUF), AgentBatch(AGENT, b"record", rows)


def test_the_51st_message_of_a_simple_device_is_rejected_with_its_number() -> None:  # U-P05
    limit = limits()
    for _ in range(50):
        assert limit.check(a_message(), a_sample(), 0) is None

    rejected = limit.check(a_message(b"payload"), a_sample(seq=51), 0)
    assert rejected
    assert (rejected.reason, rejected.refused, rejected.payload) == (
        Reason.RATE_LIMITED,
        [(51, 51)],
        b"payload",
    )
    assert "room again in 0.1 s" in rejected.detail
    assert limit.check(a_message(), a_sample(), 1) is None


def test_a_list_is_one_message() -> None:
    limit = limits(ingest_device_burst=1, ingest_device_rate=1)
    many = Samples(SENSOR, tuple(Sample(n, n, {"temp_c": 1.0}) for n in range(200)))

    assert limit.check(a_message(), many, 0) is None
    rejected = limit.check(a_message(), many, 0)
    assert rejected
    assert len(rejected.refused) == 199  # sample 0 has no number


def test_an_agent_is_told_when_to_send_a_batch_again() -> None:
    limit = limits(ingest_agent_rate=100, ingest_agent_burst=400)
    assert limit.check(*a_batch(400), 0) is None

    rejected = limit.check(*a_batch(350, first_seq=401), 1)
    assert rejected
    assert (rejected.epoch, rejected.refused, rejected.retry_after_s) == (7, [(401, 750)], 3)
    assert limit.check(*a_batch(350, first_seq=401), 1 + rejected.retry_after_s) is None


def test_a_tenant_has_a_quota_too_and_its_agents_do_not_share_it_with_its_meters() -> None:
    limit = limits(ingest_tenant_rate=1, ingest_tenant_burst=10)

    assert limit.check(*a_batch(10), 0) is None
    assert limit.check(*a_batch(1), 0) is not None
    assert limit.check(a_message(), a_sample(), 0) is None


def test_623_events_a_second_are_cut_and_the_answer_to_a_command_passes() -> None:
    limit = limits(ingest_agent_rate=1, ingest_agent_burst=1)
    limit.check(*a_batch(1), 0)
    event, reply = Said(AGENT, AGENT_EVENT, b""), Said(AGENT, AGENT_REPLY, b"")

    assert limit.check(a_message(), reply, 0) is None  # although its samples are held back
    passed = sum(
        limit.check(a_message(), event, second + n / 623) is None for second in range(10) for n in range(623)
    )
    assert passed <= WORDS_BURST + 10 * 10


def test_what_waited_in_the_broker_while_we_were_away_passes() -> None:
    limit = limits()
    limit.is_behind(now_s=0)

    assert all(limit.check(a_message(), a_sample(), 0) is None for _ in range(5_000))


def test_a_mad_device_gets_one_answer_for_many_refusals() -> None:
    def refused(
        seq: int, reason: Reason = Reason.RATE_LIMITED, device: str = "d", after_s: int = 1
    ) -> Rejected:
        return Rejected(
            tenant="t", device=device, reason=reason, detail="", topic="", payload=b"", refused=[(seq, seq)],
            retry_after_s=after_s,
        )  # fmt: skip

    outcomes = list(
        acks.acks_of(
            [*(refused(n) for n in range(1, 1_000)), refused(1_000, after_s=4), refused(7, Reason.MALFORMED),
             refused(7, device="other")],
            now_us=5,
        )
    )  # fmt: skip

    assert [(one.device, one.ack.refused[0].reason) for one in outcomes] == [
        ("d", "RATE_LIMITED"), ("d", "MALFORMED"), ("other", "RATE_LIMITED"),
    ]  # fmt: skip
    [refusal] = outcomes[0].ack.refused
    assert [(span.first, span.last) for span in refusal.ranges] == [(1, 1_000)]
    assert (refusal.retry_after_s, refusal.final) == (4, False)


async def test_there_are_as_many_workers_and_unacknowledged_messages_as_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # P-044, P-045
    monkeypatch.setenv("INGEST_WORKER_COUNT", "3")
    monkeypatch.setenv("INGEST_QUEUE_SIZE", "70")
    settings = Settings()
    source = MqttSource(
        client_id="svc-ingest-0", host="127.0.0.1", port=1, receive_maximum=settings.receive_maximum
    )
    gateway = Gateway(
        source=source,
        producer=None,  # type: ignore[arg-type]  # nothing arrives
        registry=Registry(),
        rejections=Rejections(),
        limits=Limits(settings),
        answer=lambda *_: None,
        partitions=1,
        workers=settings.ingest_worker_count,
    )

    running = asyncio.create_task(gateway.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    workers = [task for task in asyncio.all_tasks() if task.get_name().startswith("worker-")]
    assert (len(workers), settings.receive_maximum) == (3, 70)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
