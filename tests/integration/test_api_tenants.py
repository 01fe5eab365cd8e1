"""Two tenants behind one door: no route, store or table shows one the other's, with or without a filter."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.api.agents import store as agents
from services.api.alerts import store as alerts
from services.api.assets import store as assets
from services.api.database import tenant_transaction
from services.api.dispatch import store as dispatches
from services.api.sites import store as sites
from services.api.telemetry import store as telemetry
from services.api.telemetry.resolution import Resolution
from services.runtime.postgres import connect_pool
from tests.integration.api_world import LAST_HOUR, NOW, api, bearer, db, dispatch_ids, settings
from tests.integration.door_rig import Service, a_service

__all__ = ["api", "db", "dispatch_ids", "settings"]


PASSED_ON = ("/admin", "/pro", "/account", "/api/", "/customer")
"""Answered through provisioning, which is not here: test_api_operators.py has these tests for them."""


async def routes(api: Service, asset: str, dispatch_id: str) -> list[tuple[str, str]]:
    """Every documented route with its path filled in, so that a new one is in these tests by itself."""
    document = await api.get("/openapi.json")
    return [
        (method.upper(), path.replace("{asset_id}", asset).replace("{dispatch_id}", dispatch_id))
        for path, methods in document["paths"].items()
        for method in methods
    ]


async def test_no_route_shows_a_tenant_what_is_anothers(
    api: Service, dispatch_ids: dict[str, str]
) -> None:  # U-P07
    found = await routes(api, "alpha-bess", dispatch_ids["alpha"])
    assert len(found) >= 8
    for method, path in found:
        if method != "GET" or path.startswith(PASSED_ON):
            continue
        own = await api.ask(method, path, **bearer("alpha"))
        other = await api.ask(method, path, **bearer("beta"))
        nobody = await api.ask(method, path)  # this machine: tenant default, which has nothing

        assert own.status_code == 200, path
        assert "alpha" in own.text, path
        assert "beta" not in own.text, path
        for answer in (other, nobody):
            assert answer.status_code == (404 if "alpha" in path or dispatch_ids["alpha"] in path else 200), (
                path
            )
            assert "alpha" not in answer.text.replace("asset 'alpha-bess' does not exist", ""), path


async def test_the_tenant_comes_from_the_token_alone(api: Service, dispatch_ids: dict[str, str]) -> None:
    # U-P07
    for path in ("/assets?tenant=alpha", "/assets?tenant_id=alpha", "/alerts?app.tenant=alpha"):
        assert "alpha" not in (await api.ask("GET", path, X_Tenant="alpha", **bearer("beta"))).text


async def test_every_route_but_health_wants_to_know_who_asks(
    tmp_path: Path, settings: dict[str, str], dispatch_ids: dict[str, str]
) -> None:  # U-P07, H-037
    async with a_service("api", tmp_path, {**settings, "ENVIRONMENT": "production"}) as api:
        for method, path in await routes(api, "alpha-bess", dispatch_ids["alpha"]):
            answer = await api.ask(method, path, {} if method == "POST" else None)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/health", "/healthz", "/health/ready"):
            assert (await api.ask("GET", path)).text == "Healthy"
        assert (await api.ask("GET", "/assets", **bearer("alpha"))).status_code == 200
        for wrong in ("Bearer x.y.z", "Basic eDp5", "Bearer " + "é".encode().decode("latin-1")):
            answer = await api.http.get("/assets", headers={b"authorization": wrong.encode("latin-1")})
            assert answer.status_code == 401


@pytest.mark.parametrize("role", ["api", "iot"])
async def test_a_store_that_asks_for_another_tenant_gets_nothing(
    role_url: Callable[[str], str], dispatch_ids: dict[str, str], role: str
) -> None:
    """The bug that isolation must bear: the statements run with a filter for the wrong tenant.

    Also where the api was given the owner's URL, which is DATABASE_URL's default (P-038).
    """
    start, end = LAST_HOUR - timedelta(hours=2), NOW + timedelta(minutes=1)
    metrics = ["soc_pct"]
    async with connect_pool(role_url(role), name="test") as pool:

        async def everything(filtered: str, seen: str) -> list[Any]:
            bess = f"{filtered}-bess"
            async with tenant_transaction(pool, seen) as db:
                return [
                    await assets.read_assets(db, filtered),
                    await agents.read_agents(db, filtered),
                    await sites.read_sites(db, filtered),
                    await sites.read_assets_now(db, filtered),
                    await dispatches.read_history(db, filtered, 200),
                    await dispatches.read_one(db, filtered, dispatch_ids[filtered]),
                    await alerts.read_alerts(db, filtered, None, 200),
                    await telemetry.read_device(db, filtered, bess),
                    [*(await telemetry.read_newest(db, filtered, bess, NOW))[0]],
                    await telemetry.read_samples(db, filtered, bess, metrics, start, end, 10),
                    await telemetry.read_others(db, filtered, bess, [f"{filtered}_rpm"], start, end),
                    *[
                        await telemetry.read_buckets(db, filtered, bess, metrics, each, start, end, 10)
                        for each in Resolution
                        if each not in (Resolution.RAW, Resolution.DAY)
                    ],
                ]

        assert all(await everything("alpha", seen="alpha"))
        assert not any(await everything("alpha", seen="beta"))


async def test_a_statement_without_any_filter_shows_one_tenant_and_without_a_tenant_none(
    role_url: Callable[[str], str], dispatch_ids: dict[str, str]
) -> None:
    async with connect_pool(role_url("api"), name="test") as pool:
        async with tenant_transaction(pool, "beta") as db:
            names = [
                row["name"]
                for row in await db.fetch(
                    "select c.oid::regclass::text as name from pg_class c"
                    " where c.relkind in ('r', 'v', 'm', 'p') and c.relnamespace = 'public'::regnamespace"
                    " and has_table_privilege('api', c.oid, 'select') and c.relname <> 'schema_migrations'"
                )
            ]
            assert len(names) > 20
            for name in names:
                assert "alpha" not in repr(await db.fetch(f"select * from {name}")), name
        for name in ("asset", "alerts", "dispatch", "v_telemetry", "admin_audit"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no tenant is set"):
                async with pool.acquire() as connection:
                    await connection.fetch(f"select * from {name}")
