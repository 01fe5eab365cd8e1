"""A tenant is made whole or not at all, by tenantctl and the routes behind it: real processes."""

import asyncio
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

from tests.integration.controller_rig import ROOT, until
from tests.integration.door_rig import Service, a_service
from tests.integration.tenant_rig import (
    KEY,
    NOTHING,
    PACK,
    WHOLE,
    Tenantctl,
    audited,
    tenantctl,
    wholeness,
)

TELEGRAM = {"TELEGRAM_BOT_TOKEN": "12345:good-token", "TELEGRAM_CHAT_ID": "42"}


TWILIO = {
    "TWILIO_ACCOUNT_SID": "AC1234567890",
    "TWILIO_AUTH_TOKEN": "twilio-secret",
    "TWILIO_FROM": "+15005550006",
    "TWILIO_TEST_TO": "+15005550009",
}


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
