"""Dead letters become rows of `rejection`; Kafka's coordinates make each one a single row."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from overwatt.topics import DEAD_LETTERS
from overwatt.v1.telemetry_pb2 import DeadLetter
from services.ingest import metrics, store
from services.ingest.store import Rejection
from services.runtime import clock
from services.runtime.bus import Record
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction

log = get_logger(__name__)


class DeadLetterStore:
    """Takes them from Kafka."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, records: Sequence[Record]) -> None:
        """May be given a record twice. Raises Unavailable."""
        rows = [row for record in records if (row := _row(record))]
        async with transaction(self._pool) as db:
            await store.insert_rejections(db, rows)


def _row(record: Record) -> Rejection | None:
    try:
        letter = DeadLetter.FromString(record.value or b"")
        at = clock.from_us(letter.at_us)
    except (DecodeError, ValueError, OverflowError) as error:
        metrics.UNUSABLE.labels(DEAD_LETTERS).inc()
        log.warning("dead letter not usable", offset=record.offset, error=str(error))
        return None
    return Rejection(
        at=at,
        tenant_id=letter.tenant,
        device_id=letter.device,
        asset_id=letter.asset,
        reason=letter.reason,
        detail=letter.detail,
        payload=letter.payload,
        count=max(1, letter.count),
        source_topic=letter.topic,
        kafka=(record.topic, record.partition, record.offset),
    )
