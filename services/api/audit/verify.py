"""`python -m services.api audit verify`: the table against itself, the sealer's log and Kafka's heads."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from overwatt.topics import AUDIT_HEAD
from services.api.audit import store
from services.api.audit.compare import Head, contradiction
from services.api.audit.seal import SEALED
from services.runtime.bus import consumer
from services.runtime.errors import Unavailable
from services.runtime.postgres import Pool, transaction

KAFKA_PATIENCE_S: Final = 20.0


async def verify(pool: Pool, bootstrap: str, log_file: Path | None) -> str:
    """What holds, in a sentence; exits with 1 and the first broken row where something does not."""
    heads = [*await heads_of_topic(bootstrap), *(heads_of_log(log_file) if log_file else ())]
    async with transaction(pool) as db:
        if broken := await store.first_broken(db):
            raise SystemExit(f"audit: row with seq {broken[0]}: {broken[1]}")
        _, length, head = await store.seal(db, 0)
        rows = await store.rows_at(db, [head.count for head in heads if head.count <= length])
    if problem := contradiction(heads, rows, length):
        raise SystemExit(f"audit: {problem}")
    sources = ", ".join(sorted({head.source for head in heads})) or "nobody: no head was found to compare"
    return f"audit: {length} rows hold, head {head or 'empty'}; {len(heads)} heads agree, seen by {sources}"


async def heads_of_topic(bootstrap: str) -> list[Head]:
    """What the topic still has; compaction keeps the newest at least. Raises Unavailable."""
    heads = []
    try:
        async with asyncio.timeout(KAFKA_PATIENCE_S), consumer(bootstrap, [AUDIT_HEAD], group=None) as source:
            partitions = source.assignment()
            ends = await source.end_offsets(partitions)
            while any([await source.position(each) < ends[each] for each in partitions]):
                for batch in (await source.getmany(timeout_ms=500)).values():
                    heads += [_head(record.value, f"topic {AUDIT_HEAD}") for record in batch]
    except (TimeoutError, KafkaError) as error:
        raise Unavailable(f"Kafka at {bootstrap} does not answer: {error!r}") from error
    return heads


def heads_of_log(path: Path) -> Iterable[Head]:
    """What the sealer wrote; lines of others are passed over. Exits where the file cannot be read."""
    try:
        with path.open("rb") as lines:
            return [_head(line, f"log {path.name}") for line in lines if f'"{SEALED}"'.encode() in line]
    except OSError as error:
        raise SystemExit(f"Error: cannot read the log {path} ({error.strerror})") from error


def _head(text: bytes, source: str) -> Head:
    try:
        values = json.loads(text)
        return Head(int(values["count"]), str(values["head"]), source)
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"audit: {source} has a head that cannot be read: {text[:200]!r}") from error
