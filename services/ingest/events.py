"""What agents say happened becomes rows of `events` (U-D18)."""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from overwatt.topics import AGENT_EVENT
from overwatt.v1.agent_pb2 import AgentEvent
from services.ingest import metrics, store
from services.ingest.store import Happened
from services.runtime import clock
from services.runtime.bus import Record
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction

log = get_logger(__name__)

SEVERITIES: Final = ("info", "warning", "alarm", "critical")
MOST_NAME: Final = 100
MOST_MESSAGE: Final = 2_000


class EventStore:
    """Takes them from Kafka."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, records: Sequence[Record]) -> None:
        """May be given a record twice. Raises Unavailable."""
        rows = [row for record in records if (row := _row(record))]
        async with transaction(self._pool) as db:
            await store.insert_events(db, rows)


def _row(record: Record) -> Happened | None:
    try:
        said = AgentEvent.FromString(record.value or b"")
        event = said.event
        received_at = clock.from_us(said.received_at_us)
        # A box without a clock does not know when.
        at = clock.from_us(event.at_us) if event.at_us > 0 else received_at
        if event.severity not in SEVERITIES:
            raise ValueError(f"severity {event.severity[:20]!r} must be one of {', '.join(SEVERITIES)}")
    except (DecodeError, ValueError, OverflowError) as error:
        metrics.UNUSABLE.labels(AGENT_EVENT).inc()
        log.warning("event not usable", offset=record.offset, error=str(error))
        return None
    return Happened(
        at=at,
        tenant_id=said.tenant,
        device_id=said.device,
        asset_id=event.asset or said.device,
        type=event.type[:MOST_NAME],
        severity=event.severity,
        code=event.code[:MOST_NAME],
        message=event.message[:MOST_MESSAGE],
        received_at=received_at,
    )
