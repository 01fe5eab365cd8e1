"""Stores frames: COPY straight into the tables, and the slow path only for what collides there.

COPY, one for each set of columns --- a key is taken ---> staging table, compared in the database
     |                                                       equal: a duplicate; nulls are filled in;
     |                                                       another value: the first stays, refused
     +--- the database refuses a value ---> half and half, until the row stands alone: refused
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeAlias

import asyncpg
import numpy as np
import numpy.typing as npt

from overwatt.reasons import Reason
from services.ingest import metrics, store
from services.ingest.copy_format import arrays_of, column_sets, encode, timestamps
from services.ingest.frames import Frame
from services.ingest.ranges import Ints
from services.runtime.clock import from_us
from services.runtime.errors import Unavailable
from services.runtime.postgres import Connection

Refused: TypeAlias = dict[int, tuple[Reason, str]]
"""By origin."""

DAY_US: Final = 86_400_000_000
CHUNK: Final = 262_144
DATA_ERRORS: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
SMALLER: Final = (*DATA_ERRORS, asyncpg.ConfigurationLimitExceededError)
"""Fewer rows in a statement may pass: a bad row is found so, and TimescaleDB limits (53400) how many
compressed rows one statement may touch."""
"""SQLSTATE classes 22 and 23: something is wrong with a value."""


class Telemetry:
    """The tables telemetry, telemetry_series and telemetry_other."""

    def __init__(self) -> None:
        self._series: dict[tuple[int, str], int] = {}
        self._days: set[int] = set()
        self._new_series: dict[tuple[int, str], int] = {}
        self._new_days: set[int] = set()

    async def add(self, db: Connection, frame: Frame) -> Refused:
        """Store sorted rows, each key and time once; answers which the database did not take."""
        self._new_series, self._new_days = {}, set()
        if len(frame) == 0:
            return {}
        await self._ensure_partitions(db, frame)
        await self._ensure_series(db, frame)
        return await self._add(db, frame)

    def committed(self) -> None:
        """The transaction of the last `add` was committed: what it made is there for good."""
        self._series |= self._new_series
        self._days |= self._new_days

    def forget_days(self) -> None:
        """Partitions were dropped."""
        self._days.clear()

    async def _add(self, db: Connection, frame: Frame) -> Refused:
        try:
            async with db.transaction():
                await self._copy(db, frame)
            metrics.ROWS.labels("copy").inc(len(frame))
            return {}
        except asyncpg.UniqueViolationError:
            try:
                async with db.transaction():
                    refused = await self._compare(db, frame)
                metrics.ROWS.labels("staging").inc(len(frame) - len(refused))
                return refused
            except SMALLER as error:
                return await self._halve(db, frame, error)
        except SMALLER as error:
            return await self._halve(db, frame, error)

    async def _halve(self, db: Connection, frame: Frame, error: asyncpg.PostgresError) -> Refused:
        if len(frame) == 1:
            if not isinstance(error, DATA_ERRORS):
                raise Unavailable(f"PostgreSQL: {error}") from error
            return {int(frame.origin[0]): (Reason.UNSTORABLE, f"the database refused it: {error}")}
        middle = len(frame) // 2
        first, second = np.arange(middle), np.arange(middle, len(frame))
        return await self._add(db, frame.take(first)) | await self._add(db, frame.take(second))

    async def _copy(self, db: Connection, frame: Frame) -> None:
        for names, rows in column_sets(frame.values, len(frame)):
            part = frame.where(rows)
            await _copy(db, "telemetry", ("device_key", "ts", "quality", *names), arrays_of(part, names))
        if frame.other.row.size:
            await _copy(db, "telemetry_other", OTHER_COLUMNS, self._other(frame)[1:])

    async def _compare(self, db: Connection, frame: Frame) -> Refused:
        """The slow path: through staging tables, in which every row knows its origin."""
        names = tuple(frame.values)
        span = (from_us(int(frame.ts_us.min())), from_us(int(frame.ts_us.max())))
        await db.execute(STAGE)
        await _copy(
            db,
            "staged",
            ("origin", "device_key", "ts", "quality", *names),
            [
                frame.origin,
                frame.key,
                timestamps(frame.ts_us),
                frame.quality,
                *(frame.values[name] for name in names),
            ],
        )
        await db.execute(insert_staged(names))
        refused: Refused = {}
        if names:
            rows = await db.fetch(contradictions(names), *span)
            refused = {row["origin"]: _conflict(row["ts"]) for row in rows}
            await db.execute(fill_in(names), *span)
        if frame.other.row.size:
            refused |= await self._compare_other(db, frame, refused, span)
        await db.execute(UNSTAGE)
        return refused

    async def _compare_other(
        self, db: Connection, frame: Frame, refused: Refused, span: tuple[datetime, datetime]
    ) -> Refused:
        columns = self._other(frame)
        good = ~np.isin(columns[0], np.fromiter(refused, dtype=np.int64, count=len(refused)))
        await db.execute(STAGE_OTHER)
        await _copy(db, "staged_other", ("origin", *OTHER_COLUMNS), [column[good] for column in columns])
        await db.execute(INSERT_STAGED_OTHER)
        rows = await db.fetch(OTHER_CONTRADICTIONS, *span)
        return {row["origin"]: _conflict(row["ts"]) for row in rows}

    def _other(self, frame: Frame) -> list[npt.NDArray[Any]]:
        """origin, series_id, ts, value and quality, in order of series and time."""
        pairs, inverse = np.unique(_pairs(frame), return_inverse=True)
        ids = [self._id(key, frame.metrics[metric]) for key, metric in _split(pairs)]
        series = np.array(ids, dtype=np.int32)[inverse]
        row = frame.other.row
        order = np.lexsort((frame.ts_us[row], series))
        row = row[order]
        return [
            frame.origin[row],
            series[order],
            timestamps(frame.ts_us[row]),
            frame.other.value[order],
            frame.quality[row],
        ]

    def _id(self, key: int, metric: str) -> int:
        found = self._series.get((key, metric))
        return self._new_series[key, metric] if found is None else found

    async def _ensure_series(self, db: Connection, frame: Frame) -> None:
        if frame.other.row.size == 0:
            return
        wanted = [(key, frame.metrics[metric]) for key, metric in _split(np.unique(_pairs(frame)))]
        unknown = [pair for pair in wanted if pair not in self._series]
        if unknown:
            keys, names = (list(column) for column in zip(*unknown, strict=True))
            await db.execute(INSERT_SERIES, keys, names)
            rows = await db.fetch(READ_SERIES, keys, names)
            self._new_series = {(row["device_key"], row["metric"]): row["series_id"] for row in rows}

    async def _ensure_partitions(self, db: Connection, frame: Frame) -> None:
        self._new_days = set(np.unique(frame.ts_us // DAY_US).tolist()) - self._days
        for day in sorted(self._new_days):
            try:
                async with db.transaction():
                    await store.ensure_partition(db, date(1970, 1, 1) + timedelta(days=day))
            except DATA_ERRORS:
                # Retention has dropped this day; its rows will be refused one by one.
                self._new_days.discard(day)


OTHER_COLUMNS: Final = ("series_id", "ts", "value", "quality")

INSERT_SERIES: Final = """
insert into telemetry_series (device_key, metric) select * from unnest($1::int[], $2::text[])
on conflict (device_key, metric) do nothing"""
READ_SERIES: Final = """
select t.series_id, t.device_key, t.metric from telemetry_series t
join unnest($1::int[], $2::text[]) as s (device_key, metric) using (device_key, metric)"""

STAGE: Final = (
    "create temporary table staged (like telemetry including defaults, origin bigint not null) on commit drop"
)
UNSTAGE: Final = "drop table if exists pg_temp.staged, pg_temp.staged_other"
STAGE_OTHER: Final = (
    "create temporary table staged_other (like telemetry_other including defaults, origin bigint not null)"
    " on commit drop"
)
INSERT_STAGED_OTHER: Final = """
insert into telemetry_other (series_id, ts, value, quality)
select series_id, ts, value, quality from staged_other order by series_id, ts
on conflict (series_id, ts) do nothing"""
OTHER_CONTRADICTIONS: Final = """
select s.origin, s.ts from staged_other s
join telemetry_other t on t.series_id = s.series_id and t.ts = s.ts and t.ts between $1 and $2
where t.value <> s.value"""


def insert_staged(names: Sequence[str]) -> str:
    """Rows whose key is free."""
    columns = ", ".join(("device_key", "ts", "quality", *names))
    return (
        f"insert into telemetry ({columns}) select {columns} from staged order by device_key, ts"
        " on conflict (device_key, ts) do nothing"
    )


_SAME: Final = "t.device_key = s.device_key and t.ts = s.ts and t.ts between $1 and $2"


def contradictions(names: Sequence[str]) -> str:
    """Rows that say something else than what is stored."""
    return f"select s.origin, s.ts from staged s join telemetry t on {_SAME} where {_differ(names)}"


def fill_in(names: Sequence[str]) -> str:
    """What is null in the stored row and known in one that does not contradict it."""
    filled = ", ".join(f"{name} = coalesce(t.{name}, s.{name})" for name in names)
    missing = " or ".join(f"(t.{name} is null and s.{name} is not null)" for name in names)
    return (
        f"update telemetry t set {filled}, quality = greatest(t.quality, s.quality) from staged s"
        f" where {_SAME} and ({missing}) and not ({_differ(names)})"
    )


def _differ(names: Sequence[str]) -> str:
    return " or ".join(f"coalesce(t.{name} <> s.{name}, false)" for name in names)


def _conflict(ts: datetime) -> tuple[Reason, str]:
    at = ts.astimezone(UTC).isoformat()
    return Reason.CONFLICTING_SAMPLE, f"another value is stored for {at}: the first one stays"


def _pairs(frame: Frame) -> Ints:
    """Device key and metric of each other value, as one number."""
    return frame.key[frame.other.row].astype(np.int64) << 32 | frame.other.metric


def _split(pairs: Ints) -> list[tuple[int, int]]:
    return [(pair >> 32, pair & 0xFFFFFFFF) for pair in pairs.tolist()]


async def _copy(
    db: Connection, table: str, columns: Sequence[str], arrays: Sequence[npt.NDArray[Any]]
) -> None:
    data = encode(arrays)
    await db.copy_to_table(table, source=_chunks(data), columns=columns, format="binary")


async def _chunks(data: memoryview) -> AsyncIterator[Any]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
