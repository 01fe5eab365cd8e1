"""Acknowledgements on their way back: what the writer committed, told to who sent it.

An agent gets protobuf, a simple device JSON:

    {"committed": [[1, 5]], "refused": [{"ranges": [[6, 6]], "reason": "CONFLICTING_SAMPLE", "final": true,
     "retry_after_s": 0}], "server_time": "2026-05-01T12:00:00+00:00"}
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from google.protobuf.message import DecodeError

from overwatt.reasons import RETRY_AFTER_S, Reason, is_final
from overwatt.topics import OUTCOMES, PROTOBUF
from overwatt.v1.telemetry_pb2 import Ack, Outcome, Outcomes, Range, Refusal
from services.ingest import metrics
from services.ingest.model import Rejected
from services.ingest.ranges import Ranges, joined
from services.runtime.bus import Record
from services.runtime.clock import from_us
from services.runtime.log import get_logger

log = get_logger(__name__)

JSON = "application/json"


def refusal(reason: Reason, ranges: Ranges, retry_after_s: int = 0) -> Refusal:
    """As it goes over the wire; 0 s: as usual with this reason."""
    return Refusal(
        ranges=[Range(first=first, last=last) for first, last in ranges],
        reason=reason,
        final=is_final(reason),
        retry_after_s=retry_after_s or RETRY_AFTER_S.get(reason, 0),
    )


def acks_of(rejected: Iterable[Rejected], now_us: int) -> Iterator[Outcome]:
    """What the gateway answers by itself, since the writer never hears of it.

    One answer a sender and reason, however many messages were refused: a mad one gets no flood back.
    """
    groups: dict[tuple[str, str, int, Reason], list[Rejected]] = {}
    for each in rejected:
        groups.setdefault((each.tenant, each.device, each.epoch, each.reason), []).append(each)
    for (tenant, device, epoch, reason), members in groups.items():
        ranges = joined([span for each in members for span in each.refused])
        retry_after_s = max(each.retry_after_s for each in members)
        ack = Ack(epoch=epoch, refused=[refusal(reason, ranges, retry_after_s)], server_time_us=now_us)
        yield Outcome(tenant=tenant, device=device, ack=ack)


def time_of_day(now_us: int, asked_us: int) -> Ack:
    """The answer to a status: by it an agent dates samples, and knows how late a command is."""
    return Ack(server_time_us=now_us, asked_us=asked_us)


def encode(ack: Ack) -> tuple[bytes, str]:
    """Payload and content type. Samples without an epoch are a simple device's; only agents ask the time."""
    if ack.epoch or not (ack.committed or ack.refused):
        return ack.SerializeToString(), PROTOBUF
    answer = {
        "committed": [[span.first, span.last] for span in ack.committed],
        "refused": [
            {
                "ranges": [[span.first, span.last] for span in each.ranges],
                "reason": each.reason,
                "final": each.final,
                "retry_after_s": each.retry_after_s,
            }
            for each in ack.refused
        ],
        "server_time": from_us(ack.server_time_us).isoformat(),
    }
    return msgspec.json.encode(answer), JSON


class Acks:
    """Publishes acknowledgements."""

    def __init__(self, publish: Callable[[str, str, str, bytes, str], bool]) -> None:
        """`publish(tenant, device, channel, payload, content type)` answers whether it was taken."""
        self._publish = publish

    def send(self, tenant: str, device: str, ack: Ack) -> None:
        """One; it is lost without a connection, and comes again when the sender repeats its data."""
        payload, content_type = encode(ack)
        if self._publish(tenant, device, "ack", payload, content_type):
            metrics.ACKS.labels("protobuf" if content_type == PROTOBUF else "json").inc()

    async def take(self, records: Sequence[Record]) -> None:
        """Outcomes of the writer; what came by HTTP is answered there."""
        for record in records:
            try:
                outcomes = Outcomes.FromString(record.value or b"")
            except DecodeError as error:
                metrics.UNUSABLE.labels(OUTCOMES).inc()
                log.warning("outcome not usable", offset=record.offset, error=str(error))
                continue
            for outcome in outcomes.outcomes:
                if not outcome.door:
                    self.send(outcome.tenant, outcome.device, outcome.ack)
