"""Boxes and their assets: pre-created, changed, moved, put out of use, kept apart from the assets file."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.integration.controller_rig import until
from tests.integration.door_rig import a_service, registry_of
from tests.integration.registry_rig import TENANT, UNFIT, Door, a_door, audit_rows, db, door

__all__ = ["db", "door"]
BATTERY = {"id": "bess-1", "type": "battery", "capacity_mwhr": 0.01, "max_mw": 0.005, "host": "10.0.0.9"}
METER = {"id": "meter-1", "type": "meter"}
FILE = """
sites:
  - id: site-a
    name: Site A
    assets:
      - {id: site-a-1, capacity_mwhr: 120, max_mw: 60}
"""


async def test_a_box_is_there_before_it_is_there(door: Door, db: Any) -> None:  # H-010
    made = await door.box(site_name="a@b.c")

    assert (made["serial"], made["site_id"], made["site_name"]) == (None, "hems-900100", "a@b.c")
    assert (made["source"], made["mode"], made["state"], made["opt_ins"]) == (
        "admin",
        "observe",
        "active",
        [],
    )
    assert (made["enrolled_at"], made["certificate_ends_at"], made["assets"]) == (None, None, [])
    agent = await db.fetchrow("select * from device where device_id = 'hems-900100'")
    assert (agent["type"], agent["box_id"], agent["site_id"]) == ("agent", "hems-900100", "hems-900100")
    (row,) = await audit_rows(db, "box.create")
    assert (row["target_id"], row["tenant_id"]) == ("hems-900100", TENANT)
    assert "a@b.c" not in str(row)
    assert await door.does("GET", f"/boxes/{TENANT}/hems-900100") == made


async def test_a_name_is_given_once_over_all_tenants(door: Door, db: Any) -> None:
    await door.does("POST", "/tenants", {"tenant_id": "other"})
    await door.box("one")

    for tenant in (TENANT, "other"):
        again = await door.ask("POST", "/boxes", {"tenant_id": tenant, "box_id": "one"})
        assert again.status_code == 409
    nowhere = await door.ask("POST", "/boxes", {"tenant_id": "nowhere", "box_id": "two"})
    assert (nowhere.status_code, nowhere.json()["field"]) == (422, "tenant_id")
    assert await db.fetchval("select count(*) from site") == 1


async def test_assets_come_change_and_go_as_in_an_assets_file(door: Door, db: Any) -> None:
    await door.box()
    path = f"/boxes/{TENANT}/hems-900100/assets"

    made = await door.does("PUT", path, {"assets": [BATTERY, METER]})
    first = await db.fetch("select device_id, changed_at from device order by device_key")
    again = await door.does("PUT", path, {"assets": [BATTERY, METER]})

    assert [asset["id"] for asset in made["assets"]] == ["bess-1", "meter-1"]
    assert {**BATTERY, "min_mw": -0.005, "driver": "simulated"}.items() <= made["assets"][0].items()
    assert again == made
    assert await db.fetch("select device_id, changed_at from device order by device_key") == first
    less = await door.does("PUT", path, {"assets": [{**BATTERY, "max_mw": 0.004}]})
    assert [(asset["id"], asset["max_mw"]) for asset in less["assets"]] == [("bess-1", 0.004)]
    agent = await db.fetchval("select assets from device where device_id = 'hems-900100'")
    assert agent == ["bess-1"]
    assert await db.fetchval("select state from device where device_id = 'meter-1'") == "decommissioned"
    back = await door.does("PUT", path, {"assets": [BATTERY, METER]})
    assert back["assets"] == made["assets"]
    assert [set(row["detail"]) for row in await audit_rows(db, "box.assets")] == [
        {"added", "changed"},
        {"changed", "decommissioned"},
        {"changed"},
    ]


WRONG_ASSETS: Final[tuple[tuple[Any, str], ...]] = (
    ([METER, {"id": "x", "type": "toaster"}], "assets[1].type is 'toaster'"),
    ([METER, METER], "stands twice"),
    ([{"id": "a/b"}], "assets[0].id is 'a/b'"),
    ([{"id": "x", "max_mw": float("nan")}], "finite"),
    ([{"id": "x", "max_mw": 10**400}], "finite"),
    ([{"id": "x", "note": "a\u0000b"}], "printable"),
    ([{"id": "x", "note\ud800": 1}], "printable"),
    ([{"id": "hems-900100"}], "stands twice"),
    ([7], "assets.0"),
    ("x", "assets"),
)


async def test_assets_that_cannot_be_are_422_with_their_place(door: Door) -> None:
    await door.box()
    for assets, says in WRONG_ASSETS:
        answer = await door.service.http.request(
            "PUT",
            f"/api/admin/boxes/{TENANT}/hems-900100/assets",
            content=json.dumps({"assets": assets}),
            headers={"X-Admin-Key": "change-me-now", "Content-Type": "application/json"},
        )

        assert answer.status_code == 422, answer.text
        assert says in answer.json()["detail"], assets


async def test_a_box_takes_no_name_that_is_anothers(door: Door) -> None:
    await door.box("one")
    await door.box("two")
    await door.does("PUT", f"/boxes/{TENANT}/one/assets", {"assets": [BATTERY]})
    await door.does("POST", "/devices", {"tenant_id": TENANT, "device_id": "sensor-1"})

    for taken in ("bess-1", "one", "sensor-1"):
        answer = await door.ask("PUT", f"/boxes/{TENANT}/two/assets", {"assets": [{**METER, "id": taken}]})
        assert answer.status_code == 409, taken
        assert taken in answer.json()["detail"]
    assert (await door.does("GET", f"/boxes/{TENANT}/one"))["assets"][0]["id"] == "bess-1"


async def test_what_is_said_about_a_box_changes_and_the_audit_log_names_no_person(
    door: Door, db: Any
) -> None:  # H-044
    await door.box()
    change = {
        "name": "a@b.c's cellar",
        "serial": "SN-1",
        "support_tunnel": "10.9.0.7:2222",
        "user_id": str(uuid4()),
    }

    after = await door.does("PATCH", f"/boxes/{TENANT}/hems-900100", change)
    await door.does("PATCH", f"/boxes/{TENANT}/hems-900100", change)

    assert change.items() <= after.items()
    assert (await door.does("GET", f"/boxes/{TENANT}/hems-900100"))["support_tunnel"] == "10.9.0.7:2222"
    (row,) = await audit_rows(db, "box.change")
    assert row["detail"]["changed"] == ["name", "serial", "support_tunnel", "user_id"]
    assert row["detail"]["after"] == {"support_tunnel": "10.9.0.7:2222"}
    cleared = await door.does(
        "PATCH", f"/boxes/{TENANT}/hems-900100", {"serial": None, "support_tunnel": None}
    )
    assert (cleared["serial"], cleared["support_tunnel"], cleared["name"]) == (None, None, change["name"])
    for wrong, field in (
        ({"name": None}, "name"),
        ({"mode": "active"}, "mode"),
        ({"site_id": "x"}, "site_id"),
    ):
        answer = await door.ask("PATCH", f"/boxes/{TENANT}/hems-900100", wrong)
        assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_box_moves_with_its_agent_and_assets(door: Door, db: Any) -> None:
    await door.box()
    await door.does("PUT", f"/boxes/{TENANT}/hems-900100/assets", {"assets": [BATTERY]})
    await door.does("POST", "/sites", {"tenant_id": TENANT, "site_id": "depot", "name": "Depot"})

    moved = await door.does("PATCH", f"/boxes/{TENANT}/hems-900100", {"site_id": "depot"})

    assert (moved["site_id"], moved["site_name"]) == ("depot", "Depot")
    assert {row["site_id"] for row in await db.fetch("select site_id from device")} == {"depot"}
    await door.does("PUT", f"/boxes/{TENANT}/hems-900100/assets", {"assets": [BATTERY, METER]})
    assert {row["site_id"] for row in await db.fetch("select site_id from device")} == {"depot"}


async def test_boxes_are_listed_by_mode_state_and_person(door: Door) -> None:  # H-070
    person = str(uuid4())
    for box_id in ("one", "two", "three"):
        await door.box(box_id)
    await door.does("POST", f"/boxes/{TENANT}/two/mode", {"mode": "active"})
    await door.does("POST", f"/boxes/{TENANT}/three/disable")
    await door.does("PATCH", f"/boxes/{TENANT}/one", {"user_id": person})

    async def listed(query: str) -> list[str]:
        return [box["box_id"] for box in await door.does("GET", f"/boxes?{query}")]

    assert await listed("mode=observe") == ["one", "three"]
    assert await listed("mode=active") == ["two"]
    assert await listed(f"state=disabled&tenant_id={TENANT}") == ["three"]
    assert await listed(f"user_id={person}") == ["one"]
    assert await listed("tenant_id=nobody") == []
    assert await listed("limit=2") == ["one", "three"]
    assert await listed("limit=2&after=three") == ["two"]


async def test_a_disabled_box_is_refused_until_it_is_enabled(
    door: Door, db: Any, role_url: Callable[[str], str]
) -> None:
    await door.box()
    box = f"/boxes/{TENANT}/hems-900100"

    for action, state, holds in (
        ("disable", "disabled", 0),
        ("disable", "disabled", 0),
        ("enable", "active", 1),
    ):
        assert (await door.does("POST", f"{box}/{action}"))["state"] == state
        assert await db.fetchval("select state from device where device_id = 'hems-900100'") == state
        assert await db.fetchval(f"select count(*) from hold_mode('{TENANT}', 'hems-900100')") == holds

    assert await db.fetchval("select count(*) from session_cut") == 1
    assert len(await audit_rows(db, "box.disable")) == len(await audit_rows(db, "box.enable")) == 1


async def test_a_decommissioned_box_takes_its_assets_and_certificates_along_for_good(
    door: Door, db: Any
) -> None:
    await door.box()
    box = f"/boxes/{TENANT}/hems-900100"
    await door.does("PUT", f"{box}/assets", {"assets": [BATTERY]})
    await db.execute(
        "insert into certificate (serial, tenant_id, device_id, spki_sha256, pem, via, not_before, not_after)"
        " values ('abc', $1, 'hems-900100', sha256('x'), '', 'enrol', now(), now() + '90 days')",
        TENANT,
    )
    assert (await door.does("GET", box))["certificate_ends_at"] is not None

    gone = await door.does("POST", f"{box}/decommission")

    assert (gone["state"], gone["assets"], gone["certificate_ends_at"]) == ("decommissioned", [], None)
    rows = await db.fetch("select state, decommissioned_at from device")
    assert {row["state"] for row in rows} == {"decommissioned"}
    assert all(row["decommissioned_at"] for row in rows)
    assert await db.fetchval("select revoke_reason from certificate") == "cessation_of_operation"
    assert await db.fetchval("select device_id from session_cut") == "hems-900100"
    for method, path, body in (
        ("POST", "enable", None), ("POST", "disable", None), ("PUT", "assets", {"assets": []}),
    ):  # fmt: skip
        assert (await door.ask(method, f"{box}/{path}", body)).status_code == 409
    assert (await door.does("POST", f"{box}/decommission"))["state"] == "decommissioned"


async def test_flips_are_audited_with_before_and_after_and_what_was_paid(door: Door, db: Any) -> None:
    # H-030, H-034, H-036
    await door.box()
    mode = f"/boxes/{TENANT}/hems-900100/mode"

    await door.does("POST", mode, {"mode": "active", "payment_ref": "inv-77"})
    await door.does("POST", mode, {"mode": "observe"})

    to_active, to_observe = await audit_rows(db, "box.mode_flip")
    assert (to_active["detail"]["before"]["mode"], to_active["detail"]["after"]["mode"]) == (
        "observe",
        "active",
    )
    assert to_active["detail"]["payment_ref"] == "inv-77"
    assert (to_observe["detail"]["before"]["mode"], to_observe["detail"]["after"]["mode"]) == (
        "active",
        "observe",
    )


async def test_switches_of_single_capabilities_do_not_undo_each_other(door: Door, db: Any) -> None:  # H-031
    await door.box()
    box = f"/boxes/{TENANT}/hems-900100"
    names = ("battery", "pv", "ev_charger", "heat_pump", "load")
    closed = await door.ask("PUT", f"{box}/capabilities/battery", {"enabled": True})
    assert closed.status_code == 409
    await door.does("POST", f"{box}/mode", {"mode": "active"})

    await asyncio.gather(
        *(door.does("PUT", f"{box}/capabilities/{name}", {"enabled": True}) for name in names)
    )
    assert (await door.does("GET", box))["opt_ins"] == sorted(names)
    await asyncio.gather(
        *(door.does("PUT", f"{box}/capabilities/{name}", {"enabled": False}) for name in names[1:])
    )

    assert (await door.does("GET", box))["opt_ins"] == ["battery"]
    assert len(await audit_rows(db, "box.capabilities")) == 9
    assert (await door.ask("PUT", f"{box}/capabilities/toaster", {"enabled": True})).status_code == 422


async def test_a_file_that_names_a_box_of_a_persons_is_refused_and_changes_nothing(
    tmp_path: Path, door: Door, db: Any, role_url: Callable[[str], str]
) -> None:
    await door.box("site-a")
    await door.box("other")
    await door.does("PUT", f"/boxes/{TENANT}/other/assets", {"assets": [{"id": "site-b-1"}]})
    before = await db.fetch("select * from device order by device_key")
    path = tmp_path / "assets.yaml"
    for text in (FILE, FILE.replace("site-a", "site-b")):
        path.write_text(text)
        environment = {
            "DATABASE_URL": role_url("provisioning"),
            "ASSETS_PATH": str(path),
            "TENANT_ID": TENANT,
        }
        async with a_service("provisioning", tmp_path, environment, until_ready=False) as service:
            assert await asyncio.wait_for(service.process.wait(), 30) == 1
            assert "was registered by hand" in service.log_file.read_text()

    assert await db.fetch("select * from device order by device_key") == before


async def test_a_box_of_the_file_follows_the_file_and_a_persons_word_outlives_imports(
    tmp_path: Path, db: Any, role_url: Callable[[str], str]
) -> None:  # H-011
    path = tmp_path / "assets.yaml"
    path.write_text(FILE)
    environment = {"DATABASE_URL": role_url("provisioning"), "ASSETS_PATH": str(path), "TENANT_ID": TENANT}
    async with a_door(tmp_path, environment) as door:
        for method, name, body in (
            ("PUT", f"boxes/{TENANT}/site-a/assets", {"assets": []}),
            ("PATCH", f"devices/{TENANT}/site-a-1", {"name": "Mine"}),
        ):
            refused = await door.ask(method, f"/{name}", body)
            assert (refused.status_code, "assets file" in refused.text) == (409, True)
        await door.does("PATCH", f"/sites/{TENANT}/site-a", {"name": "My home"})
        await door.does("POST", f"/devices/{TENANT}/site-a-1/decommission")
    state = "select device_id, state, changed_at from device order by device_key"
    before = await db.fetch(state)

    async with a_door(tmp_path, environment) as door:
        assert await db.fetchval("select name from site") == "My home"
        assert await db.fetch(state) == before
        assert len(await audit_rows(db, "inventory.import")) == 1
        await door.does("POST", f"/boxes/{TENANT}/site-a/decommission")
    async with a_door(tmp_path, environment):
        assert await db.fetchval("select state from box") == "decommissioned"
        assert {row["state"] for row in await db.fetch(state)} == {"decommissioned"}


async def test_what_left_the_file_comes_back_with_it(
    tmp_path: Path, db: Any, role_url: Callable[[str], str]
) -> None:
    path = tmp_path / "assets.yaml"
    environment = {"DATABASE_URL": role_url("provisioning"), "ASSETS_PATH": str(path), "TENANT_ID": TENANT}
    for text, state in ((FILE, "active"), ("sites: []", "decommissioned"), (FILE, "active")):
        path.write_text(text)
        async with a_door(tmp_path, environment):
            assert await db.fetchval("select state from box") == state
            assert {row["state"] for row in await db.fetch("select state from device")} == {state}
            at = await db.fetch("select decommissioned_at from device")
            assert {row["decommissioned_at"] is None for row in at} == {state == "active"}


async def test_a_change_is_told_to_the_registry_topic(
    tmp_path: Path, kafka: str, database_url: str, role_url: Callable[[str], str]
) -> None:
    """X18: and a disabled tenant's devices are told as disabled."""
    tenant = f"told-{database_url.rpartition('_')[2]}"
    environment = {"DATABASE_URL": role_url("provisioning"), "KAFKA_BOOTSTRAP": kafka}
    async with a_door(tmp_path, environment) as door:
        await door.does("POST", "/tenants", {"tenant_id": tenant})
        await door.does("POST", "/boxes", {"tenant_id": tenant, "box_id": tenant})

        async def told(what: str, is_so: Callable[[dict[str, Any]], bool]) -> None:
            async def is_told() -> bool:
                return is_so(await registry_of(kafka, tenant))

            await until(what, is_told)

        await told("the agent", lambda found: set(found) == {tenant} and found[tenant].state == "active")
        await door.does("PUT", f"/boxes/{tenant}/{tenant}/assets", {"assets": [{"id": f"{tenant}-b"}]})
        await told("its assets", lambda found: list(found[tenant].assets) == [f"{tenant}-b"])
        await door.does("PATCH", f"/sites/{tenant}/{tenant}", {"name": "New"})
        await told("the site's name", lambda found: {each.site_name for each in found.values()} == {"New"})
        await door.does("POST", f"/tenants/{tenant}/disable")
        await told("disabled", lambda found: {each.state for each in found.values()} == {"disabled"})
        await door.does("POST", f"/tenants/{tenant}/enable")
        await told("enabled", lambda found: {each.state for each in found.values()} == {"active"})


async def test_no_route_takes_a_name_that_could_be_anything_else(door: Door) -> None:
    document = await door.service.get("/openapi.json")
    paths = [path for path in document["paths"] if "{" in path and path.startswith("/api/admin")]
    assert len(paths) > 20
    for name in UNFIT:
        for path in paths:
            filled = re.sub(r"{.*?}", name, path)
            for method in document["paths"][path]:
                answer = await door.service.http.request(
                    method.upper(), filled, json={}, headers={"X-Admin-Key": "change-me-now"}
                )
                assert answer.status_code in (404, 405, 422), (method, filled, answer.text)
