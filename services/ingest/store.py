"""Every SQL statement of ingest but those that store telemetry (telemetry_store.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from services.runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class Mode:
    """A box's mode, held until the transaction ends."""

    mode: str
    mode_epoch: int
    opt_ins: tuple[str, ...]


HOLD_MODE: Final = "select mode, mode_epoch, opt_ins from hold_mode($1, $2)"


async def hold_mode(db: Connection, tenant_id: str, box_id: str) -> Mode | None:
    """None: there is no such active box, nothing may be published."""
    row = await db.fetchrow(HOLD_MODE, tenant_id, box_id)
    return Mode(row["mode"], row["mode_epoch"], tuple(row["opt_ins"])) if row else None


LOG_PUBLISH: Final = (
    "insert into publish_log (tenant_id, box_id, command_id, mode_epoch) values ($1, $2, $3, $4)"
)


async def log_publish(db: Connection, tenant_id: str, box_id: str, command_id: str, mode_epoch: int) -> None:
    """Under the lock of hold_mode."""
    await db.execute(LOG_PUBLISH, tenant_id, box_id, UUID(command_id), mode_epoch)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row of `rejection`; Kafka's coordinates make it unique where it came as a dead letter."""

    at: datetime
    tenant_id: str
    device_id: str
    asset_id: str
    reason: str
    detail: str
    payload: bytes
    count: int = 1
    source_topic: str = ""
    kafka: tuple[str, int, int] | None = None


INSERT_REJECTIONS: Final = """
insert into rejection (at, tenant_id, device_id, asset_id, reason, detail, payload, count, source_topic,
                       kafka_topic, kafka_partition, kafka_offset)
select * from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::bytea[], $8::int[], $9::text[], $10::text[], $11::int[], $12::bigint[])
on conflict (kafka_topic, kafka_partition, kafka_offset) do nothing"""


async def insert_rejections(db: Connection, rejections: Sequence[Rejection]) -> None:
    """Empty texts become NULL."""
    if not rejections:
        return
    nowhere = (None, None, None)
    rows = [
        (
            each.at,
            *map(_text, (each.tenant_id, each.device_id, each.asset_id)),
            each.reason,
            _text(each.detail) or "",
            each.payload or None,
            each.count,
            _text(each.source_topic),
            *(each.kafka or nowhere),
        )
        for each in rejections
    ]
    await db.execute(INSERT_REJECTIONS, *map(list, zip(*rows, strict=True)))


def _text(value: str) -> str | None:
    # PostgreSQL takes no NUL in text.
    return value.replace("\0", "\ufffd") or None


@dataclass(frozen=True, slots=True)
class Happened:
    """A row of `events`."""

    at: datetime
    tenant_id: str
    device_id: str
    asset_id: str
    type: str
    severity: str
    code: str
    message: str
    received_at: datetime


INSERT_EVENTS: Final = """
insert into events (ts, tenant_id, device_id, asset_id, event_type, severity, code, message, received_at)
select * from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::text[], $9::timestamptz[])
on conflict do nothing"""


async def insert_events(db: Connection, events: Sequence[Happened]) -> None:
    """What is there already stays as it is."""
    rows = [
        (
            each.at,
            *(_text(name) or "" for name in (each.tenant_id, each.device_id, each.asset_id, each.type)),
            each.severity,
            *(_text(word) or "" for word in (each.code, each.message)),
            each.received_at,
        )
        for each in events
    ]
    if rows:
        await db.execute(INSERT_EVENTS, *map(list, zip(*rows, strict=True)))


DROP_EVENTS: Final = "delete from events where ts < $1"


async def drop_events(db: Connection, before: datetime) -> None:
    """Older than raw telemetry."""
    await db.execute(DROP_EVENTS, before)


FORGET_EPOCHS: Final = (
    "delete from ingest_committed where tenant_id = $1 and device_id = $2 and epoch <> all ($3::bigint[])"
)
FORGET_BELOW: Final = """
update ingest_committed c set ranges = c.ranges - int8multirange(int8range(null, s.lowest))
from unnest($3::bigint[], $4::bigint[]) as s (epoch, lowest)
where c.tenant_id = $1 and c.device_id = $2 and c.epoch = s.epoch
  and c.ranges && int8range(null, s.lowest)"""


async def forget_below(db: Connection, tenant_id: str, device_id: str, lowest: dict[int, int]) -> None:
    """Epochs that the spool no longer holds, and in the others what lies below its lowest number."""
    epochs = list(lowest)
    await db.execute(FORGET_EPOCHS, tenant_id, device_id, epochs)
    await db.execute(FORGET_BELOW, tenant_id, device_id, epochs, list(lowest.values()))


DECLARE_LOSS: Final = """
insert into declared_loss as d (tenant_id, device_id, epoch, first_seq, last_seq, lost, rows, at)
select $1, $2, s.epoch, s.first_seq, s.last_seq, int8multirange(int8range(s.first_seq, s.last_seq, '[]')),
       s.last_seq - s.first_seq + 1, $6
from unnest($3::bigint[], $4::bigint[], $5::bigint[]) as s (epoch, first_seq, last_seq)
on conflict (tenant_id, device_id, epoch, first_seq) do update
  set last_seq = excluded.last_seq, rows = d.rows + excluded.last_seq - d.last_seq, at = excluded.at,
      lost = d.lost + int8multirange(int8range(d.last_seq, excluded.last_seq, '(]'))
  where excluded.last_seq > d.last_seq"""
STORED_AFTER_ALL: Final = """
update declared_loss d set lost = d.lost - c.ranges,
  rows = (select coalesce(sum(upper(r) - lower(r)), 0) from unnest(d.lost - c.ranges) r)
from ingest_committed c
where d.tenant_id = $1 and d.device_id = $2 and d.epoch = any ($3)
  and (c.tenant_id, c.device_id, c.epoch) = (d.tenant_id, d.device_id, d.epoch) and d.lost && c.ranges"""


async def declare_loss(
    db: Connection, tenant_id: str, device_id: str, evicted: Sequence[tuple[int, int, int]], at: datetime
) -> None:
    """(epoch, first, last) each; a range that has grown since is updated.

    A spool also gives up what is on its way: what of it is stored by now is not lost.
    """
    columns = [list(column) for column in zip(*evicted, strict=True)]
    await db.execute(DECLARE_LOSS, tenant_id, device_id, *columns, at)
    await db.execute(STORED_AFTER_ALL, tenant_id, device_id, columns[0])


ERASED_DEVICES: Final = "select * from erased_devices($1)"


async def erased_devices(db: Connection, keys: Sequence[int]) -> list[int]:
    """Which of these may not be written any more; a tombstone that comes now waits for this transaction."""
    return [row[0] for row in await db.fetch(ERASED_DEVICES, keys)]


READ_OFFSETS: Final = "select partition, next_offset from ingest_offset where topic = $1"


async def read_offsets(db: Connection, topic: str) -> dict[int, int]:
    """Next offset by partition."""
    return {row["partition"]: row["next_offset"] for row in await db.fetch(READ_OFFSETS, topic)}


SET_OFFSET: Final = """
insert into ingest_offset (topic, partition, next_offset, owner) values ($1, $2, $3, $4)
on conflict (topic, partition) do update set next_offset = $3, owner = $4, updated_at = now()"""


async def set_offset(db: Connection, topic: str, partition: int, next_offset: int, owner: UUID) -> None:
    """Where there is none yet, or what stands there means another topic."""
    await db.execute(SET_OFFSET, topic, partition, next_offset, owner)


MOVE_OFFSETS: Final = """
update ingest_offset o set next_offset = m.next, owner = $2, updated_at = now()
from (select * from unnest($3::int[], $4::bigint[], $5::bigint[]) as m (partition, expected, next)
      order by partition) m
where o.topic = $1 and o.partition = m.partition and o.next_offset = m.expected
returning o.partition"""


async def move_offsets(
    db: Connection, topic: str, owner: UUID, moves: Sequence[tuple[int, int, int]]
) -> bool:
    """(partition, expected, next) each. False: somebody else has moved one of them, nothing may be stored."""
    partitions, expected, following = (list(column) for column in zip(*moves, strict=True))
    moved = await db.fetch(MOVE_OFFSETS, topic, owner, partitions, expected, following)
    return len(moved) == len(moves)


ENSURE_PARTITION: Final = "select ensure_telemetry_partition($1)"


async def ensure_partition(db: Connection, day: date) -> None:
    """Where telemetry is partitioned by day; elsewhere nothing happens."""
    await db.execute(ENSURE_PARTITION, day)


DROP_PARTITIONS: Final = "select drop_telemetry_partitions($1)"
DROP_ROLLUPS: Final = "select drop_old_rollups($1)"
REFRESH_ROLLUPS: Final = "select refresh_rollups($1)"


async def drop_old(db: Connection, before: date, now: datetime) -> int:
    """Raw data older than `before`, and rollups by their own age; answers how many days went."""
    days: int = await db.fetchval(DROP_PARTITIONS, before)
    await db.execute(DROP_ROLLUPS, now)
    return days


async def refresh_rollups(db: Connection, limit: int) -> int:
    """How many dirty device hours were brought up to date; 0: none is left."""
    refreshed: int = await db.fetchval(REFRESH_ROLLUPS, limit)
    return refreshed


LATE_WINDOWS: Final = "select rollup, starts_at, ends_at, late_ids from late_rollup_windows($1)"
FORGET_LATE: Final = "delete from rollup_late where id = any ($1)"
REFRESH_TIMEOUT_S: Final = 600.0
"""A chunk that was compressed is unpacked first."""


async def refresh_late(db: Connection, limit: int) -> int:
    """Refresh the aggregates over this many of the oldest hours that late rows touched; answers how many.

    Not in a transaction: each CALL wants one of its own. Hours below the floor of retention have no window,
    since a refresh would replace history by what is left; they are forgotten.
    """
    hours = 0
    for window in await db.fetch(LATE_WINDOWS, limit):
        if window["rollup"]:
            starts_at, ends_at = (window[name].isoformat() for name in ("starts_at", "ends_at"))
            # CALL takes no parameters here: TimescaleDB wants to see the types.
            await db.execute(
                f"call refresh_continuous_aggregate('{window['rollup']}', timestamptz '{starts_at}',"
                f" timestamptz '{ends_at}')",
                timeout=REFRESH_TIMEOUT_S,
            )
        if window["late_ids"]:
            await db.execute(FORGET_LATE, window["late_ids"])
            hours += 1
    return hours


FORGET_SPOOLS: Final = "select forget_spools()"


async def forget_spools(db: Connection) -> int:
    """What is committed of devices that are unknown, decommissioned or erased."""
    spools: int = await db.fetchval(FORGET_SPOOLS)
    return spools


DIRTY_SINCE: Final = """
insert into rollup_dirty (device_key, hour)
select distinct device_key, date_bin('1 hour', ts, timestamptz '2000-01-01 00:00+00')
from telemetry where ts >= $1"""


async def mark_dirty_since(db: Connection, since: datetime) -> int:
    """All device hours with data since then; answers how many."""
    status: str = await db.execute(DIRTY_SINCE, since, timeout=REFRESH_TIMEOUT_S)
    return int(status.rpartition(" ")[2])


DIRTY: Final = """
insert into rollup_dirty (device_key, hour, first_minute, last_minute)
select d.device_key, to_timestamp(d.hour * 3600), d.first, d.last
from unnest($1::int[], $2::bigint[], $3::int[], $4::int[]) as d (device_key, hour, first, last)"""


async def mark_dirty(
    db: Connection, keys: Sequence[int], hours: Sequence[int], first: Sequence[int], last: Sequence[int]
) -> None:
    """Rollups of these device hours (counted since 1970), from a minute to a minute, are behind."""
    await db.execute(DIRTY, keys, hours, first, last)


READ_COMMITTED: Final = """
select s.place, c.ranges::text as ranges
from unnest($1::text[], $2::text[], $3::bigint[]) with ordinality as s (tenant_id, device_id, epoch, place)
join ingest_committed c using (tenant_id, device_id, epoch)"""
ADD_COMMITTED: Final = """
insert into ingest_committed as c (tenant_id, device_id, epoch, ranges)
select tenant_id, device_id, epoch, ranges::int8multirange
from unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) as s (tenant_id, device_id, epoch, ranges)
order by tenant_id, device_id, epoch
on conflict (tenant_id, device_id, epoch) do update set ranges = c.ranges + excluded.ranges"""


async def read_committed(
    db: Connection, spools: Sequence[tuple[str, str, int]]
) -> "dict[tuple[str, str, int], str]":
    """Multiranges by (tenant, device, epoch), of those that have any."""
    columns = [list(column) for column in zip(*spools, strict=True)]
    rows = await db.fetch(READ_COMMITTED, *columns)
    return {spools[row["place"] - 1]: row["ranges"] for row in rows}


async def add_committed(db: Connection, added: "dict[tuple[str, str, int], str]") -> None:
    """Multiranges to add, by (tenant, device, epoch)."""
    columns = [list(column) for column in zip(*added, strict=True)]
    await db.execute(ADD_COMMITTED, *columns, list(added.values()))
