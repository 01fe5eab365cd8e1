"""Tenants, sites and devices from the administrators' door: made, renamed, moved, put out of use."""

from typing import Any, Final

from tests.integration.registry_rig import TENANT, Door, audit_rows, db, door

__all__ = ["db", "door"]


async def test_every_route_wants_the_key(door: Door) -> None:  # P-031, P-032
    document = await door.service.get("/openapi.json")
    asked = 0
    for path, methods in document["paths"].items():
        filled = path.replace("{", "").replace("}", "")
        for method in methods:
            for headers in ({}, {"X-Admin-Key": ""}, {"X-Admin-Key": "wrong"}):
                answer = await door.service.http.request(method.upper(), filled, json={}, headers=headers)
                assert answer.status_code == 401, (method, path)
                assert answer.json()["field"] == "X-Admin-Key"
                asked += 1
    assert asked > 100


async def test_a_tenant_has_a_code_of_its_own_in_capitals(door: Door, db: Any) -> None:
    await door.does("POST", "/tenants", {"tenant_id": "other", "code": "OTH0001"})

    renamed = await door.does("PATCH", f"/tenants/{TENANT}", {"name": "Bakery", "code": "BAK0001"})

    assert (renamed["name"], renamed["code"], renamed["state"]) == ("Bakery", "BAK0001", "active")
    assert await door.does("GET", f"/tenants/{TENANT}") == renamed
    taken = await door.ask("PATCH", f"/tenants/{TENANT}", {"code": "OTH0001"})
    assert (taken.status_code, "another tenant's" in taken.text) == (409, True)
    assert (await door.ask("POST", "/tenants", {"tenant_id": "x", "code": "OTH0001"})).status_code == 409
    for code in ("bak0001", "1BAK", "BAK-1", "ВАК0001", "B" * 27):
        answer = await door.ask("PATCH", f"/tenants/{TENANT}", {"code": code})
        assert (answer.status_code, answer.json()["field"]) == (422, "code"), code
    assert (await door.ask("GET", "/tenants/nobody")).status_code == 404
    assert len(await audit_rows(db, "tenant.change")) == 1


async def test_a_tenant_is_disabled_and_enabled_and_each_is_audited_once(door: Door, db: Any) -> None:
    for action, state in (("disable", "disabled"), ("disable", "disabled"), ("enable", "active")):
        assert (await door.does("POST", f"/tenants/{TENANT}/{action}", X_Actor="u-1"))["state"] == state

    (disabled,), (enabled,) = await audit_rows(db, "tenant.disable"), await audit_rows(db, "tenant.enable")
    assert (disabled["detail"], disabled["actor"]) == ({"before": "active", "after": "disabled"}, "u-1")
    assert enabled["detail"] == {"before": "disabled", "after": "active"}


async def test_a_site_lives_until_it_is_empty_and_deleted(door: Door, db: Any) -> None:  # T-035
    new = {"tenant_id": TENANT, "site_id": "depot", "name": "Depot", "external_id": "EAN 541"}

    made = await door.does("POST", "/sites", new)
    assert new.items() <= made.items()
    assert (await door.does("GET", "/sites?external_id=EAN%20541"))[0] == made
    assert (await door.ask("POST", "/sites", new)).status_code == 409
    double = await door.ask("POST", "/sites", {**new, "site_id": "two"})
    assert (double.status_code, "EAN 541" in double.text) == (409, True)
    await door.does("POST", "/devices", {"tenant_id": TENANT, "device_id": "meter-1", "site_id": "depot"})
    changed = await door.does("PATCH", f"/sites/{TENANT}/depot", {"location": "Ghent", "name": "Yard"})
    assert (changed["location"], changed["name"], changed["devices"]) == ("Ghent", "Yard", 1)
    occupied = await door.ask("DELETE", f"/sites/{TENANT}/depot")
    assert (occupied.status_code, "move them" in occupied.text) == (409, True)
    await door.does("PATCH", f"/devices/{TENANT}/meter-1", {"site_id": None})
    await door.does("DELETE", f"/sites/{TENANT}/depot")

    assert (await door.ask("GET", f"/sites/{TENANT}/depot")).status_code == 404
    (row,) = await audit_rows(db, "site.change")
    assert row["detail"] == {"changed": ["location", "name"], "before": {}, "after": {}}
    assert len(await audit_rows(db, "site.delete")) == 1


async def test_a_device_has_an_address_and_a_name_in_other_systems(door: Door, db: Any) -> None:
    # T-035, H-045
    new = {"tenant_id": TENANT, "device_id": "meter-1", "type": "meter", "external_id": "EAN-1"}
    made = await door.does("POST", "/devices", new)
    assert new.items() <= made.items()

    change = {"host": "10.0.0.9", "host_mac": "AA-BB-CC-DD-EE-FF", "name": "Main"}
    changed = await door.does("PATCH", f"/devices/{TENANT}/meter-1", change)

    assert (changed["host"], changed["host_mac"], changed["name"]) == (
        "10.0.0.9",
        "aa:bb:cc:dd:ee:ff",
        "Main",
    )
    assert await door.does("GET", "/devices?external_id=EAN-1") == [changed]
    assert await door.does("GET", f"/devices/{TENANT}/meter-1") == changed
    double = await door.ask("POST", "/devices", {**new, "device_id": "meter-2"})
    assert (double.status_code, "EAN-1" in double.text) == (409, True)
    (row,) = await audit_rows(db, "device.change")
    assert row["detail"]["changed"] == ["host", "host_mac", "name"]
    assert "10.0.0.9" not in str(row["detail"])
    for wrong in (
        {"host": "a b"}, {"host": "a/b"}, {"host": ""}, {"host_mac": "aa:bb"},
        {"host_mac": "ａa:bb:cc:dd:ee:ff"}, {"external_id": ""}, {"external_id": "\x00"},
        {"site_id": "nowhere"}, {"name": None}, {"state": "active"},
    ):  # fmt: skip
        answer = await door.ask("PATCH", f"/devices/{TENANT}/meter-1", wrong)
        assert (answer.status_code, answer.json()["field"]) == (422, next(iter(wrong))), wrong


async def test_an_asset_has_the_address_that_a_person_saved_last(door: Door) -> None:  # H-045
    await door.box()
    path = f"/boxes/{TENANT}/hems-900100/assets"
    await door.does("PUT", path, {"assets": [{"id": "bess-1", "host": "10.0.0.1"}]})
    assert (await door.does("GET", f"/devices/{TENANT}/bess-1"))["host"] == "10.0.0.1"

    await door.does("PATCH", f"/devices/{TENANT}/bess-1", {"host": "10.0.0.2"})
    box = await door.does("GET", f"/boxes/{TENANT}/hems-900100")

    assert (await door.does("GET", f"/devices/{TENANT}/bess-1"))["host"] == "10.0.0.2"
    assert box["assets"][0]["host"] == "10.0.0.2"
    await door.does("PUT", path, {"assets": [{"id": "bess-1", "host": "10.0.0.3"}]})
    assert (await door.does("GET", f"/devices/{TENANT}/bess-1"))["host"] == "10.0.0.3"
    moved = await door.ask("PATCH", f"/devices/{TENANT}/bess-1", {"site_id": None})
    assert (moved.status_code, "move the box" in moved.text) == (409, True)


STEPS: Final = (
    ("disable", 200, "disabled"),
    ("disable", 200, "disabled"),
    ("enable", 200, "active"),
    ("decommission", 200, "decommissioned"),
    ("decommission", 200, "decommissioned"),
    ("enable", 409, "decommissioned"),
    ("disable", 409, "decommissioned"),
)


async def test_a_device_is_disabled_enabled_and_decommissioned_for_good(door: Door, db: Any) -> None:
    # P-023
    await door.does("POST", "/devices", {"tenant_id": TENANT, "device_id": "meter-1"})
    await db.execute(
        "insert into device_token (token_hash, prefix, tenant_id, device_id, mosquitto_hash)"
        " values (sha256('t'), 'abc', $1, 'meter-1', '')",
        TENANT,
    )

    for action, status, state in STEPS:
        answer = await door.ask("POST", f"/devices/{TENANT}/meter-1/{action}")
        assert answer.status_code == status, action
        device = await door.does("GET", f"/devices/{TENANT}/meter-1")
        assert (device["state"], device["decommissioned_at"] is None) == (state, state != "decommissioned")

    assert await db.fetchval("select revoked_at is not null from device_token")
    reasons = [row["reason"] for row in await db.fetch("select reason from session_cut order by id")]
    assert reasons == ["disabled", "cessation_of_operation"]
    assert (
        len(await audit_rows(db, "device.decommission")) == len(await audit_rows(db, "device.disable")) == 1
    )


async def test_an_agent_goes_with_its_box_and_not_alone(door: Door) -> None:
    await door.box()

    for action in ("disable", "enable", "decommission"):
        answer = await door.ask("POST", f"/devices/{TENANT}/hems-900100/{action}")
        assert (answer.status_code, f"{action} the box" in answer.text) == (409, True)


async def test_a_logger_is_told_which_devices_it_speaks_for(door: Door, db: Any) -> None:  # U-P06
    for device_id in ("logger", "meter-1", "meter-2"):
        await door.does("POST", "/devices", {"tenant_id": TENANT, "device_id": device_id})
    await db.execute("insert into site (tenant_id, site_id, name) values ($1, 's', 's')", TENANT)
    await db.execute("insert into box (tenant_id, box_id, site_id) values ($1, 'box-1', 's')", TENANT)
    await db.execute(
        "insert into device (tenant_id, device_id, box_id) values ($1, 'battery', 'box-1')", TENANT
    )
    path = f"/devices/{TENANT}/logger"

    told = await door.does("PATCH", path, {"assets": ["meter-1", "meter-2"]})

    assert told["assets"] == ["meter-1", "meter-2"]
    assert (await door.does("PATCH", path, {"name": "Logger"}))["assets"] == ["meter-1", "meter-2"]
    for stranger in ("nobody", "battery", "logger"):
        answer = await door.ask("PATCH", path, {"assets": ["meter-1", stranger]})
        assert (answer.status_code, answer.json()["field"]) == (422, "assets"), stranger
        assert answer.json()["detail"].startswith(f"{stranger}: not another device")
    in_a_box = await door.ask("PATCH", f"/devices/{TENANT}/battery", {"assets": ["meter-1"]})
    assert (in_a_box.status_code, "its box" in in_a_box.text) == (409, True)
    assert (await door.does("PATCH", path, {"assets": []}))["assets"] == []
