"""Dead letters in the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from services.ingest.letters.letter import Letter
from services.runtime.postgres import Connection

FIND: Final = """
select id, at, coalesce(tenant_id, '') tenant, coalesce(device_id, '') device, coalesce(asset_id, '') asset,
       reason, detail, coalesce(payload, '') payload, count, coalesce(source_topic, '') topic,
       coalesce('partition ' || kafka_partition || ' offset ' || kafka_offset, '') kafka
from rejection
where ($1::text is null or tenant_id = $1) and ($2::text is null or device_id = $2 or asset_id = $2)
  and ($3::text is null or reason = $3) and ($4::timestamptz is null or at >= $4)
  and ($5::bigint[] is null or id = any ($5)) and id > $6
order by id desc limit $7"""


async def find(
    db: Connection,
    *,
    tenant: str | None = None,
    device: str | None = None,
    reason: str | None = None,
    since: datetime | None = None,
    ids: Sequence[int] | None = None,
    after_id: int = 0,
    limit: int,
) -> list[Letter]:
    """The newest, oldest first."""
    rows = await db.fetch(FIND, tenant, device, reason, since, ids, after_id, limit)
    return [Letter(**row) for row in reversed(rows)]


LAST: Final = "select coalesce(max(id), 0) from rejection"


async def last_id(db: Connection) -> int:
    """Of what was refused until now."""
    found: int = await db.fetchval(LAST)
    return found


OFFSETS: Final = "select topic, partition, next_offset from ingest_offset"


async def next_offsets(db: Connection) -> dict[tuple[str, int], int]:
    """Up to where the writer has written, by topic and partition."""
    return {(row["topic"], row["partition"]): row["next_offset"] for row in await db.fetch(OFFSETS)}
