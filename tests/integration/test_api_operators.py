"""The operators' routes, from the api through provisioning to the database: who may do what, and for whom."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from services.api.tokens import Identity, make_token
from tests.integration.api_world import KEY, db
from tests.integration.door_rig import NOBODY_LISTENS, Service, a_service
from tests.integration.enrol_rig import Place, a_place
from tests.integration.fuzzer import fuzz, with_names
from tests.integration.registry_rig import UNFIT, audit_rows

__all__ = ["db"]
BOX: Final = {"box_id": "hems-900100", "site_name": "a@b.c"}
ASSETS: Final = {
    "assets": [
        {"id": "bess-1", "type": "battery", "capacity_mwhr": 0.01, "max_mw": 0.005, "host": "10.0.0.5"},
        {"id": "pv-1", "type": "pv", "max_mw": 0.004},
    ]
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a token."""

    api: Service
    tenant: str
    role: str
    user: str

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer, whatever it is."""
        who = Identity(self.tenant, self.user, self.role)
        token = make_token(KEY, who, now=datetime.now(UTC), ttl_s=600)
        return await self.api.ask(method, path, body, Authorization=f"Bearer {token}", **headers)

    async def does(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of a success."""
        answer = await self.ask(method, path, body, **headers)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None


@dataclass(frozen=True, slots=True)
class World:
    """Both doors, with the tenants alpha and beta."""

    api: Service
    place: Place

    def a(self, role: str, tenant: str = "alpha", user: str | None = None) -> Person:
        """Somebody of this role."""
        return Person(self.api, tenant, role, user or str(uuid4()))


@pytest.fixture
async def world(tmp_path: Path, role_url: Callable[[str], str], db: Any) -> AsyncIterator[World]:
    for tenant in ("alpha", "beta"):
        await db.execute("insert into tenant (tenant_id, name) values ($1, $1)", tenant)
    async with a_place(tmp_path, role_url("provisioning")) as place:
        settings = {
            "DATABASE_URL": role_url("api"),
            "API_TOKEN_KEY": KEY,
            "PROVISIONING_URL": str(place.service.http.base_url),
        }
        async with a_service("api", tmp_path, settings) as api:
            yield World(api, place)


async def test_from_the_waitlist_to_a_token_for_a_box(world: World, db: Any) -> None:
    # H-005, H-006, H-008, H-009, H-010, H-012, H-014, H-015, H-016
    operator = world.a("operator")
    for email, hardware in (("a@b.c", "SolarEdge"), ("z@b.c", "")):
        await operator.does("POST", "/admin/waitlist", {"email": email, "hardware": hardware})
    second, first = (await operator.does("GET", "/admin/waitlist"))["open"]
    assert (first["hardware"], first["tier"], second["tier"]) == ("SolarEdge", "stable", "unsupported")
    assert "PASTE_TOKEN_HERE" in first["mailto"]
    path = f"/admin/waitlist/{first['entry_id']}"
    assert (await operator.does("POST", f"{path}/decision", {"decision": "queue"}))["decision"] == "queue"
    assert len((await operator.does("GET", "/admin/waitlist"))["open"]) == 2

    made = await operator.ask("POST", "/admin/boxes", BOX)
    assert (made.status_code, made.json()["serial"], made.json()["tenant_id"]) == (201, None, "alpha")
    issued = await operator.ask("POST", "/admin/boxes/hems-900100/issue_enroll_token", {"email": "a@b.c"})

    assert issued.status_code == 201
    assert {"url", "token", "email", "expires_at"} <= set(issued.json())
    assert issued.json()["url"].endswith(f"#{issued.json()['token']}")
    (kept,) = await operator.does("GET", "/admin/boxes/hems-900100/enroll-tokens")
    assert (kept["email"], kept["state"], "token" in kept) == ("a@b.c", "open", False)
    await operator.does("POST", f"{path}/invited")
    await operator.does("POST", f"/admin/waitlist/{second['entry_id']}/dismiss")
    found = await operator.does("GET", "/admin/waitlist")
    assert found["open"] == []
    assert [(each["reason"], each["actor"]) for each in found["dismissed"]] == [
        ("dismissed", operator.user),
        ("invited", operator.user),
    ]
    assert await db.fetchval("select count(*) from notice") == 0
    await operator.does("DELETE", f"/admin/boxes/hems-900100/enroll-tokens/{kept['prefix']}")
    (kept,) = await operator.does("GET", "/admin/boxes/hems-900100/enroll-tokens")
    assert kept["state"] == "withdrawn"


async def test_an_operator_sees_changes_flips_and_ends_boxes_and_the_audit_log_says_who(
    world: World, db: Any
) -> None:  # H-004, H-030, H-034, H-036, H-044, H-070
    operator = world.a("operator")
    owner = (await operator.does("POST", "/admin/users", {"email": "a@b.c"}))["user_id"]
    assert (await operator.ask("POST", "/admin/users", {"email": "A@b.c"})).status_code == 409
    for box_id in ("one", "two"):
        await operator.does("POST", "/admin/boxes", {"box_id": box_id, "user_id": owner})
    await operator.does("PUT", "/admin/boxes/one/assets", ASSETS)
    await operator.does("PATCH", "/admin/boxes/one", {"support_tunnel": "10.9.0.7:2222"})
    assert (await operator.does("GET", "/admin/boxes/one"))["support_tunnel"] == "10.9.0.7:2222"

    await operator.does("POST", "/admin/boxes/one/mode", {"mode": "active"}, X_Request_Id="request-9")
    assert [box["box_id"] for box in await operator.does("GET", "/admin/boxes?mode=observe")] == ["two"]
    flipped = await operator.does(
        "POST", f"/admin/users/{owner}/mode", {"mode": "observe", "payment_ref": "p-1"}
    )
    assert [(box["box_id"], box["mode"]) for box in flipped] == [("one", "observe"), ("two", "observe")]
    assert (await operator.ask("POST", f"/admin/users/{uuid4()}/mode", {"mode": "active"})).status_code == 404
    person = await operator.does("GET", f"/admin/users/{owner}")
    assert (person["email"], [box["box_id"] for box in person["boxes"]]) == ("a@b.c", ["one", "two"])
    for step, state in (("disable", "disabled"), ("enable", "active"), ("revoke", "revoked")):
        assert (await operator.does("POST", f"/admin/boxes/two/{step}"))["state"] == state
    assert (await operator.does("POST", "/admin/boxes/two/decommission"))["state"] == "decommissioned"

    log = await operator.does("GET", "/admin/audit")
    actions = [row["action"] for row in log]
    assert actions[0] == "box.decommission"
    assert actions.count("box.mode_flip") == 2
    assert {"user.create", "box.create", "box.assets", "box.change", "box.disable", "box.revoked"} <= {
        *actions
    }
    (back, flip) = await operator.does("GET", "/admin/audit?action=box.mode_flip")
    assert (flip["detail"]["before"]["mode"], flip["detail"]["after"]["mode"]) == ("observe", "active")
    assert (flip["actor"], flip["address"], flip["request_id"]) == (operator.user, "127.0.0.1", "request-9")
    assert back["detail"]["payment_ref"] == "p-1"
    (older,) = await operator.does("GET", f"/admin/audit?action=box.mode_flip&before={back['seq']}")
    assert older == flip
    (made,) = await operator.does("GET", "/admin/audit?action=user.create")
    assert made["detail"]["email"] == "a@b.c"
    assert "a@b.c" not in str(await audit_rows(db, "user.create"))


async def routes(api: Service) -> list[tuple[str, str]]:
    """What this part documents."""
    document = await api.get("/openapi.json")
    ours = ("/admin", "/pro", "/account", "/api/", "/customer")
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith(ours)
    ]


def filled(path: str, name: str) -> str:
    """A path with this name, and an id where only a UUID fits."""
    for which in ("user_id", "entry_id", "request_id"):
        path = path.replace(f"{{{which}}}", "00000000-0000-4000-8000-000000000000")
    path = path.replace("{step}", "disable").replace("{end}", "dismiss").replace("{prefix}", "abcdefgh")
    while "{" in path:
        path = path.partition("{")[0] + name + path.partition("}")[2]
    return path


async def test_a_role_that_is_not_enough_is_403_and_says_which_is(world: World) -> None:
    for method, path in await routes(world.api):
        is_for_all = method == "GET" and path.startswith("/api/branding")
        if path.startswith(("/admin", "/pro", "/api/")) and not is_for_all:
            answer = await world.a("customer").ask(method, filled(path, "x"), {})
            assert (answer.status_code, answer.json()["field"]) == (403, "role"), (method, path)
            assert "operator" in answer.json()["detail"]
        if path.startswith("/admin"):
            for role in ("installer", "tenant-admin"):
                answer = await world.a(role).ask(method, filled(path, "x"), {})
                assert answer.status_code == 403, (role, method, path)
    for role in ("installer", "tenant-admin", "operator", "operator-admin"):
        assert await world.a(role).does("GET", "/pro/devices") == []
    assert await world.a("operator-admin").does("GET", "/admin/boxes") == []


async def test_a_tenant_reaches_nothing_of_another_and_names_nothing_but_names(world: World) -> None:  # U-P07
    alpha, beta = world.a("operator"), world.a("operator", "beta")
    await alpha.does("POST", "/admin/boxes", {**BOX, "box_id": "shared", "tenant_id": "beta"})
    await alpha.does("PUT", "/admin/boxes/shared/assets", ASSETS)
    assert (await alpha.does("GET", "/admin/boxes/shared"))["tenant_id"] == "alpha"
    before = await alpha.does("GET", "/admin/boxes/shared")
    bodies = {
        "/mode": {"mode": "active"}, "/assets": {"assets": []}, "token": {"email": "a@b.c"},
        "/decision": {"decision": "queue"}, "/scan-match": {"found": []}, "/account": {"site_name": "x"},
        "/control": {"capability": "pv", "enabled": True},
    }  # fmt: skip

    for method, path in await routes(world.api):
        body = next((body for end, body in bodies.items() if path.endswith(end)), {})
        if "{" in path:
            answer = await beta.ask(method, filled(path, "shared"), body)
            assert answer.status_code == 404, (method, path, answer.text)
            for name in UNFIT:
                unfit = await alpha.ask(method, filled(path, name), body)
                assert unfit.status_code in (404, 405, 422), (method, path, name, unfit.text)
        elif method == "GET":
            listed = await beta.ask(method, path)
            assert "shared" not in listed.text, path
            assert "bess-1" not in listed.text, path

    assert await alpha.does("GET", "/admin/boxes/shared") == before


async def test_people_rename_their_site_and_switch_what_is_optimized(world: World, db: Any) -> None:
    # H-011, H-031
    operator, customer, neighbour = world.a("operator"), world.a("customer"), world.a("customer")
    assert (await customer.does("GET", "/account"))["boxes"] == []
    assert (await customer.ask("PATCH", "/account", {"site_name": "Home"})).status_code == 404
    for person, box_id in ((customer, "mine"), (neighbour, "theirs")):
        await operator.does("POST", "/admin/boxes", {"box_id": box_id, "user_id": person.user})
        await operator.does("PUT", f"/admin/boxes/{box_id}/assets", {
            "assets": [{**asset, "id": f"{box_id}-{asset['id']}"} for asset in ASSETS["assets"]]
        })  # fmt: skip

    await customer.does("PATCH", "/account", {"site_name": "Home"})
    assert (await customer.does("GET", "/account"))["site_name"] == "Home"
    assert (await neighbour.does("GET", "/account"))["site_name"] == ""
    assert [box["box_id"] for box in (await customer.does("GET", "/account"))["boxes"]] == ["mine"]
    (control,) = (await customer.does("GET", "/account/control"))["boxes"]
    assert (control["locked"], control["capabilities"]) == (True, [])
    locked = await customer.ask("PUT", "/account/control", {"capability": "battery", "enabled": True})
    assert (locked.status_code, "observes" in locked.text) == (409, True)

    await operator.does("POST", "/admin/boxes/mine/mode", {"mode": "active"})
    on = await customer.does("PUT", "/account/control", {"capability": "battery", "enabled": True})
    assert (on["locked"], on["capabilities"]) == (
        False,
        [{"capability": "battery", "enabled": True}, {"capability": "pv", "enabled": False}],
    )
    assert (await customer.does("GET", "/account/control"))["boxes"] == [on]
    assert await db.fetchval("select opt_ins from box where box_id = 'mine'") == ["battery"]
    absent = await customer.ask("PUT", "/account/control", {"capability": "ev_charger", "enabled": True})
    assert (absent.status_code, absent.json()["field"]) == (422, "capability")
    theirs = {"capability": "battery", "enabled": True, "box_id": "theirs"}
    assert (await customer.ask("PUT", "/account/control", theirs)).status_code == 404
    assert (
        await customer.ask("PATCH", "/account", {"site_name": "x", "box_id": "theirs"})
    ).status_code == 404
    (row,) = await audit_rows(db, "box.capabilities")
    assert row["actor"] == customer.user

    alone = await customer.ask("PATCH", "/customer/devices/theirs-bess-1/decommission")
    assert (alone.status_code, alone.json()["field"]) == (403, "role")
    gone = await customer.does("PATCH", "/customer/devices/mine-bess-1/decommission")  # P-023
    assert (gone["state"], gone["decommissioned_at"] is None) == ("decommissioned", False)
    assert (await operator.does("PATCH", "/customer/devices/theirs-bess-1/decommission"))["state"] == (
        "decommissioned"
    )


async def test_integrations_keep_sites_and_devices_by_their_own_names(world: World, db: Any) -> None:  # T-035
    admin = world.a("tenant-admin")
    site = await admin.does("POST", "/api/sites", {"site_id": "depot", "external_id": "EAN-1"})
    assert (site["tenant_id"], site["external_id"]) == ("alpha", "EAN-1")
    new = {"device_id": "meter-1", "type": "meter", "site_id": "depot", "external_id": "M-1"}
    device = await admin.does("POST", "/api/devices", new)

    assert await admin.does("GET", "/api/sites?external_id=EAN-1") == [{**site, "devices": 1}]
    assert await admin.does("GET", "/api/devices?external_id=M-1") == [device]
    assert (await admin.does("PATCH", "/api/sites/depot", {"name": "Depot"}))["name"] == "Depot"
    changed = await admin.does("PATCH", "/api/devices/meter-1", {"external_id": "M-2"})
    assert (changed["external_id"], await admin.does("GET", "/api/devices?external_id=M-1")) == ("M-2", [])
    assert (await admin.ask("DELETE", "/api/sites/depot")).status_code == 409
    assert (await world.a("installer").ask("DELETE", "/api/devices/meter-1")).status_code == 403
    assert (await admin.does("DELETE", "/api/devices/meter-1"))["state"] == "decommissioned"
    await admin.does("PATCH", "/api/devices/meter-1", {"site_id": None})
    await admin.does("DELETE", "/api/sites/depot")
    assert (await admin.ask("GET", "/api/sites/depot")).status_code == 404


async def test_installers_keep_addresses_and_a_known_mac_is_found_again(world: World) -> None:  # H-045, H-047
    await world.a("operator").does("POST", "/admin/boxes", BOX)
    await world.a("operator").does("PUT", "/admin/boxes/hems-900100/assets", ASSETS)
    installer = world.a("installer")
    saved = {"host": "10.0.0.9", "host_mac": "aa:bb:cc:dd:ee:ff"}
    assert saved.items() <= (await installer.does("PATCH", "/pro/devices/bess-1", saved)).items()
    devices = {each["device_id"]: each for each in await installer.does("GET", "/pro/devices")}
    assert saved.items() <= devices["bess-1"].items()
    assert set(devices) == {"hems-900100", "bess-1", "pv-1"}

    scan = {"found": [{"host": "10.0.0.77", "host_mac": "AA:BB:CC:DD:EE:FF"}, {"host": "10.0.0.1"}]}
    path = "/pro/boxes/hems-900100/scan-match"
    known, stranger = await installer.does("POST", path, scan)
    assert (known["match"], known["device_id"], known["known_host"]) == (True, "bess-1", "10.0.0.9")
    assert (stranger["match"], stranger["device_id"], known["saved"]) == (False, None, False)
    (known, _) = await installer.does("POST", path, {**scan, "save": True})
    assert known["saved"]
    (device,) = [
        each for each in await installer.does("GET", "/pro/devices") if each["device_id"] == "bess-1"
    ]
    assert device["host"] == "10.0.0.77"


async def test_users_of_a_disabled_tenant_are_nobody_from_the_moment_on(world: World) -> None:  # X18
    operator = world.a("operator")
    assert (await operator.ask("GET", "/assets")).status_code == 200
    await world.place.admin("POST", "/tenants/alpha/disable")
    for path in ("/assets", "/admin/boxes", "/account", "/dispatch/history"):
        answer = await operator.ask("GET", path)
        assert (answer.status_code, "disabled" in answer.text) == (401, True), path
    assert (await world.a("operator", "beta").ask("GET", "/assets")).status_code == 200

    await world.place.admin("POST", "/tenants/alpha/enable")

    assert (await operator.ask("GET", "/assets")).status_code == 200


async def test_without_provisioning_or_with_a_wrong_key_it_is_503_and_not_the_callers_fault(
    tmp_path: Path, role_url: Callable[[str], str], world: World
) -> None:
    settings = {"DATABASE_URL": role_url("api"), "API_TOKEN_KEY": KEY}
    right = str(world.place.service.http.base_url)
    for more in (
        {"PROVISIONING_URL": f"http://{NOBODY_LISTENS}"},
        {"PROVISIONING_URL": right, "PROVISION_ADMIN_KEY": "not-the-key-7351"},
    ):
        async with a_service("api", tmp_path, {**settings, **more}) as api:
            answer = await Person(api, "alpha", "operator", "u").ask("GET", "/admin/boxes")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "not-the-key-7351" not in api.log_file.read_text()


async def test_no_request_to_the_operators_door_finds_a_bug(world: World, tmp_path: Path) -> None:
    operator = world.a("operator")
    await operator.does("POST", "/admin/boxes", BOX)
    await operator.does("PUT", "/admin/boxes/hems-900100/assets", ASSETS)
    described = with_names(
        (await world.api.http.get("/openapi.json")).json(),
        {"box_id": ["hems-900100", "nobody"], "asset_id": ["bess-1", "a+/#"], "device_id": ["bess-1"]},
    )
    token = make_token(KEY, Identity("alpha", operator.user, "operator"), now=datetime.now(UTC), ttl_s=3600)
    # A dispatch is passed on to the controller, which is not there: 503 is right.
    more = ("-H", f"Authorization: Bearer {token}", "--exclude-path", "/dispatch")
    await asyncio.to_thread(
        fuzz, tmp_path, described, str(world.api.http.base_url), world.api.log_file, *more
    )
    passed_on = await asyncio.to_thread(world.place.service.log_file.read_text)
    assert "this is a bug" not in passed_on
