"""Two tenants, alpha and beta, with one of everything in the database, and the api in front of it."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest

from services.api.tokens import Identity, make_token
from tests.integration.db.builders import add_other, add_sample, refresh
from tests.integration.door_rig import Service, a_service

KEY: Final = "a-key-for-tests-that-signs-nothing-else-at-all"
NOW: Final = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
LAST_HOUR: Final = NOW - timedelta(hours=1)


def bearer(tenant: str, role: str = "operator") -> dict[str, str]:
    """Headers of a user of this tenant."""
    token = make_token(KEY, Identity(tenant, f"user-of-{tenant}", role), now=datetime.now(UTC), ttl_s=600)
    return {"Authorization": f"Bearer {token}"}


async def fill(db: Any, tenant: str) -> str:
    """One of everything, with the tenant's name in every id and text; answers the dispatch's id."""
    site, bess, dispatch_id = f"{tenant}-site", f"{tenant}-bess", str(uuid4())
    await db.execute("insert into tenant (tenant_id, name) values ($1, $1)", tenant)
    await db.execute("insert into site (tenant_id, site_id, name) values ($1, $2, $2)", tenant, site)
    await db.execute(
        "insert into box (tenant_id, box_id, site_id, mode, opt_ins)"
        " values ($1, $2, $2, 'active', '{battery}')",
        tenant,
        site,
    )
    key = await db.fetchval(
        "insert into device (tenant_id, device_id, site_id, box_id, type, name)"
        " values ($1, $2, $3, $3, 'battery', $2) returning device_key",
        tenant,
        bess,
        site,
    )
    await db.execute(
        "insert into asset (tenant_id, asset_id, device_key, capacity_mwh, max_mw, min_mw)"
        " values ($1, $2, $3, 120, 60, -60)",
        tenant,
        bess,
        key,
    )
    for number in range(7):
        await db.execute(
            "insert into agent_session (session_id, tenant_id, device_id, site_id, site_name, assets,"
            " version, connected_at, disconnected_at)"
            " values ($1, $2, $3, $3, $3, $4, '1.0', $5::timestamptz, $6)",
            f"{tenant}-boot-{number}",
            tenant,
            site,
            [bess],
            NOW - timedelta(minutes=10 - number),
            None if number == 6 else NOW - timedelta(minutes=9 - number),
        )
    share = {"asset_id": bess, "raw": 5, "clamped": 5, "residual": 0, "mw": 5, "limited_by": ""}
    await db.execute(
        "insert into dispatch (dispatch_id, tenant_id, site_id, box_id, power_mw, requested_by, expires_at,"
        " state, preview, result) values ($1, $2, $3, $3, 5, $4, now(), 'verified', $5, $6)",
        dispatch_id,
        tenant,
        site,
        f"user-of-{tenant}",
        json.dumps({"allocations": [share]}),
        json.dumps({"allocations": [{**share, "measured": 4.9}], "unplaced_mw": 0, "unplaced_why": ""}),
    )
    for status in ("OPEN", "ACKNOWLEDGED", "CLOSED"):
        await db.execute(
            "insert into alerts (alert_id, tenant_id, fingerprint, device_id, severity, summary, status,"
            " closed_at) values (gen_random_uuid(), $1, $2, $3, 2, $4, $2, $5)",
            tenant,
            status,
            bess,
            f"{tenant} {status}",
            NOW if status == "CLOSED" else None,
        )
    await db.execute("insert into admin_audit (actor, action, tenant_id) values ($1, 'act', $1)", tenant)
    for at, soc in ((LAST_HOUR, 40.0), (NOW - timedelta(seconds=1), 49.0), (NOW, 50.0)):
        await add_sample(db, key, at, {"soc_pct": soc, "active_power_w": 7.2e6 if at == NOW else None})
        await add_other(db, key, at, f"{tenant}_rpm", 1200)
    await refresh(db)
    return dispatch_id


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def dispatch_ids(db: Any) -> dict[str, str]:
    """Two tenants, alpha and beta, with one of everything."""
    return {tenant: await fill(db, tenant) for tenant in ("alpha", "beta")}


@pytest.fixture
def settings(role_url: Callable[[str], str]) -> dict[str, str]:
    return {"DATABASE_URL": role_url("api"), "API_TOKEN_KEY": KEY}


@pytest.fixture
async def api(tmp_path: Path, settings: dict[str, str]) -> AsyncIterator[Service]:
    async with a_service("api", tmp_path, settings) as service:
        yield service
