"""tenantctl and the routes behind it, as real processes on real PostgreSQL and Kafka."""

import asyncio
import json
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.provisioning.tenantctl.dumps import dump_path
from services.runtime import clock
from tests.integration.controller_rig import ROOT, until
from tests.integration.door_rig import Service, a_service
from tests.integration.tenant_rig import Tenantctl, carriers, tenantctl

KEY = {"X_Admin_Key": "change-me-now"}
PACK: Final[dict[str, Any]] = {
    "name": "pack",
    "rules": [{"name": "silent", "kind": "no_heartbeat", "severity": 3}],
}
TELEGRAM = {"TELEGRAM_BOT_TOKEN": "12345:good-token", "TELEGRAM_CHAT_ID": "42"}
TWILIO = {
    "TWILIO_ACCOUNT_SID": "AC1234567890",
    "TWILIO_AUTH_TOKEN": "twilio-secret",
    "TWILIO_FROM": "+15005550006",
    "TWILIO_TEST_TO": "+15005550009",
}


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def place(role_url: Callable[[str], str], kafka: str) -> dict[str, str]:
    return {
        "DATABASE_URL": role_url("provisioning"),
        "KAFKA_BOOTSTRAP": kafka,
        "APP_URL": "https://app.example",
    }


@pytest.fixture
async def door(tmp_path: Path, place: dict[str, str]) -> AsyncIterator[Service]:
    async with a_service("provisioning", tmp_path, place) as service:
        yield service


@pytest.fixture
def tenant(tmp_path: Path, door: Service) -> Tenantctl:
    return tenantctl(tmp_path, door)


async def audited(db: Any, action: str, tenant: str) -> list[dict[str, Any]]:
    rows = await db.fetch(
        "select detail from admin_audit where action = $1 and tenant_id = $2 and target_id = $2 order by at",
        action,
        tenant,
    )
    return [json.loads(row["detail"]) for row in rows]


async def wholeness(db: Any, tenant: str) -> tuple[int, ...]:
    """How many of each thing that a tenant consists of."""
    tables = ("tenant", "tenant_setup", "alert_rules", "escalation_policies")
    counts = [
        await db.fetchval(f"select count(*) from {table} where tenant_id = $1", tenant) for table in tables
    ]
    return (*counts, len(await audited(db, "tenant.provisioned", tenant)))


WHOLE: Final = (1, 1, 3, 1, 1)
NOTHING: Final = (0, 0, 0, 0, 0)


async def test_create_makes_a_whole_tenant_and_prints_its_id(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # C-001, C-002, C-006, C-020, T-018, T-019
    done = await tenant("create", "--name", "Smith", program=(str(ROOT / "scripts/tenant"),))

    assert re.search(r"^tenant_id +smith$", done.out, re.M)
    assert await wholeness(db, "smith") == WHOLE
    row = await db.fetchrow("select name, code, state from tenant where tenant_id = 'smith'")
    assert tuple(row) == ("Smith", "SMI0001", "active")
    policy = await db.fetchrow("select policy_id, is_default from escalation_policies")
    rules = await db.fetch("select * from alert_rules where tenant_id = 'smith'")
    assert policy["is_default"]
    assert {rule["escalation_policy_id"] for rule in rules} == {policy["policy_id"]}
    assert (await audited(db, "tenant.provisioned", "smith"))[0] == {
        "name": "Smith", "code": "SMI0001", "pack": "family-pack", "rules": 3, "integrations": [],
    }  # fmt: skip
    env = tmp_path / "tenants/smi0001/.env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert "COMPOSE_PROJECT_NAME=smi0001\n" in env.read_text()


async def test_the_same_create_again_changes_nothing_and_another_one_is_refused(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # C-047
    first = await tenant("create", "--name", "Smith", "--json")
    env = (tmp_path / "tenants/smi0001/.env").read_bytes()

    again = await tenant("create", "--name", "Smith", "--json")

    assert (first.code, first.data.pop("new"), again.code) == (0, True, 0)
    assert again.data == {**first.data, "new": False}
    assert (tmp_path / "tenants/smi0001/.env").read_bytes() == env
    assert await wholeness(db, "smith") == WHOLE
    for difference in (
        ["--name", "Smith", "--code", "XYZ0001"],
        ["--name", "Jones", "--tenant", "smith"],
        ["--name", "Smith", "--integration", "telegram"],
        ["--name", "Smith", "--domain", "other.example.com"],
        ["--name", "Jones", "--code", "SMI0001"],
    ):
        refused = await tenant("create", *difference, **TELEGRAM)
        assert refused.code == 4, (difference, refused)
    assert await wholeness(db, "smith") == WHOLE
    assert await wholeness(db, "jones") == NOTHING
    assert [path.name for path in (tmp_path / "tenants").iterdir()] == ["smi0001"]


async def test_a_rule_that_a_person_changed_is_left_as_it_is(
    tenant: Tenantctl, db: Any
) -> None:  # C-006, C-047
    await tenant("create", "--name", "Smith")
    await db.execute("update alert_rules set severity = 1 where name = 'no heartbeat'")
    await db.execute("delete from alert_rules where name = 'battery too warm'")

    assert (await tenant("create", "--name", "Smith")).code == 0
    assert await db.fetchval("select count(*) from alert_rules") == 2
    assert (await tenant("update", "--tenant", "smith", "--pack", "family-pack")).code == 0

    assert await db.fetchval("select count(*) from alert_rules") == 3
    assert await db.fetchval("select severity from alert_rules where name = 'no heartbeat'") == 1
    assert await audited(db, "tenant.changed", "smith") == [{"pack": "family-pack", "rules": 1}]


async def test_fifty_at_once_make_one_tenant(door: Service, db: Any) -> None:  # C-047
    body = {"name": "Smith", "pack": PACK}
    others = [f"smithy-{number}" for number in range(10)]

    answers = await asyncio.gather(
        *(door.ask("PUT", "/api/admin/tenants/smith/setup", body, **KEY) for _ in range(50)),
        *(door.ask("PUT", f"/api/admin/tenants/{each}/setup", body, **KEY) for each in others),
    )

    assert sorted(answer.status_code for answer in answers[:50]) == [200] * 49 + [201]
    assert {answer.status_code for answer in answers[50:]} == {201}
    assert len({answer.json()["code"] for answer in answers}) == 11
    assert await wholeness(db, "smith") == (1, 1, 1, 0, 1)


async def test_what_is_missing_is_named_before_anything_is_made(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # C-009
    asked = ["create", "--name", "Smith", "--integration", "telegram", "--integration", "twilio"]
    refused = await tenant(*asked, TELEGRAM_CHAT_ID="42", ENVIRONMENT="production")

    assert refused.code == 2
    for name in ("PROVISION_ADMIN_KEY", "TELEGRAM_BOT_TOKEN", *TWILIO):
        assert name in refused.err
    assert "TELEGRAM_CHAT_ID" not in refused.err
    assert await wholeness(db, "smith") == NOTHING
    assert not (tmp_path / "tenants").exists()
    assert (await tenant("create", "--name", "Smith", "--pack", "nobody")).code == 2
    assert await wholeness(db, "smith") == NOTHING


async def test_create_takes_all_answers_from_files_without_a_terminal(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # C-003
    answers, secrets = tmp_path / "smith.yml", tmp_path / "secrets"
    answers.write_text("name: Smith\ncode: ABC0001\nintegrations: [telegram]\ndomain: grid.example.org\n")
    secrets.write_text("".join(f"{name}={value}\n" for name, value in TELEGRAM.items()))
    secrets.chmod(0o644)
    asked = ["create", "--answers", str(answers), "--secrets", str(secrets), "--json"]

    refused = await tenant(*asked)
    secrets.chmod(0o600)
    made = await tenant(*asked)

    assert (refused.code, "chmod 600" in refused.err) == (2, True)
    assert (made.code, made.data["code"], made.data["integrations"]) == (0, "ABC0001", ["telegram"])
    text = (tmp_path / "tenants/abc0001/.env").read_text()
    assert "CUSTOMER_HOST=abc0001.grid.example.org\n" in text
    assert "TELEGRAM_BOT_TOKEN=12345:good-token\n" in text
    assert "good-token" not in made.out + made.err


async def test_killed_before_any_step_the_next_call_finishes(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # C-047
    program = (sys.executable, str(ROOT / "tests/fakes/killed.py"))
    for step in range(1, 50):
        name = f"killed-{step}"
        killed = await tenant(str(step), "create", "--name", name, program=program)
        if killed.code == 0:
            break
        assert killed.code == -signal.SIGKILL, killed
        assert await wholeness(db, name) in (NOTHING, WHOLE), step

        finished = await tenant("create", "--name", name, "--json")

        assert finished.code == 0, (step, finished)
        assert await wholeness(db, name) == WHOLE
        assert files_of(finished.data["directory"]) == [".env"]
        assert not list((tmp_path / "tenants").glob(".*"))
    assert step > 5, "connection, lock, directory and file are steps"


def files_of(directory: str) -> list[str]:
    return [path.name for path in Path(directory).iterdir()]


async def test_provisioning_killed_in_the_middle_leaves_no_half_tenant(
    tmp_path: Path, place: dict[str, str], db: Any
) -> None:  # C-047
    async with a_service("provisioning", tmp_path, place) as door:
        async with db.transaction():
            await db.execute("lock table alert_rules")
            asking = asyncio.create_task(tenantctl(tmp_path, door)("create", "--name", "Smith"))
            await until("the set-up waits for the rules", lambda: _waits(db, "alert_rules"))
            await door.end(asyncio.subprocess.Process.kill)
            assert (await asking).code == 5
    await until("its transaction is gone", lambda: _is_idle(db))
    assert await wholeness(db, "smith") == NOTHING

    async with a_service("provisioning", tmp_path, place) as door:
        assert (await tenantctl(tmp_path, door)("create", "--name", "Smith")).code == 0
    assert await wholeness(db, "smith") == WHOLE


async def _waits(db: Any, table: str) -> bool:
    asked = "select exists (select from pg_locks where not granted and relation = $1::regclass)"
    return bool(await db.fetchval(asked, table))


async def _is_idle(db: Any) -> bool:
    asked = (
        "select count(*) = 0 from pg_stat_activity "
        "where datname = current_database() and usename = 'provisioning'"
    )
    return bool(await db.fetchval(asked))


async def test_a_tenant_that_was_made_by_its_id_alone_is_finished(
    door: Service, tenant: Tenantctl, db: Any
) -> None:  # C-047
    bare = {"tenant_id": "smith"}
    assert (await door.ask("POST", "/api/admin/tenants", bare, **KEY)).status_code == 201

    assert (await tenant("create", "--name", "Smith")).code == 0
    assert await wholeness(db, "smith") == WHOLE
    assert tuple(await db.fetchrow("select name, code from tenant where tenant_id = 'smith'")) == (
        "Smith",
        "SMI0001",
    )


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


async def test_delete_removes_an_empty_tenant_and_no_other(
    tmp_path: Path, door: Service, tenant: Tenantctl, db: Any
) -> None:  # C-041
    await tenant("create", "--name", "Smith")
    await tenant("create", "--name", "Jones")
    body = {"tenant_id": "jones", "device_id": "sensor-1"}
    assert (await door.ask("POST", "/api/admin/devices", body, **KEY)).status_code == 201

    unsure = await tenant("delete", "--tenant", "smith", "--no-docker")
    assert (unsure.code, "--yes" in unsure.err, await wholeness(db, "smith")) == (1, True, WHOLE)
    no_docker = await tenant("delete", "--tenant", "smith", "--yes")
    assert (no_docker.code, "--no-docker" in no_docker.err) == (5, True)
    done = await tenant("delete", "--tenant", "smith", "--yes", "--no-docker")
    used = await tenant("delete", "--tenant", "jones", "--yes", "--no-docker")

    assert (done.code, await wholeness(db, "smith")) == (0, (0, 0, 0, 0, 1))
    assert len(await audited(db, "tenant.deleted", "smith")) == 1
    assert (used.code, "has 1 devices" in used.err) == (4, True)
    assert await wholeness(db, "jones") == WHOLE
    assert [path.name for path in (tmp_path / "tenants").iterdir()] == ["jon0001"]
    assert (await tenant("delete", "--tenant", "smith", "--yes", "--no-docker")).code == 3


def a_docker(home: Path, *volumes: str) -> Path:
    state = home / "docker.json"
    state.write_text(json.dumps({"volumes": volumes, "calls": []}))
    return state


async def test_decommission_wants_a_final_dump_and_then_ends_everything(
    tmp_path: Path, database_url: str, door: Service, tenant: Tenantctl, db: Any
) -> None:  # T-064
    volumes = [f"smi0001_{each}" for each in ("postgres-data", "redis-data", "kafka-data", "emqx-data")]
    docker = a_docker(tmp_path, *volumes)
    await tenant("create", "--name", "Smith")
    body = {"tenant_id": "smith", "device_id": "sensor-1"}
    await door.ask("POST", "/api/admin/devices", body, **KEY)
    asked = ("decommission", "--tenant", "smith", "--yes", "--json")
    dump = dump_path(tmp_path / "backups", "smi0001", clock.now().date())
    dump.parent.mkdir()

    without = await tenant(*asked)
    dump.write_bytes(b"PGDMP and no more")
    torn = await tenant(*asked)
    pg_dump = await asyncio.create_subprocess_exec("pg_dump", "-F", "c", "-f", str(dump), database_url)
    assert await pg_dump.wait() == 0
    kept = await db.fetchval("select state from tenant where tenant_id = 'smith'")
    done = await tenant(*asked)

    assert (without.code, torn.code, kept) == (1, 1, "active")
    assert f"there is no {dump}" in json.loads(without.err)["error"]
    assert "pg_dump -F c -U power_user power_monitoring" in without.err
    assert "cannot be read by pg_restore" in torn.err
    assert done.code == 0, done
    assert (done.data["dump"], done.data["volumes_removed"]) == (str(dump), volumes)
    assert "DNS entry of smi0001.portal.example.com" in done.data["left_to_do"][0]
    assert json.loads(docker.read_text())["volumes"] == []
    down = json.loads(docker.read_text())["calls"][-1]
    assert down[-3:] == ["down", "--volumes", "--remove-orphans"]
    assert str(tmp_path / "tenants/smi0001/.env") in down
    assert list((tmp_path / "tenants").iterdir()) == []
    assert await db.fetchval("select state from tenant where tenant_id = 'smith'") == "decommissioned"
    assert await db.fetchval("select state from device") == "decommissioned"
    assert await db.fetchval("select count(*) from session_cut where device_id = 'sensor-1'") == 1
    assert await audited(db, "tenant.decommissioned", "smith") == [{"boxes": 0, "devices": 1}]
    again = await tenant(*asked)
    assert (again.code, len(await audited(db, "tenant.decommissioned", "smith"))) == (0, 1)
    assert (await tenant("create", "--name", "Smith")).code == 4


async def test_decommission_by_force_needs_no_dump_and_a_kill_anywhere_is_finished(
    tmp_path: Path, tenant: Tenantctl, db: Any
) -> None:  # T-064
    program = (sys.executable, str(ROOT / "tests/fakes/killed.py"))
    for step in range(1, 50):
        name = f"ended-{step}"
        await tenant("create", "--name", name)
        a_docker(tmp_path, f"{name}_postgres-data")
        asked = ("decommission", "--tenant", name, "--yes", "--force")
        killed = await tenant(str(step), *asked, program=program)
        if killed.code == 0:
            break
        assert killed.code == -signal.SIGKILL, killed

        assert (await tenant(*asked)).code == 0, step
        assert await db.fetchval("select state from tenant where tenant_id = $1", name) == "decommissioned"
        assert json.loads((tmp_path / "docker.json").read_text())["volumes"] == []
        assert list((tmp_path / "tenants").iterdir()) == []
    assert step > 3


ROUTES: Final = [
    ("PUT", "tenants/smith/setup"), ("GET", "tenants/smith/setup"), ("PATCH", "tenants/smith/setup"),
    ("PUT", "tenants/smith/setup/smoke"), ("DELETE", "tenants/smith"), ("POST", "tenants/smith/decommission"),
    ("POST", "tenants/smith/invite"), ("POST", "invites/redeem"),
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


WRONG: Final[list[tuple[str, Any]]] = [
    ("name", ""), ("name", "a\u0000b"), ("name", "x" * 201), ("code", "abc0001"), ("code", "ABC 1"),
    ("pack", {"name": "../x"}), ("pack", {**PACK, "rules": PACK["rules"] * 2}),
    ("pack", {**PACK, "rules": [{"name": "r", "severity": 9, "kind": "no_heartbeat"}]}),
    ("integrations", ["fax"]), ("state", "active"),
]  # fmt: skip


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
