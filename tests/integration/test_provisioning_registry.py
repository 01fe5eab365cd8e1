"""Provisioning as a real process on real PostgreSQL and Kafka."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from scripts.local import services
from scripts.local.ports import Ports
from scripts.local.stack import Stack
from tests.integration.controller_rig import until
from tests.integration.door_rig import Service, a_service, registry_of

KEY = {"X_Admin_Key": "change-me-now"}
TWO = """
sites:
  - id: {site}
    name: Site A
    assets:
      - {{id: {site}-1, name: One, capacity_mwhr: 120, max_mw: 60, soc_min_pct: 10}}
      - {{id: {site}-2, name: Two, capacity_mwhr: 40, max_mw: 20}}
"""
ONE = TWO.rsplit("      - ", 1)[0]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def place(role_url: Callable[[str], str], kafka: str, database_url: str) -> dict[str, str]:
    """Environment, with a tenant and site that no other test's registry records bear."""
    number = database_url.rpartition("_")[2]
    return {
        "DATABASE_URL": role_url("provisioning"),
        "KAFKA_BOOTSTRAP": kafka,
        "TENANT_ID": f"prov-{number}",
    }


def a_file(tmp_path: Path, text: str, site: str = "site-a") -> str:
    path = tmp_path / "assets.yaml"
    path.write_text(text.format(site=site))
    return str(path)


async def audit_rows(db: Any, action: str) -> list[dict[str, Any]]:
    rows = await db.fetch("select * from admin_audit where action = $1 order by at", action)
    return [{**dict(row), "detail": json.loads(row["detail"])} for row in rows]


async def test_the_assets_file_becomes_the_registry_in_tables_and_topic(
    tmp_path: Path, place: dict[str, str], db: Any, kafka: str
) -> None:  # D-003, D-017, D-020
    path = a_file(tmp_path, TWO)

    async with a_service("provisioning", tmp_path, {**place, "ASSETS_PATH": path}):
        told = await registry_of(kafka, place["TENANT_ID"])

    box = await db.fetchrow("select * from box")
    assert (box["box_id"], box["mode"], box["opt_ins"]) == ("site-a", "active", ["battery"])
    assert set(told) == {"site-a", "site-a-1", "site-a-2"}
    agent, battery = told["site-a"], told["site-a-1"]
    assert (agent.type, list(agent.assets), agent.state) == ("agent", ["site-a-1", "site-a-2"], "active")
    assert (battery.site, battery.site_name, battery.box) == ("site-a", "Site A", "site-a")
    assert (battery.mode, battery.mode_epoch, list(battery.opt_ins)) == ("active", 1, ["battery"])
    assert (battery.capacity_mwh, battery.max_mw, battery.min_mw) == (120, 60, -60)
    assert battery.device_key == await db.fetchval(
        "select device_key from device where device_id = 'site-a-1'"
    )
    details = await db.fetchval("select details from asset where asset_id = 'site-a-1'")
    assert json.loads(details)["soc_min_pct"] == 10


async def test_an_import_repeated_changes_nothing_and_what_left_the_file_is_decommissioned(
    tmp_path: Path, place: dict[str, str], db: Any, kafka: str
) -> None:
    async with a_service("provisioning", tmp_path, {**place, "ASSETS_PATH": a_file(tmp_path, TWO)}):
        pass
    before = await db.fetch("select * from device order by device_key")
    # A person's decision outlives imports.
    await db.execute("update box set mode = 'observe', opt_ins = '{}'")
    async with a_service("provisioning", tmp_path, {**place, "ASSETS_PATH": a_file(tmp_path, TWO)}):
        assert await db.fetch("select * from device order by device_key") == before
    async with a_service("provisioning", tmp_path, {**place, "ASSETS_PATH": a_file(tmp_path, ONE)}):
        told = await registry_of(kafka, place["TENANT_ID"])

    assert told["site-a-2"].state == "decommissioned"
    assert list(told["site-a"].assets) == ["site-a-1"]
    assert await db.fetchval("select count(*) from asset") == 2
    assert dict(await db.fetchrow("select mode, opt_ins from box")) == {"mode": "observe", "opt_ins": []}
    first, second = await audit_rows(db, "inventory.import")
    assert first["detail"]["added"] == ["site-a", "site-a-1", "site-a-2"]
    assert second["detail"] == {
        "file": "assets.yaml",
        "changed": ["site-a"],
        "decommissioned": ["site-a-2"],
    }
    assert (second["actor"], second["tenant_id"]) == ("provisioning", place["TENANT_ID"])


async def test_an_empty_path_leaves_what_is_there_alone(
    tmp_path: Path, place: dict[str, str], db: Any
) -> None:
    async with a_service("provisioning", tmp_path, {**place, "ASSETS_PATH": a_file(tmp_path, TWO)}):
        pass
    async with a_service("provisioning", tmp_path, {**place, "ASSETS_PATH": ""}) as service:
        assert len((await service.ask("GET", "/api/admin/devices", **KEY)).json()) == 3

    assert await db.fetchval("select count(*) from device where state <> 'active'") == 0


async def test_a_site_whose_box_id_another_tenant_has_ends_the_process_with_a_sentence(
    tmp_path: Path, place: dict[str, str]
) -> None:
    path = a_file(tmp_path, TWO)
    async with a_service("provisioning", tmp_path, {**place, "ASSETS_PATH": path}):
        pass

    other = {**place, "TENANT_ID": "another"}
    async with a_service(
        "provisioning", tmp_path, {**other, "ASSETS_PATH": path}, until_ready=False
    ) as service:
        assert await asyncio.wait_for(service.process.wait(), 30) == 1
        assert "another tenant has a box of that id" in service.log_file.read_text()


@pytest.fixture
async def door(tmp_path: Path, place: dict[str, str]) -> AsyncIterator[Service]:
    async with a_service(
        "provisioning", tmp_path, {**place, "ASSETS_PATH": a_file(tmp_path, TWO)}
    ) as service:
        yield service


async def test_without_the_key_every_admin_route_is_401(door: Service) -> None:  # P-031, P-032
    for method, path in [
        ("GET", "tenants"), ("POST", "tenants"), ("GET", "devices"), ("POST", "devices"),
        ("POST", "boxes/a/b/mode"), ("PUT", "boxes/a/b/capabilities"),
    ]:  # fmt: skip
        for headers in ({}, {"X_Admin_Key": ""}, {"X_Admin_Key": "wrong"}):
            answer = await door.ask(method, f"/api/admin/{path}", **headers)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.json()["field"] == "X-Admin-Key"
    assert (await door.ask("GET", "/api/admin/devices", **KEY)).status_code == 200


async def test_an_empty_configured_key_lets_nobody_in(tmp_path: Path, place: dict[str, str]) -> None:  # P-032
    async with a_service("provisioning", tmp_path, {**place, "PROVISION_ADMIN_KEY": ""}) as service:
        assert (await service.ask("GET", "/api/admin/devices", X_Admin_Key="")).status_code == 401


async def test_a_device_is_made_once_and_told_at_once(
    door: Service, place: dict[str, str], db: Any, kafka: str
) -> None:  # P-031
    tenant = place["TENANT_ID"]
    new = {"tenant_id": tenant, "device_id": "sensor-001"}

    made = await door.ask("POST", "/api/admin/devices", new, X_Request_Id="request-7", **KEY)

    assert made.status_code == 201
    assert made.json()["type"] == "sensor"
    assert (await door.ask("POST", "/api/admin/devices", new, **KEY)).status_code == 409

    async def is_told() -> bool:
        return "sensor-001" in await registry_of(kafka, tenant)

    await until("the registry topic has the sensor", is_told)
    (row,) = await audit_rows(db, "device.create")
    assert (row["target_id"], row["tenant_id"], row["request_id"]) == ("sensor-001", tenant, "request-7")


async def test_a_tenant_is_made_once(door: Service) -> None:
    for status in (201, 409):
        answer = await door.ask("POST", "/api/admin/tenants", {"tenant_id": "tenant-a"}, **KEY)
        assert answer.status_code == status

    listed = (await door.ask("GET", "/api/admin/tenants", **KEY)).json()
    assert "tenant-a" in [each["tenant_id"] for each in listed]


WRONG: Final[tuple[tuple[str, Any, str], ...]] = (
    ("tenants", {"tenant_id": "Tenant/#"}, "tenant_id"),
    ("tenants", {"tenant_id": "t", "name": "a\x00"}, "name"),
    ("tenants", {"tenant_id": "t", "nmae": "a"}, "nmae"),
    ("devices", {"tenant_id": "nobody", "device_id": "d"}, "tenant_id"),
    ("devices", {"tenant_id": "mine", "device_id": "d/+"}, "device_id"),
    ("devices", {"tenant_id": "mine", "device_id": "d" * 37}, "device_id"),
    ("devices", {"tenant_id": "mine", "device_id": "d", "type": "toaster"}, "type"),
    ("devices", {"tenant_id": "mine", "device_id": "d", "site_id": "nowhere"}, "site_id"),
    ("devices", {"tenant_id": "mine"}, "device_id"),
    ("devices", [1], "body"),
)


async def test_what_cannot_be_is_422_and_names_the_field(door: Service) -> None:
    await door.ask("POST", "/api/admin/tenants", {"tenant_id": "mine"}, **KEY)
    for path, body, field in WRONG:
        answer = await door.ask("POST", f"/api/admin/{path}", body, **KEY)

        assert (answer.status_code, answer.json()["field"]) == (422, field), body


async def test_a_flip_raises_the_epoch_is_audited_and_told(
    door: Service, place: dict[str, str], db: Any, kafka: str
) -> None:
    tenant = place["TENANT_ID"]

    flipped = await door.ask("POST", f"/api/admin/boxes/{tenant}/site-a/mode", {"mode": "observe"}, **KEY)
    again = await door.ask("POST", f"/api/admin/boxes/{tenant}/site-a/mode", {"mode": "observe"}, **KEY)
    opened = await door.ask(
        "PUT", f"/api/admin/boxes/{tenant}/site-a/capabilities", {"opt_ins": ["pv", "battery"]}, **KEY
    )

    assert (flipped.json()["mode"], flipped.json()["mode_epoch"]) == ("observe", 2)
    assert again.json()["mode_epoch"] == 2
    assert (opened.json()["opt_ins"], opened.json()["mode_epoch"]) == (["battery", "pv"], 3)
    (row,) = await audit_rows(db, "box.mode_flip")
    assert row["detail"]["before"] == {"mode": "active", "mode_epoch": 1, "opt_ins": ["battery"]}
    assert row["detail"]["after"] == {"mode": "observe", "mode_epoch": 2, "opt_ins": ["battery"]}

    async def is_told() -> bool:
        told = await registry_of(kafka, tenant)
        return {(each.mode, each.mode_epoch) for each in told.values()} == {("observe", 3)}

    await until("every device of the box is told with its mode", is_told)
    unknown = await door.ask("POST", f"/api/admin/boxes/{tenant}/nobox/mode", {"mode": "observe"}, **KEY)
    assert unknown.status_code == 404


async def test_a_flip_waits_for_the_command_that_is_on_its_way(
    door: Service, place: dict[str, str], db: Any, role_url: Callable[[str], str]
) -> None:
    tenant = place["TENANT_ID"]
    gateway = await asyncpg.connect(role_url("ingest"))
    async with gateway.transaction():
        assert await gateway.fetchval("select mode from hold_mode($1, 'site-a')", tenant) == "active"
        flip = asyncio.create_task(
            door.ask("POST", f"/api/admin/boxes/{tenant}/site-a/mode", {"mode": "observe"}, **KEY)
        )

        async def waits() -> bool:
            return bool(
                await db.fetchval(
                    "select exists (select from pg_stat_activity"
                    " where datname = current_database() and usename = 'provisioning' and "
                    " wait_event_type = 'Lock')"
                )
            )

        await until("the flip waits for the lock", waits)
        assert not flip.done()
    assert (await flip).json()["mode"] == "observe"
    assert await gateway.fetchval("select mode_epoch from hold_mode($1, 'site-a')", tenant) == 2
    await gateway.close()


async def test_what_was_committed_before_a_crash_is_told_after_it(
    tmp_path: Path, place: dict[str, str], db: Any, kafka: str
) -> None:
    tenant = place["TENANT_ID"]
    async with a_service("provisioning", tmp_path, place) as service:
        await service.end(asyncio.subprocess.Process.kill)
    await db.execute("insert into device (tenant_id, device_id) values ($1, 'late')", tenant)

    async with a_service("provisioning", tmp_path, place):
        assert set(await registry_of(kafka, tenant)) == {"late"}

    assert await db.fetchval("select published_at = changed_at from device")


async def test_the_door_opens_without_kafka_and_a_kafka_that_lost_everything_is_told_everything(
    home: Path, tmp_path: Path, place: dict[str, str], db: Any
) -> None:
    tenant = place["TENANT_ID"]
    await db.execute("insert into tenant (tenant_id, name) values ($1, '')", tenant)
    await db.execute(
        "insert into device (tenant_id, device_id, published_at) values ($1, 'told-to-the-lost-one', now())",
        tenant,
    )
    with Stack(home, Ports.free()) as own:
        bootstrap = own.env()["KAFKA_BOOTSTRAP"]
        here = {**place, "KAFKA_BOOTSTRAP": bootstrap}
        async with a_service("provisioning", tmp_path, here, until_ready=False) as service:

            async def is_open() -> bool:
                return (await service.readiness())[0] == 503

            await until("the door is open", is_open)
            assert "registry" in (await service.readiness())[1]
            new = {"tenant_id": tenant, "device_id": "made-meanwhile"}
            assert (await service.ask("POST", "/api/admin/devices", new, **KEY)).status_code == 201
            await asyncio.to_thread(own.start, "kafka")
            await asyncio.to_thread(services.create_topics, bootstrap)

            await until("it is ready", service.is_ready)
            assert set(await registry_of(bootstrap, tenant)) == {"told-to-the-lost-one", "made-meanwhile"}


async def test_production_refuses_the_sample_key(tmp_path: Path, place: dict[str, str]) -> None:  # P-061
    async with a_service(
        "provisioning", tmp_path, {**place, "ENVIRONMENT": "production"}, until_ready=False
    ) as service:
        assert await asyncio.wait_for(service.process.wait(), 30) == 1
        assert "PROVISION_ADMIN_KEY" in service.log_file.read_text()
