"""Dead letters once more through the same validation: the gateway's here, the writer's behind Kafka.

A sample that is stored already is not stored twice, so a replay may be repeated. Quotas do not count here.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from aiokafka.structs import RecordMetadata

from overwatt import topics
from overwatt.v1.telemetry_pb2 import Record
from services.ingest.columns import Columns
from services.ingest.decode import decode
from services.ingest.gather import fault_of
from services.ingest.letters import store
from services.ingest.letters.letter import Letter, again
from services.ingest.model import AgentBatch, Message, Rejected, Samples
from services.ingest.registry import Registry
from services.runtime.bus import Producer, end_offsets
from services.runtime.postgres import Pool, transaction

WRITTEN_WITHIN_S: Final = 60.0
MOST_REFUSED: Final = 10_000


@dataclass(slots=True)
class Result:
    """What became of a letter."""

    letter: Letter
    said: str = ""
    """why it was not sent; empty: it was"""
    tenant: str = ""
    times: set[tuple[str, int]] = field(default_factory=set)
    """device and microsecond of each sample"""
    refused: list[str] = field(default_factory=list)
    is_unknown: bool = False
    """the writer did not come to it in time"""

    def __str__(self) -> str:
        if self.said:
            return f"not sent: {self.said}"
        if self.is_unknown:
            return f"sent, and not written within {WRITTEN_WITHIN_S:.0f} s: look again later"
        stored = len(self.times) - len(self.refused)
        return "; ".join([f"stored {stored} of {len(self.times)} samples", *sorted(set(self.refused))])

    @property
    def is_stored(self) -> bool:
        """Whether every sample is in the database now."""
        return not (self.said or self.is_unknown or self.refused)


async def replay(
    letters: Sequence[Letter], *, kafka: str, pool: Pool, producer: Producer, registry: Registry
) -> list[Result]:
    """Send them and wait for the writer. Raises Unavailable."""
    partitions = await producer.partitions(topics.TELEMETRY)
    async with transaction(pool) as db:
        before = await store.last_id(db)
    results = [Result(letter) for letter in letters]
    futures = [
        await producer.enqueue(topics.TELEMETRY, key, record, partition=partition)
        for result in results
        for key, record, partition in _records(result, registry, partitions)
    ]
    await producer.settle(futures)
    sent = [result for result in results if not result.said]
    if not sent:
        return results
    is_written = await _is_written(pool, _ends([future.result() for future in futures]))
    # What is older than two hours the writer has put off to its second loop.
    late = {(topics.LATE, number): end for number, end in (await end_offsets(kafka, topics.LATE)).items()}
    if not is_written or not await _is_written(pool, late):
        for result in sent:
            result.is_unknown = True
        return results
    async with transaction(pool) as db:
        refused = await store.find(db, after_id=before, limit=MOST_REFUSED)
    for again_refused in refused:
        if (ts_us := _ts_us(again_refused.payload)) is not None:
            key = (again_refused.asset or again_refused.device, ts_us)
            for result in sent:
                if result.tenant == again_refused.tenant and key in result.times:
                    result.refused.append(f"{again_refused.reason}: {again_refused.detail}")
    return results


def _records(result: Result, registry: Registry, partitions: int) -> list[tuple[str, bytes, int]]:
    """Key, value and partition of what to send; fills in the result."""
    letter = result.letter
    match what := again(letter):
        case str():
            result.said = what
            return []
        case Record():
            if fault := fault_of(what):
                result.said = f"it is still no rows: {fault}"
                return []
            return [_of_agent(result, what.tenant, what.device, what, partitions)]
        case Message():
            pass
    match meaning := decode(what, registry):
        case Samples(member, samples):
            rows = Columns(what.received_at_us)
            for sample in samples:
                rows.add(member, sample)
                result.times.add((member.device, sample.ts_us))
            result.tenant = member.tenant
            partition = topics.partition_of(member.tenant, member.device, partitions)
            return [("", record, partition) for record in rows.records()]
        case AgentBatch(member, record, _, rejected) if record:
            result.refused += [f"{each.reason}: {each.detail}" for each in rejected]
            sent = Record.FromString(record)
            return [_of_agent(result, member.tenant, member.device, sent, partitions)]
        case AgentBatch(_, _, _, rejected):
            result.said = _why(rejected[0])
        case Rejected():
            result.said = _why(meaning)
        case _:
            result.said = "it is no telemetry"
    return []


def _of_agent(
    result: Result, tenant: str, device: str, record: Record, partitions: int
) -> tuple[str, bytes, int]:
    result.tenant = tenant
    for block in record.blocks:
        times = np.frombuffer(block.ts_us, dtype="<i8").tolist()
        result.times.update((block.asset or device, ts_us) for ts_us in times)
    partition = topics.partition_of(tenant, device, partitions)
    return topics.identity(tenant, device), record.SerializeToString(), partition


def _why(rejected: Rejected) -> str:
    return f"still refused: {rejected.reason}: {rejected.detail}"


def _ends(sent: Sequence[Any]) -> dict[tuple[str, int], int]:
    ends: dict[tuple[str, int], int] = {}
    for each in sent:
        assert isinstance(each, RecordMetadata)
        ends[each.topic, each.partition] = max(ends.get((each.topic, each.partition), 0), each.offset + 1)
    return ends


async def _is_written(pool: Pool, ends: dict[tuple[str, int], int]) -> bool:
    """Wait until the writer has come that far."""
    try:
        async with asyncio.timeout(WRITTEN_WITHIN_S):
            while True:
                async with transaction(pool) as db:
                    offsets = await store.next_offsets(db)
                if all(offsets.get(place, 0) >= end for place, end in ends.items()):
                    return True
                await asyncio.sleep(0.2)
    except TimeoutError:
        return False


def _ts_us(payload: bytes) -> int | None:
    """Of a row that the writer refused."""
    try:
        found = json.loads(payload)
        return int(found["ts_us"]) if isinstance(found, dict) and "ts_us" in found else None
    except ValueError:
        return None
