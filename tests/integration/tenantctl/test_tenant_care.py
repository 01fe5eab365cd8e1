"""A tenant is listed, changed, tried out and its people invited, by tenantctl against a real provisioning."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.runtime import clock
from tests.integration.door_rig import Service
from tests.integration.tenant_rig import KEY, Tenantctl, audited, carriers

TELEGRAM = {"TELEGRAM_BOT_TOKEN": "12345:good-token", "TELEGRAM_CHAT_ID": "42"}


TWILIO = {
    "TWILIO_ACCOUNT_SID": "AC1234567890",
    "TWILIO_AUTH_TOKEN": "twilio-secret",
    "TWILIO_FROM": "+15005550006",
    "TWILIO_TEST_TO": "+15005550009",
}


async def test_list_and_get_show_what_there_is(tenant: Tenantctl) -> None:  # C-041
    await tenant("create", "--name", "Smith")
    await tenant("create", "--name", "Jones")

    shown = await tenant("list")
    found = await tenant("get", "--tenant", "smith", "--json")
    unknown = await tenant("get", "--tenant", "nobody")

    assert re.search(r"^jones +Jones +JON0001 +active\nsmith +Smith +SMI0001 +active$", shown.out, re.M)
    assert (found.data["pack"], found.data["boxes"], found.data["agents_connected"]) == ("family-pack", 0, 0)
    assert (unknown.code, "does not exist" in unknown.err) == (3, True)


async def test_update_changes_what_is_named_and_nothing_else(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # C-041, U-C06
    await tenant("create", "--name", "Smith")
    of = ("--tenant", "smith")

    assert (await tenant("update", *of)).code == 2
    assert (await tenant("update", *of, "--integration", "telegram")).code == 2
    done = [
        await tenant("update", *of, "--name", "Smith & Sons", "--disable"),
        await tenant("update", *of, "--integration", "telegram", **TELEGRAM),
        await tenant("update", *of, "--domain", "other.example.com", "--enable"),
    ]

    assert [each.code for each in done] == [0, 0, 0], done
    found = (await tenant("get", *of, "--json")).data
    assert (found["name"], found["code"], found["integrations"], found["state"]) == (
        "Smith & Sons", "SMI0001", ["telegram"], "active",
    )  # fmt: skip
    text = (tmp_path / "tenants/smi0001/.env").read_text()
    assert "CUSTOMER_HOST=smi0001.other.example.com" in text
    assert "TELEGRAM_BOT_TOKEN=12345:good-token" in text
    assert await audited(db, "tenant.changed", "smith") == [
        {"name": "Smith & Sons"},
        {"integrations": ["telegram"]},
    ]


async def test_secrets_are_named_and_never_shown(tmp_path: Path, tenant: Tenantctl) -> None:  # C-019, U-C06
    await tenant("create", "--name", "Smith", "--integration", "telegram", **TELEGRAM)
    env = tmp_path / "tenants/smi0001/.env"
    env.write_text(env.read_text().replace("TELEGRAM_BOT_TOKEN=12345:good-token\n", ""))
    of = ("--tenant", "smith")

    missing = await tenant("secrets", "list", *of)
    soon = (clock.now().date() + timedelta(days=10)).isoformat()
    taken = await tenant(
        "secrets", "set", *of, "TELEGRAM_BOT_TOKEN", "--expires", soon, stdin="12345:good-token\n"
    )
    there = await tenant("secrets", "list", *of)
    own = await tenant("secrets", "set", *of, "POSTGRES_PASSWORD", stdin="mine")

    assert missing.code == 1
    assert re.search(r"^TELEGRAM_BOT_TOKEN +missing +required", missing.out, re.M)
    assert (taken.code, there.code, own.code) == (0, 0, 2)
    assert re.search(rf"^TELEGRAM_BOT_TOKEN +\*\*\* +required +{soon}$", there.out, re.M)
    assert re.search(r"^POSTGRES_PASSWORD +\*\*\* +made by render", there.out, re.M)
    for line in env.read_text().splitlines():
        name, _, value = line.partition("=")
        if name in ("POSTGRES_PASSWORD", "TELEGRAM_BOT_TOKEN", "EMQX_COOKIE"):
            assert value not in "".join(each.out + each.err for each in (missing, taken, there, own))
    healthy = await tenant("health", *of)
    assert (healthy.code, f"expiring soon: TELEGRAM_BOT_TOKEN on {soon}" in healthy.out) == (0, True)


async def test_smoke_says_not_configured_for_channels_that_are_absent(
    tenant: Tenantctl, db: Any
) -> None:  # C-007
    await tenant("create", "--name", "Smith")

    tried = await tenant("smoke", "--tenant", "smith")

    assert tried.code == 0, tried
    for line in (
        r"gateway +ok +http://127.0.0.1:\d+ is ready; the tenant has no box yet",
        r"telegram echo +not configured +needs TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID",
        r"twilio call +not configured +needs TWILIO_ACCOUNT_SID",
        r"morning brief +ok +dry run, sent to nobody: 'Good morning Smith",
    ):
        assert re.search(f"^{line}", tried.out, re.M), tried.out
    kept = json.loads(await db.fetchval("select smoke from tenant_setup"))  # U-C06
    assert [check["result"] for check in kept] == ["ok", "not configured", "not configured", "ok"]


async def test_smoke_tries_the_channels_and_fails_when_one_does(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # C-007
    both = ["--integration", "telegram", "--integration", "twilio"]
    assert (await tenant("create", "--name", "Smith", *both, **TELEGRAM, **TWILIO)).code == 0
    of = ("smoke", "--tenant", "smith", "--json")

    async with carriers() as told:
        at = {"TELEGRAM_API_URL": told.url, "TWILIO_API_URL": told.url}
        good = await tenant(*of, **at)
        told.echoes = False
        deaf = await tenant(*of, **at)
        env = tmp_path / "tenants/smi0001/.env"
        env.write_text(env.read_text().replace("good-token", "other-token").replace("twilio-secret", "guess"))
        wrong = await tenant(*of, **at)
    gone = await tenant(*of, **at)

    assert (good.code, [check["result"] for check in good.data["checks"]]) == (0, ["ok"] * 4), good
    assert (told.calls[0]["chat_id"], told.calls[1]["To"]) == ("42", "+15005550009")
    assert [(each.code, each.data["ok"]) for each in (deaf, wrong, gone)] == [(1, False)] * 3
    assert "did not come back" in deaf.out
    assert "answered 401" in wrong.out
    for each in (good, deaf, wrong, gone):
        assert not re.search("good-token|other-token|twilio-secret", each.out + each.err)


async def test_smoke_and_health_fail_when_the_api_or_the_boxes_are_silent(
    door: Service, tenant: Tenantctl, db: Any
) -> None:  # C-007, C-041
    await tenant("create", "--name", "Smith")
    away = await tenant("smoke", "--tenant", "smith", API_URL="http://127.0.0.1:1")
    await db.execute("insert into box (tenant_id, box_id) values ('smith', 'box-1')")
    silent = await tenant("smoke", "--tenant", "smith")
    await db.execute(
        "insert into agent_session (session_id, tenant_id, device_id) values ('s', 'smith', 'box-1')"
    )
    heard = await tenant("health", "--tenant", "smith")
    await db.execute("update agent_session set last_seen_at = now() - interval '2 minutes'")
    stale = await tenant("health", "--tenant", "smith")

    assert (away.code, "127.0.0.1:1 does not answer" in away.out) == (1, True)
    assert (silent.code, "none ever spoke" in silent.out) == (1, True)
    assert (heard.code, "1 of 1 connected" in heard.out) == (0, True), heard
    assert stale.code == 1


async def test_an_invitation_is_a_link_that_lets_one_person_in_once(
    door: Service, tenant: Tenantctl, db: Any
) -> None:  # C-008
    await tenant("create", "--name", "Smith")

    made = await tenant("invite", "--tenant", "smith", "--json")
    text = await tenant("invite", "--tenant", "smith")
    unknown = await door.ask("POST", "/api/admin/tenants/nobody/invite", **KEY)

    url = urlsplit(made.data["url"])
    assert (url.netloc, url.path, url.query) == ("app.example", "/join", "tenant=smith")
    assert len(url.fragment) >= 43
    assert re.search(r"App +https://app.example/join\?tenant=smith#\S+", text.out)
    assert re.search(r"Telegram +not configured\n +Phone +not configured", text.out)
    assert (unknown.status_code, (await tenant("invite", "--tenant", "nobody")).code) == (404, 3)
    stored = await db.fetch("select * from tenant_invite")
    assert url.fragment not in str(stored)
    answers = await asyncio.gather(
        *(door.ask("POST", "/api/admin/invites/redeem", {"token": url.fragment}, **KEY) for _ in range(50))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [410] * 49
    assert next(each.json() for each in answers if each.status_code == 200) == {"tenant_id": "smith"}


async def test_used_unknown_and_expired_invitations_are_told_the_same(
    door: Service, tenant: Tenantctl, db: Any
) -> None:  # C-008
    await tenant("create", "--name", "Smith")
    urls = [(await tenant("invite", "--tenant", "smith", "--json")).data["url"] for _ in range(3)]
    used, expired, disabled = (urlsplit(url).fragment for url in urls)

    async def redeem(token: str) -> tuple[int, str]:
        answer = await door.ask("POST", "/api/admin/invites/redeem", {"token": token}, **KEY)
        return answer.status_code, answer.json().get("detail", "")

    assert (await redeem(used))[0] == 200
    await db.execute(
        "update tenant_invite set expires_at = now() - interval '1 s' where token_hash = sha256($1::bytea)",
        expired.encode(),
    )
    await db.execute("update tenant set state = 'disabled' where tenant_id = 'smith'")
    refusals = {await redeem(token) for token in (used, expired, disabled, "unknown")}

    assert len(refusals) == 1
    assert refusals.pop()[0] == 410
    assert (await door.ask("POST", "/api/admin/tenants/smith/invite", **KEY)).status_code == 409
