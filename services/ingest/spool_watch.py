"""What agents say about their spools: which numbers will never come again, and what is lost.

A birth lists the epochs of the spool with their lowest number; the writer forgets what lies below, so that
a wiped or copied disk never looks like a repeat. Forgetting is never wrong: a sample that comes again all
the same has a key that is taken, and equal values.
"""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from overwatt.topics import AGENT_STATUS
from overwatt.v1.agent_pb2 import AgentStatus, Status
from services.ingest import metrics, store
from services.ingest.ranges import LARGEST
from services.runtime import clock
from services.runtime.bus import Record
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction

log = get_logger(__name__)


class SpoolWatch:
    """Takes statuses from Kafka."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._births: dict[tuple[str, str], tuple[str, int]] = {}

    async def take(self, records: Sequence[Record]) -> None:
        """May be given a record twice. Raises Unavailable."""
        said = [read for record in records if (read := _read(record))]
        async with transaction(self._pool) as db:
            for each in said:
                status, sender = each.status, (each.tenant, each.device)
                evicted = [
                    (lost.epoch, lost.first_seq, lost.last_seq)
                    for lost in status.spool.evicted
                    if 0 < lost.epoch < 2**63 and 0 < lost.first_seq <= lost.last_seq <= LARGEST
                ]
                if evicted:
                    await store.declare_loss(db, *sender, evicted, clock.from_us(each.received_at_us))
                birth = (status.boot_id, status.at_us)
                # A retained birth is heard on every connect of the gateway: the spool has moved on since.
                if status.kind == Status.BIRTH and self._births.get(sender) != birth:
                    lowest = {
                        one.epoch: min(one.lowest_seq, LARGEST)
                        for one in status.spool_epochs
                        if 0 < one.epoch < 2**63
                    }
                    await store.forget_below(db, *sender, lowest)
                    self._births[sender] = birth


def _read(record: Record) -> AgentStatus | None:
    try:
        return AgentStatus.FromString(record.value or b"")
    except DecodeError as error:
        metrics.UNUSABLE.labels(AGENT_STATUS).inc()
        log.warning("status not usable", offset=record.offset, error=str(error))
        return None
