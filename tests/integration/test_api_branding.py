"""T-033: how a tenant's pages look, kept with the tenant."""

import base64
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.api_world import api, bearer, db, settings
from tests.integration.door_rig import Service, a_service

__all__ = ["api", "db", "settings"]
PNG: Final = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
LOOK: Final = {
    "name": "Park Energy",
    "colours": {"primary": "#0b6e4f", "text": "#101010"},
    "logo": base64.b64encode(PNG).decode(),
}


@pytest.fixture(autouse=True)
async def tenants(db: Any) -> None:
    for tenant in ("alpha", "beta"):
        await db.execute("insert into tenant (tenant_id, name) values ($1, $1)", tenant)


async def test_it_is_the_same_after_a_restart_and_nobody_elses(
    tmp_path: Path, settings: dict[str, str], db: Any
) -> None:
    async with a_service("api", tmp_path, settings) as first:
        assert (await first.ask("GET", "/api/branding", **bearer("alpha"))).json()["name"] == ""
        assert (await first.ask("PUT", "/api/branding", LOOK, **bearer("alpha"))).json() == LOOK

    async with a_service("api", tmp_path, settings) as again:
        assert (await again.ask("GET", "/api/branding", **bearer("alpha", "customer"))).json() == LOOK
        picture = await again.ask("GET", "/api/branding/logo", **bearer("alpha", "customer"))
        assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
        assert (await again.ask("GET", "/api/branding", **bearer("beta"))).json()["name"] == ""
        assert (await again.ask("GET", "/api/branding/logo", **bearer("beta"))).status_code == 404

    (row,) = await db.fetch("select tenant_id, detail from admin_audit where action = 'branding.change'")
    assert row["tenant_id"] == "alpha"
    assert await db.execute("delete from tenant where tenant_id = 'alpha'") == "DELETE 1"
    assert await db.fetchval("select count(*) from branding") == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colours": {"primary": "red"}}, "colours.primary"),
        ({"colours": {"border": "#000000"}}, "colours.border"),
        ({"logo": "not base64!"}, "logo"),
        ({"logo": base64.b64encode(b"<svg onload='x'/>").decode()}, "logo"),
        ({"logo": base64.b64encode(PNG * 130).decode()}, "logo"),
        ({"name": "x" * 81}, "name"),
        ({"style": "bold"}, "style"),
    ],
)
async def test_what_cannot_be_is_named(api: Service, change: dict[str, Any], field: str) -> None:
    answer = await api.ask("PUT", "/api/branding", LOOK | change, **bearer("alpha"))

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field)


async def test_who_does_not_manage_the_tenant_may_not_change_it(api: Service) -> None:
    answer = await api.ask("PUT", "/api/branding", LOOK, **bearer("alpha", "customer"))

    assert (answer.status_code, answer.json()["field"]) == (403, "role")
