"""A tenant ends: deleted while it is empty, or decommissioned with a final dump."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from services.provisioning.tenantctl.dumps import dump_path
from services.runtime import clock
from tests.integration.controller_rig import ROOT
from tests.integration.door_rig import Service
from tests.integration.tenant_rig import KEY, WHOLE, Tenantctl, audited, wholeness


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
