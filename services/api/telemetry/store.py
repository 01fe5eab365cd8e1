"""Telemetry through the views that show a tenant its own."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from overwatt.quantities import BY_NAME, COLUMNS, Kind
from services.api.telemetry.resolution import Resolution
from services.runtime.postgres import Connection

Newest: TypeAlias = tuple[list[dict[str, Any]], list[tuple[str, datetime, float]]]
"""Rows, newest first, and (metric, ts, value) of every other metric."""

NEWEST_ROWS: Final = 100
FRESH: Final = timedelta(minutes=2)
A_DAY: Final = timedelta(days=1)
_VIEWS: Final = {
    Resolution.MINUTE: "v_telemetry_1m",
    Resolution.QUARTER: "v_telemetry_15m",
    Resolution.HOUR: "v_telemetry_1h",
    Resolution.DAY: "v_telemetry_1d",
}

DEVICE: Final = """
select device_id as asset_id, name, type, site_id
from device where tenant_id = $1 and device_id = $2 and state <> 'erased'"""
NEWEST: Final = f"""
select ts, quality, {", ".join(COLUMNS)} from v_telemetry
where tenant_id = $1 and device_id = $2 and ts >= $3 and ts < $4
order by ts desc limit {NEWEST_ROWS}"""
NEWEST_OTHERS: Final = """
select distinct on (metric) metric, ts, value from v_telemetry_other
where tenant_id = $1 and device_id = $2 and ts >= $3 and ts < $4
order by metric, ts desc"""
LAST_DAY: Final = "select max(bucket) from v_telemetry_1d where tenant_id = $1 and device_id = $2"
OTHERS: Final = """
select metric, ts, value from v_telemetry_other
where tenant_id = $1 and device_id = $2 and metric = any($3) and ts >= $4 and ts <= $5"""


async def read_device(db: Connection, tenant: str, device: str) -> dict[str, Any] | None:
    """The device, or None where the tenant has none of that name."""
    row = await db.fetchrow(DEVICE, tenant, device)
    return dict(row) if row else None


async def read_newest(db: Connection, tenant: str, device: str, now: datetime) -> Newest:
    """The newest rows, newest first, and the newest of every other metric.

    Looked for in the last minutes, then in the last day, then on the last day that has a rollup: a search
    without a lower bound would read all that the device ever said.
    """
    end = now + A_DAY
    for start in (now - FRESH, now - A_DAY):
        if found := await _newest(db, tenant, device, start, end):
            return found
    day = await db.fetchval(LAST_DAY, tenant, device)
    return (day and await _newest(db, tenant, device, day, day + A_DAY)) or ([], [])


async def _newest(db: Connection, tenant: str, device: str, start: datetime, end: datetime) -> Newest | None:
    rows = await db.fetch(NEWEST, tenant, device, start, end)
    if not rows:
        return None
    others = await db.fetch(NEWEST_OTHERS, tenant, device, start, end)
    return [dict(row) for row in rows], [(row["metric"], row["ts"], row["value"]) for row in others]


async def read_samples(
    db: Connection,
    tenant: str,
    device: str,
    metrics: Sequence[str],
    start: datetime,
    end: datetime,
    limit: int,
) -> list[dict[str, Any]]:
    """`at` and these canonical columns of each sample."""
    columns = "".join(f", {_column(metric)}" for metric in metrics)
    query = f"""
select ts as at{columns} from v_telemetry
where tenant_id = $1 and device_id = $2 and ts >= $3 and ts < $4 order by ts limit $5"""
    return [dict(row) for row in await db.fetch(query, tenant, device, start, end, limit)]


async def read_others(
    db: Connection, tenant: str, device: str, metrics: Sequence[str], start: datetime, last: datetime
) -> dict[tuple[datetime, str], float]:
    """Values of metrics that are not canonical, up to and including `last`."""
    rows = await db.fetch(OTHERS, tenant, device, list(metrics), start, last)
    return {(row["ts"], row["metric"]): row["value"] for row in rows}


async def read_buckets(
    db: Connection,
    tenant: str,
    device: str,
    metrics: Sequence[str],
    resolution: Resolution,
    start: datetime,
    end: datetime,
    limit: int,
) -> list[dict[str, Any]]:
    """`at`, and of each canonical metric its value under its name; of gauges also `_min` and `_max`."""
    columns = "".join(f", {_rolled_up(_column(metric))}" for metric in metrics)
    query = f"""
select bucket as at{columns} from {_VIEWS[resolution]}
where tenant_id = $1 and device_id = $2 and bucket >= $3 and bucket < $4 order by bucket limit $5"""
    return [dict(row) for row in await db.fetch(query, tenant, device, start, end, limit)]


def _column(metric: str) -> str:
    """The name out of our own table, so that no caller's text ever stands in a statement."""
    return BY_NAME[metric].name


def _rolled_up(metric: str) -> str:
    if BY_NAME[metric].kind is not Kind.GAUGE:
        return f"{metric}_last as {metric}"
    return f"{metric}_sum / nullif({metric}_n, 0) as {metric}, {metric}_min, {metric}_max"


def gauges(metrics: Sequence[str]) -> list[str]:
    """Those that have a minimum and a maximum."""
    return [metric for metric in metrics if BY_NAME[metric].kind is Kind.GAUGE]


def values(row: Mapping[str, Any], metrics: Sequence[str], suffix: str = "") -> dict[str, float | None]:
    """These metrics of a row."""
    return {metric: row[f"{metric}{suffix}"] for metric in metrics}
