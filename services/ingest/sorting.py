"""What was taken becomes flushes: the live loop puts late rows off, the late one stores them hour by hour."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from overwatt.topics import LATE, identity
from overwatt.v1.telemetry_pb2 import Record
from services.ingest import metrics
from services.ingest.flush import Taken
from services.ingest.late import by_hour, late_records, late_rows
from services.runtime.bus import Producer
from services.runtime.clock import to_us


class PutOff:
    """For the live loop: late rows are safe in a topic of their own before an offset moves past them."""

    def __init__(self, producer: Producer, oldest_us: Callable[[datetime], int]) -> None:
        self._producer = producer
        self._oldest_us = oldest_us

    async def sort_out(self, taken: Taken, now: datetime) -> list[Taken]:
        """One flush, of what is not late. Raises Unavailable."""
        assert taken.batch is not None
        is_late = late_rows(taken.batch, now_us=to_us(now), oldest_us=self._oldest_us(now))
        if not is_late.any():
            return [taken]
        sent = [
            await self._producer.enqueue(LATE, _sender(record), record.SerializeToString())
            for record in late_records(taken.records, is_late)
        ]
        await self._producer.settle(sent)
        metrics.LATE.inc(int(is_late.sum()))
        return [replace(taken, batch=taken.batch.where(~is_late))]


async def hour_by_hour(taken: Taken, now: datetime) -> list[Taken]:
    """For the late loop: a flush an hour. All but the last only hold the offsets where they are."""
    assert taken.batch is not None
    held = [(partition, expected, expected) for partition, expected, _ in taken.moves]
    flushes = [replace(taken, moves=held, batch=batch) for batch in by_hour(taken.batch)]
    last = replace(flushes[-1], moves=taken.moves) if flushes else taken
    return [*flushes[:-1], last]


def _sender(record: Record) -> str:
    """So that the rows of an agent stay together."""
    if record.tenant:
        return identity(record.tenant, record.device)
    return identity(record.identities[0].tenant, record.identities[0].device)
