"""GET /telemetry/{asset_id}: what it says now, or with `from` what it said."""

import re
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime

from overwatt.quantities import BY_NAME, COLUMNS
from overwatt.topics import is_device
from services.api.caller import Caller, TenantDb
from services.api.telemetry import store
from services.api.telemetry.latest import latest
from services.api.telemetry.resolution import BadRange, Range, Resolution, choose
from services.api.telemetry.schemas import History, LatestValues, Point
from services.runtime import clock
from services.runtime.postgres import Connection
from services.runtime.web import Refusal

router = APIRouter(tags=["telemetry"])

METRIC: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
AUTOMATIC_POINTS: Final = 1000
MOST_POINTS: Final = 10_000


@router.get("/telemetry/{asset_id}")
async def get_telemetry(
    request: Request,
    asset_id: str,
    who: Caller,
    db: TenantDb,
    start: Annotated[
        AwareDatetime | None,
        Query(alias="from", description="with it: history", examples=["2026-11-21T00:00:00Z"]),
    ] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to", description="now if it is left out")] = None,
    metric: Annotated[
        list[str] | None, Query(description="only these; all canonical ones if left out", max_length=50)
    ] = None,
    resolution: Annotated[Resolution | None, Query(description="the finest that fits if left out")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_POINTS)] = AUTOMATIC_POINTS,
) -> LatestValues | History:
    """The latest values of an asset (or any other device), each asset its own. With `from` its history."""
    device = await store.read_device(db, who.tenant, asset_id) if is_device(asset_id) else None
    if device is None:
        raise Refusal(404, f"asset {asset_id!r} does not exist; /assets lists them", field="asset_id")
    now = clock.now()
    if start is None:
        if "to" in request.query_params or "resolution" in request.query_params or metric:
            raise Refusal(422, "from: is missing; to, metric and resolution are for history", field="from")
        rows, others = await store.read_newest(db, who.tenant, asset_id, now)
        found = latest(rows, others, columns=COLUMNS, now=now)
        return LatestValues(
            **device,
            at=found.at,
            is_stale=found.is_stale,
            quality=found.quality,
            values=dict(found.values),
            values_at=dict(found.values_at),
        )
    canonical, others_wanted = _sort_out(metric)
    try:
        asked = choose(
            start,
            end or now,
            wanted=resolution,
            points=limit,
            only_raw=bool(others_wanted),
        )
    except BadRange as error:
        raise Refusal(422, str(error), field=error.field) from error
    return await _history(db, who.tenant, asset_id, canonical, others_wanted, asked, limit)


def _sort_out(metrics: list[str] | None) -> tuple[list[str], list[str]]:
    """Canonical metrics, and others."""
    if not metrics:
        return list(COLUMNS), []
    for metric in metrics:
        if not METRIC.fullmatch(metric):
            raise Refusal(
                422, f"metric: must match {METRIC.pattern} (got {ascii(metric)[:100]})", field="metric"
            )
    wanted = list(dict.fromkeys(metrics))
    return [each for each in wanted if each in BY_NAME], [each for each in wanted if each not in BY_NAME]


async def _history(
    db: Connection,
    tenant: str,
    asset_id: str,
    canonical: list[str],
    others: list[str],
    asked: Range,
    limit: int,
) -> History:
    one_more = limit + 1
    if asked.resolution is Resolution.RAW:
        rows = await store.read_samples(db, tenant, asset_id, canonical, asked.start, asked.end, one_more)
        points = [Point(at=row["at"], values=store.values(row, canonical)) for row in rows[:limit]]
        if others and points:
            found = await store.read_others(db, tenant, asset_id, others, asked.start, points[-1].at)
            for point in points:
                point.values |= {metric: found.get((point.at, metric)) for metric in others}
    else:
        rows = await store.read_buckets(
            db, tenant, asset_id, canonical, asked.resolution, asked.start, asked.end, one_more
        )
        gauges = store.gauges(canonical)
        points = [
            Point(
                at=row["at"],
                values=store.values(row, canonical),
                min=store.values(row, gauges, "_min"),
                max=store.values(row, gauges, "_max"),
            )
            for row in rows[:limit]
        ]
    next_from: datetime | None = rows[limit]["at"] if len(rows) > limit else None
    return History(
        asset_id=asset_id,
        resolution=asked.resolution,
        start=asked.start,
        end=asked.end,
        points=points,
        next_from=next_from,
    )
