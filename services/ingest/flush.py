"""One flush: rows, offsets, what is committed and what is refused, in one transaction.

    fence the offsets -> drop what is known -> judge -> sort and merge -> store -> note -> commit -> outcomes

A sample with a final refusal counts as settled like a stored one: its rejection is written once, and when
it is sent again it is acknowledged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from overwatt.reasons import Reason, is_final
from overwatt.topics import TELEMETRY
from overwatt.v1.telemetry_pb2 import Ack, Outcome, Record
from services.ingest import metrics, store
from services.ingest.acks import refusal
from services.ingest.frames import REASONS, VERDICT, Batch, Frame, Merged, judge, merge
from services.ingest.gather import gather
from services.ingest.ranges import Bools, Ranges, contains, from_multirange, ranges_by_owner, to_multirange
from services.ingest.refusals import Told, rejections_of
from services.ingest.telemetry_store import Refused, Telemetry
from services.runtime.clock import to_us
from services.runtime.postgres import Connection, Pool, transaction

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
SAFETY_DAYS: Final = 10
"""Rows are refused this much before retention would drop them."""
FINAL: Final = np.array([True, *(is_final(reason) for reason in REASONS)])
"""By verdict: whether the sample is settled."""


class Fenced(Exception):
    """Another writer has one of these partitions."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Records to flush, and how they move the offsets."""

    records: Sequence[Record]
    moves: Sequence[tuple[int, int, int]]
    """partition, expected next offset, new one"""
    rows: int = 0
    batch: Batch | None = None
    """The rows to store, where they are gathered already."""


@dataclass(slots=True)
class _Judged:
    batch: Batch
    known: Bools
    verdict: npt.NDArray[np.int8]
    merged: Merged
    refused: Refused = field(default_factory=dict)


class Flush:
    """Makes flushes."""

    def __init__(self, *, pool: Pool, owner: UUID, retention_days: int, topic: str = TELEMETRY) -> None:
        self._pool = pool
        self._topic = topic
        self._owner = owner
        self._keep_us = (retention_days - SAFETY_DAYS) * DAY_US
        self.telemetry = Telemetry()
        self._told = Told()

    async def store(self, taken: Taken, now: datetime) -> list[Outcome]:
        """Commit it; answers what to tell the senders. Fenced or Unavailable: nothing is stored."""
        batch = gather(taken.records) if taken.batch is None else taken.batch
        with metrics.COMMIT_SECONDS.time():
            async with transaction(self._pool) as db:
                if not await store.move_offsets(db, self._topic, self._owner, taken.moves):
                    raise Fenced
                judged = await self._judge(db, batch, now)
                await self._store(db, judged, now)
        self.telemetry.committed()
        self._told.committed()
        _count(judged)
        return outcomes(batch, judged.verdict, now)

    def oldest_us(self, now: datetime) -> int:
        """What is older is refused."""
        return to_us(now) - self._keep_us

    async def _judge(self, db: Connection, batch: Batch, now: datetime) -> _Judged:
        known = known_rows(batch, await read_committed(db, batch))
        erased = await store.erased_devices(db, np.unique(batch.frame.key).tolist())
        verdict = judge(batch.frame, now_us=to_us(now), oldest_us=self.oldest_us(now))
        verdict[known] = 0
        if erased:
            # Refused, and nothing of it is noted: neither as settled nor by whom.
            buried = np.isin(batch.frame.key, erased)
            verdict[buried] = VERDICT[Reason.DEVICE_ERASED]
            known |= buried
        merged = merge(batch.frame.where(~known & (verdict == 0)))
        verdict[merged.conflicts] = VERDICT[Reason.CONFLICTING_SAMPLE]
        return _Judged(batch, known, verdict, merged)

    async def _store(self, db: Connection, judged: _Judged, now: datetime) -> None:
        batch, verdict, merged = judged.batch, judged.verdict, judged.merged
        judged.refused = await self.telemetry.add(db, merged.frame)
        for origin, (reason, _) in judged.refused.items():
            verdict[origin] = VERDICT[reason]
        # What went into a refused row shares its fate.
        verdict[merged.doubles] = verdict[merged.heads]
        refusals = rejections_of(batch, verdict, judged.refused, now, self._told)
        await store.insert_rejections(db, refusals)
        settled = settled_ranges(batch, verdict, judged.known)
        if settled:
            await store.add_committed(db, settled)
        if len(merged.frame):
            await store.mark_dirty(db, *dirty_hours(merged.frame))


async def read_committed(db: Connection, batch: Batch) -> dict[int, Ranges]:
    """What is committed of each sender's spool, by its place."""
    spools = [sender.spool for sender in batch.senders if sender.epoch]
    if not spools:
        return {}
    found = await store.read_committed(db, spools)
    return {
        place: from_multirange(found[sender.spool])
        for place, sender in enumerate(batch.senders)
        if sender.spool in found
    }


def known_rows(batch: Batch, committed: dict[int, Ranges]) -> Bools:
    """Which rows were committed before."""
    known = np.zeros(batch.seq.size, dtype=np.bool_)
    if not committed:
        return known
    # Almost always one range holds all that a spool has sent: those are compared at once.
    low = np.ones(len(batch.senders), dtype=np.int64)
    high = np.zeros(len(batch.senders), dtype=np.int64)
    for place, ranges in committed.items():
        if len(ranges) == 1:
            low[place], high[place] = ranges[0]
        elif ranges:
            mine = np.flatnonzero(batch.sender == place)
            known[mine] = contains(ranges, batch.seq[mine])
    known |= (batch.seq >= low[batch.sender]) & (batch.seq <= high[batch.sender])
    return known


def settled_ranges(
    batch: Batch, verdict: npt.NDArray[np.int8], known: Bools
) -> dict[tuple[str, str, int], str]:
    """What this flush adds to the committed ranges of each spool."""
    is_spooled = np.array([sender.epoch != 0 for sender in batch.senders], dtype=np.bool_)
    if not is_spooled.any():
        return {}
    mine = FINAL[verdict] & ~known & is_spooled[batch.sender]
    found = ranges_by_owner(batch.sender[mine], batch.seq[mine])
    return {batch.senders[place].spool: to_multirange(ranges) for place, ranges in found.items()}


def outcomes(batch: Batch, verdict: npt.NDArray[np.int8], now: datetime) -> list[Outcome]:
    """An acknowledgement for each sender that numbers its samples; also of what was known before."""
    told: dict[int, Outcome] = {}
    now_us = to_us(now)

    def ack_of(place: int) -> Ack:
        if place not in told:
            tenant, device, epoch, door = batch.senders[place]
            told[place] = Outcome(tenant=tenant, device=device, door=door)
            told[place].ack.epoch = epoch
            told[place].ack.server_time_us = now_us
        return told[place].ack

    numbered = batch.seq > 0
    good = numbered & (verdict == 0)
    for place, ranges in ranges_by_owner(batch.sender[good], batch.seq[good]).items():
        committed = ack_of(place).committed
        for first, last in ranges:
            committed.add(first=first, last=last)
    for number in np.unique(verdict[numbered & (verdict != 0)]).tolist():
        mine = numbered & (verdict == number)
        for place, ranges in ranges_by_owner(batch.sender[mine], batch.seq[mine]).items():
            ack_of(place).refused.append(refusal(REASONS[number - 1], ranges))
    return list(told.values())


def dirty_hours(frame: Frame) -> tuple[list[int], list[int], list[int], list[int]]:
    """Device keys and hours since 1970 whose rollups are behind now, with their first and last minute.

    Of a sorted frame.
    """
    hour, rest_us = np.divmod(frame.ts_us, HOUR_US)
    pairs, starts = np.unique(frame.key.astype(np.int64) << 32 | hour, return_index=True)
    minute = rest_us // MINUTE_US
    first, last = np.minimum.reduceat(minute, starts), np.maximum.reduceat(minute, starts)
    return (pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), first.tolist(), last.tolist()


def _count(judged: _Judged) -> None:
    metrics.BATCH_ROWS.observe(judged.verdict.size)
    metrics.REPEATED.inc(int((judged.known & (judged.verdict == 0)).sum()))
    frame = judged.merged.frame
    points = sum(int((~np.isnan(column)).sum()) for column in frame.values.values())
    metrics.POINTS.inc(points + frame.other.row.size)
