"""What operators read, from rows that stand in the real database."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from services.api.app import make_app
from tests.integration.api_world import LAST_HOUR, NOW, api, bearer, db, dispatch_ids, settings
from tests.integration.controller_rig import ROOT
from tests.integration.db.builders import add_sample
from tests.integration.door_rig import Service, a_service

__all__ = ["api", "db", "dispatch_ids", "settings"]
ALPHA = bearer("alpha")


def query(start: Any, end: Any, **more: str) -> str:
    """History of alpha's battery; times with Z, since a plus in an address is a space."""
    times = {"from": start, "to": end}
    words = {name: at.isoformat().replace("+00:00", "Z") for name, at in times.items()}
    return "/telemetry/alpha-bess?" + "&".join(f"{name}={value}" for name, value in {**words, **more}.items())


async def test_assets_have_the_keys_of_the_runbook(api: Service, dispatch_ids: dict[str, str]) -> None:
    # D-001, D-017, D-023
    (asset,) = await api.get("/assets", **ALPHA)

    assert (asset["asset_id"], asset["site_id"], asset["site_name"]) == (
        "alpha-bess",
        "alpha-site",
        "alpha-site",
    )
    assert (asset["capacity_mwhr"], asset["min_mw"], asset["max_mw"]) == (120, -60, 60)
    assert (asset["mode"], asset["opt_ins"], asset["efficiency"]) == ("active", ["battery"], 1)


async def test_assets_that_left_the_file_are_not_listed_but_their_history_stays(
    api: Service, db: Any, dispatch_ids: dict[str, str]
) -> None:
    await db.execute("update device set state = 'decommissioned' where device_id = 'alpha-bess'")

    assert await api.get("/assets", **ALPHA) == []
    assert (await api.get("/telemetry/alpha-bess", **ALPHA))["values"]["soc_pct"] == 50
    await db.execute("update device set state = 'erased' where device_id = 'alpha-bess'")
    assert (await api.ask("GET", "/telemetry/alpha-bess", **ALPHA)).status_code == 404


async def test_an_agent_is_one_entry_with_its_last_five_sessions(
    api: Service, dispatch_ids: dict[str, str]
) -> None:  # D-018, D-020, D-021, D-031, U-D11, X10
    (agent,) = await api.get("/agents", **ALPHA)

    assert (agent["agent_id"], agent["connected"], agent["site_name"]) == ("alpha-site", True, "alpha-site")
    assert [(each["asset_id"], each["capacity_mwhr"]) for each in agent["assets"]] == [("alpha-bess", 120)]
    numbers = [int(each["session_id"][-1]) for each in agent["sessions"]]
    assert numbers == [6, 5, 4, 3, 2]
    assert [each["disconnected_at"] is None for each in agent["sessions"]] == [True, *[False] * 4]
    assert agent["connected_at"] == agent["sessions"][0]["connected_at"].replace("+00:00", "Z")
    assert await api.get("/agents") == []


async def test_a_site_sums_what_its_assets_do(api: Service, db: Any, dispatch_ids: dict[str, str]) -> None:
    # U-D11
    key = await db.fetchval("select device_key from device where device_id = 'alpha-bess'")
    # Not NOW: that is when the run began, and by now an asset that last spoke then is stale.
    await add_sample(db, key, datetime.now(UTC), {"soc_pct": 51.0, "active_power_w": 1e6})

    (site,) = await api.get("/sites", **ALPHA)

    assert (site["agents_connected"], site["assets"], site["assets_reporting"]) == (1, 1, 1)
    assert (site["capacity_mwhr"], site["power_w"], site["soc_pct"]) == (120, {"battery": 1e6}, 51)


async def test_a_site_observes_as_long_as_one_of_its_boxes_does_and_goes_with_the_last(
    api: Service, db: Any, dispatch_ids: dict[str, str]
) -> None:
    assert [each["mode"] for each in await api.get("/sites", **ALPHA)] == ["active"]
    await db.execute(
        "insert into box (tenant_id, box_id, site_id) values ('alpha', 'alpha-second', 'alpha-site')"
    )
    assert [each["mode"] for each in await api.get("/sites", **ALPHA)] == ["observe"]
    for box, left in (("alpha-second", 1), ("alpha-site", 0)):
        await db.execute("update box set state = 'decommissioned' where box_id = $1", box)
        assert len(await api.get("/sites", **ALPHA)) == left


async def test_the_latest_values_are_each_assets_own(
    api: Service, db: Any, dispatch_ids: dict[str, str]
) -> None:  # U-D02
    latest = await api.get("/telemetry/alpha-bess", **ALPHA)

    assert latest["values"] == {"soc_pct": 50, "active_power_w": 7.2e6, "alpha_rpm": 1200}
    assert latest["at"] == NOW.isoformat().replace("+00:00", "Z")
    await db.execute("insert into device (tenant_id, device_id, type) values ('alpha', 'silent', 'sensor')")
    silent = await api.get("/telemetry/silent", **ALPHA)
    assert (silent["at"], silent["values"], silent["is_stale"]) == (None, {}, True)
    for unknown in ("nobody", "%00", "A%2FB", "x" * 60):
        assert (await api.ask("GET", f"/telemetry/{unknown}", **ALPHA)).status_code == 404


async def test_what_was_said_last_month_is_still_the_latest(
    api: Service, db: Any, dispatch_ids: dict[str, str]
) -> None:
    key = await db.fetchval(
        "insert into device (tenant_id, device_id) values ('alpha', 'old') returning device_key"
    )
    at = NOW - timedelta(days=20)
    await add_sample(db, key, at, {"temp_c": 4.0})
    await db.fetchval("select refresh_rollups(1000)")

    found = await api.get("/telemetry/old", **ALPHA)

    assert (found["values"], found["is_stale"]) == ({"temp_c": 4}, True)


async def test_history_is_samples_or_rollups(api: Service, dispatch_ids: dict[str, str]) -> None:
    end = NOW + timedelta(seconds=1)

    raw = await api.get(query(NOW - timedelta(minutes=2), end), **ALPHA)
    hours = await api.get(
        query(LAST_HOUR - timedelta(days=1), end, resolution="1h", metric="soc_pct"), **ALPHA
    )
    other = await api.get(query(NOW - timedelta(minutes=2), end, metric="alpha_rpm"), **ALPHA)

    assert (raw["resolution"], [each["values"]["soc_pct"] for each in raw["points"]]) == ("raw", [49, 50])
    assert raw["next_from"] is None
    assert [each["values"] for each in other["points"]] == [{"alpha_rpm": 1200}] * 2
    assert hours["resolution"] == "1h"
    assert min(each["min"]["soc_pct"] for each in hours["points"]) == 40
    assert max(each["max"]["soc_pct"] for each in hours["points"]) == 50


async def test_history_that_does_not_fit_says_where_to_go_on(
    api: Service, dispatch_ids: dict[str, str]
) -> None:
    start, end = NOW - timedelta(minutes=2), NOW + timedelta(seconds=1)

    first = await api.get(query(start, end, limit="1", resolution="raw"), **ALPHA)
    rest = await api.get(f"/telemetry/alpha-bess?from={first['next_from']}&to={first['to']}", **ALPHA)

    assert [each["values"]["soc_pct"] for each in (*first["points"], *rest["points"])] == [49, 50]


async def test_wrong_questions_are_422_and_name_the_field(api: Service, dispatch_ids: dict[str, str]) -> None:
    # X11
    for path, field in [
        ("/alerts?status=BAD", "status"),
        ("/alerts?limit=201", "limit"),
        ("/alerts?limit=x", "limit"),
        ("/dispatch/history?limit=0", "limit"),
        ("/dispatch/not-a-uuid", "dispatch_id"),
        ("/telemetry/alpha-bess?to=2026-01-01T00:00:00Z", "from"),
        ("/telemetry/alpha-bess?from=2026-01-01", "from"),
        ("/telemetry/alpha-bess?from=0001-01-01T00:00:00%2B14:00", "from"),
        ("/telemetry/alpha-bess?from=2030-01-01T00:00:00Z&to=2029-01-01T00:00:00Z", "from"),
        ("/telemetry/alpha-bess?from=2026-01-01T00:00:00Z&resolution=5m", "resolution"),
        ("/telemetry/alpha-bess?from=2026-01-01T00:00:00Z&metric=x;drop", "metric"),
        ("/telemetry/alpha-bess?from=2026-01-01T00:00:00Z&resolution=1h&metric=fan_rpm", "resolution"),
    ]:
        answer = await api.ask("GET", path, **ALPHA)
        assert (answer.status_code, answer.json()["field"]) == (422, field), path
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_alerts_are_the_open_ones_unless_others_are_named(
    api: Service, dispatch_ids: dict[str, str]
) -> None:  # X11
    async def summaries(question: str) -> list[str]:
        return sorted(each["summary"] for each in await api.get(f"/alerts{question}", **ALPHA))

    assert await summaries("") == ["alpha OPEN"]
    assert await summaries("?status=CLOSED") == ["alpha CLOSED"]
    assert len(await summaries("?status=ALL")) == 3


async def test_history_of_dispatches_shows_the_split_of_record_with_what_was_measured(
    api: Service, dispatch_ids: dict[str, str]
) -> None:  # U-D11
    (dispatch,) = await api.get("/dispatch/history", **ALPHA)

    assert (dispatch["state"], dispatch["split_by"], dispatch["mw"]) == ("verified", "agent", 5)
    assert dispatch["allocations"][0]["measured"] == 4.9
    assert await api.get(f"/dispatch/{dispatch_ids['alpha']}", **ALPHA) == dispatch


async def test_logs_are_json_lines_that_carry_the_request_and_no_secret(
    api: Service, settings: dict[str, str]
) -> None:  # T-050, T-051
    await api.ask("GET", "/assets", X_Request_Id="request-42", **ALPHA)
    await api.ask("GET", "/assets", X_Request_Id="bad id!")
    text = await asyncio.to_thread(api.log_file.read_text)

    lines = [json.loads(line) for line in text.splitlines()]
    (line,) = [each for each in lines if each.get("request_id") == "request-42"]
    assert (line["method"], line["path"], line["status"], line["tenant"]) == ("GET", "/assets", 200, "alpha")
    assert any("Database connection resolved via DATABASE_URL" in each["event"] for each in lines)
    assert "bad id!" not in text
    for secret in (settings["API_TOKEN_KEY"], "iot_dev", ALPHA["Authorization"]):
        assert secret not in text


async def test_a_missing_migration_is_named_and_is_not_a_bare_500(
    api: Service, db: Any, dispatch_ids: dict[str, str]
) -> None:  # P-022, X15
    await db.execute("delete from schema_migrations where name = '013_telemetry_views.sql'")
    await db.execute("drop view v_telemetry cascade")

    status, text = await api.readiness()
    answer = await api.ask("GET", "/telemetry/alpha-bess", **ALPHA)

    assert status == 503
    assert "013_telemetry_views.sql" in text
    assert answer.status_code == 503
    assert answer.json()["request_id"]


async def test_the_command_makes_a_token_that_the_door_takes_and_none_in_production(
    tmp_path: Path, role_url: Callable[[str], str], dispatch_ids: dict[str, str]
) -> None:
    def token(environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.api", "token", "--tenant", "alpha", "--role", "customer",
             "--user", "me"],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
                "OVERWATT_HOME": str(tmp_path),
                "ENVIRONMENT": environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    async with a_service("api", tmp_path, {"DATABASE_URL": role_url("api")}) as api:
        made = await asyncio.to_thread(token, "development")
        assert len(await api.get("/assets", Authorization=f"Bearer {made.stdout.strip()}")) == 1
        assert await api.get("/assets") == []
        assert (await api.ask("GET", "/assets", X_Forwarded_For="127.0.0.1")).status_code == 401

    refused = await asyncio.to_thread(token, "production")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "ENVIRONMENT is production" in refused.stderr


async def test_wrong_credentials_end_the_process_and_the_password_is_not_told(
    tmp_path: Path, database_url: str
) -> None:  # T-056, T-057
    url = database_url.replace("iot_dev", "wrong-password")
    async with a_service("api", tmp_path, {"DATABASE_URL": url}, until_ready=False) as api:
        assert await asyncio.wait_for(api.process.wait(), 30) == 1
        text = api.log_file.read_text()

    assert "DATABASE_URL" in text
    assert "wrong-password" not in text


async def test_credentials_that_stop_working_make_the_door_unready(
    tmp_path: Path, settings: dict[str, str], db: Any
) -> None:  # T-057
    async with a_service("api", tmp_path, settings) as api:
        name = await db.fetchval("select current_database()")
        await db.execute(f"revoke connect on database {name} from public")
        await db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'api' and datname = $1",
            name,
        )

        assert (await api.ask("GET", "/health")).text == "Healthy"
        status, text = await api.readiness()

    assert (status, text.splitlines()[0]) == (503, "Unhealthy")


def test_everything_is_documented_with_tag_and_sentence() -> None:
    document = make_app(cast(Any, None), []).openapi()

    known = {tag["name"] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route["description"], (method, path)
            assert set(route["tags"]) <= known, (method, path)
            assert route["tags"], (method, path)
