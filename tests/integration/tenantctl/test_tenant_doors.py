"""The routes behind tenantctl refuse what is not allowed or cannot be."""

import json
from typing import Any, Final

from tests.integration.door_rig import Service
from tests.integration.tenant_rig import KEY, PACK

ROUTES: Final = [
    ("PUT", "tenants/smith/setup"), ("GET", "tenants/smith/setup"), ("PATCH", "tenants/smith/setup"),
    ("PUT", "tenants/smith/setup/smoke"), ("DELETE", "tenants/smith"), ("POST", "tenants/smith/decommission"),
    ("POST", "tenants/smith/invite"), ("POST", "invites/redeem"),
]  # fmt: skip


WRONG: Final[list[tuple[str, Any]]] = [
    ("name", ""), ("name", "a\u0000b"), ("name", "x" * 201), ("code", "abc0001"), ("code", "ABC 1"),
    ("pack", {"name": "../x"}), ("pack", {**PACK, "rules": PACK["rules"] * 2}),
    ("pack", {**PACK, "rules": [{"name": "r", "severity": 9, "kind": "no_heartbeat"}]}),
    ("integrations", ["fax"]), ("state", "active"),
]  # fmt: skip


async def test_without_the_key_every_route_is_401(door: Service) -> None:  # P-031
    for method, path in ROUTES:
        for headers in ({}, {"X_Admin_Key": ""}, {"X_Admin_Key": "wrong"}):
            answer = await door.ask(method, f"/api/admin/{path}", {}, **headers)
            assert answer.status_code == 401, (method, path, headers)


async def test_a_tenant_that_nobody_has_is_404(door: Service) -> None:  # C-008
    bodies = {"PATCH": {"name": "x"}, "PUT": {"checks": [{"name": "gateway", "result": "ok"}]}}
    for method, path in ROUTES[1:-1]:
        answer = await door.ask(method, f"/api/admin/{path}", bodies.get(method), **KEY)
        assert answer.status_code == 404, (method, path, answer.text)


async def test_a_tenant_id_that_cannot_be_is_422(door: Service) -> None:  # P-069
    for name in ("a+b", "a%23b", "$a", "A", "%D0%B0bc", "a%00", "a" * 27, "a%0Ab"):
        body = {"name": "x", "pack": PACK}
        answer = await door.ask("PUT", f"/api/admin/tenants/{name}/setup", body, **KEY)
        assert answer.status_code == 422, (name, answer.text)


async def test_a_body_that_cannot_be_is_422_and_makes_nothing(door: Service, db: Any) -> None:
    for field, value in WRONG:
        body = {"name": "Smith", "pack": PACK, field: value}
        answer = await door.ask("PUT", "/api/admin/tenants/smith/setup", body, **KEY)
        assert answer.status_code == 422, (field, value, answer.text)
        assert answer.json()["field"].startswith(field), answer.text
    assert await db.fetchval("select count(*) from tenant where tenant_id = 'smith'") == 0


async def test_no_text_that_a_database_cannot_hold_comes_through(door: Service) -> None:
    made = await door.ask("PUT", "/api/admin/tenants/smith/setup", {"name": "Smith", "pack": PACK}, **KEY)
    assert made.status_code == 201
    for bad in ("\u0000", "\ud800", "\u202e"):
        check = {"name": "gateway", "result": "ok", "detail": bad}
        policy = {**PACK, "escalation_policy": {"name": f"p{bad}", "levels": [{"level": 1}]}}
        for method, path, body in (
            ("PUT", "tenants/smith/setup/smoke", {"checks": [check]}),
            ("PATCH", "tenants/smith/setup", {"name": f"S{bad}"}),
            ("PATCH", "tenants/smith/setup", {"pack": policy}),
            ("POST", "invites/redeem", {"token": bad}),
        ):
            answer = await door.http.request(
                method,
                f"/api/admin/{path}",
                content=json.dumps(body),
                headers={"X-Admin-Key": "change-me-now", "Content-Type": "application/json"},
            )
            assert answer.status_code in (410, 422), (path, bad, answer.text)
