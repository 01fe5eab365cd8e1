"""Rows that these tests write: a tenant with a box and devices, and samples."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a_fleet wrote."""

    tenant: str
    box: str
    device: str
    key: int


async def a_fleet(connection: Any) -> Fleet:
    """A tenant of its own with one site, one box and one device in it."""
    number = next(_numbers)
    tenant, box, device = f"tenant-{number}", f"box-{number}", f"battery-{number}"
    await connection.execute("insert into tenant (tenant_id, name) values ($1, $1)", tenant)
    await connection.execute("insert into site (tenant_id, site_id) values ($1, $2)", tenant, box)
    await connection.execute(
        "insert into box (tenant_id, box_id, site_id, mode, opt_ins)"
        " values ($1, $2, $2, 'active', '{battery}')",
        tenant,
        box,
    )
    key = await connection.fetchval(
        "insert into device (tenant_id, device_id, site_id, box_id, type) values ($1, $2, $3, $3, 'battery')"
        " returning device_key",
        tenant,
        device,
        box,
    )
    return Fleet(tenant, box, device, key)


async def add_sample(
    connection: Any, key: int, at: datetime, values: Mapping[str, float | None], *, quality: int = 0
) -> None:
    """One row of telemetry, recorded as dirty, in one transaction: as the writer does it."""
    columns = ", ".join(values)
    marks = ", ".join(f"${n}" for n in range(4, 4 + len(values)))
    async with connection.transaction():
        await connection.execute("select ensure_telemetry_partition($1)", at.date())
        await connection.execute(
            f"insert into telemetry (device_key, ts, quality, {columns}) values ($1, $2, $3, {marks})",
            key,
            at,
            quality,
            *values.values(),
        )
        await connection.execute(
            "insert into rollup_dirty (device_key, hour) values ($1, $2)", key, _hour(at)
        )


async def add_other(connection: Any, key: int, at: datetime, metric: str, value: float) -> None:
    """A sample of a metric that has no column of its own."""
    await connection.execute("select ensure_telemetry_partition($1)", at.date())
    series = await connection.fetchval(
        "insert into telemetry_series (device_key, metric) values ($1, $2)"
        " on conflict (device_key, metric) do update set metric = excluded.metric returning series_id",
        key,
        metric,
    )
    await connection.execute("insert into telemetry_other values ($1, $2, $3)", series, at, value)


async def refresh(connection: Any) -> None:
    """Bring every rollup up to date as ingest's job does it."""
    while await connection.fetchval("select refresh_rollups(1000)"):
        pass
    for window in await connection.fetch("select * from late_rollup_windows(1000)"):
        if window["rollup"]:
            start, end = window["starts_at"], window["ends_at"]
            await connection.execute(
                f"call refresh_continuous_aggregate('{window['rollup']}', '{start}'::timestamptz,"
                f" '{end}'::timestamptz)"
            )
        if window["late_ids"]:
            await connection.execute(
                "delete from rollup_late where id = any($1::bigint[])", window["late_ids"]
            )


def _hour(at: datetime) -> datetime:
    return at - timedelta(minutes=at.minute, seconds=at.second, microseconds=at.microsecond)
