"""The erasure goes on after a kill, reaches the boxes, and ends in the purge."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from overwatt.topics import AGENT_REPLY, identity_hash, tombstone_of
from overwatt.v1.agent_pb2 import AgentReply, Reply
from overwatt.v1.registry_pb2 import Device
from services.provisioning.erasure.job import Eraser
from services.runtime.bus import producer
from services.runtime.postgres import connect_pool
from tests.integration.controller_rig import until
from tests.integration.erasure_rig import Doors, doors_of, executed, read_registry
from tests.integration.erasure_world import Person, where_found


async def test_a_kill_at_any_step_is_taken_up_where_it_stopped(
    role_url: Callable[[str], str], redis_server: str, db: Any, anna: Person
) -> None:
    request = await db.fetchval(
        "insert into data_request (tenant_id, user_id, boxes, requested_at, target_at, due_at, executed_by)"
        " values ($1, $2, $3, now(), now(), now(), 'operator') returning request_id",
        anna.tenant,
        anna.user,
        [anna.box],
    )
    await db.execute("select entomb($1)", request)
    seen = []
    async with connect_pool(role_url("provisioning"), name="test") as pool:
        while True:
            # Each step by another process: what the one before it knew is gone.
            eraser = Eraser(pool, redis_url=redis_server, on_change=lambda: None, on_notice=lambda: None)
            if not await eraser.step(datetime.now(UTC)):
                break
            row = await db.fetchrow("select state, levels_left from data_request")
            seen.append((row["state"], len(row["levels_left"])))

    assert seen == [*(("deleted", left) for left in (4, 3, 2, 1, 0)), ("executed", 0)]
    count = "select count(*) from admin_audit where action = 'user.delete_executed'"
    assert await db.fetchval(count) == 1
    assert await db.fetchval("select count(*) from notice where kind = 'data.deleted'") == 1


async def test_tombstones_reach_the_registry_and_a_wiped_spool_ends_in_revocation_and_purge(
    tmp_path: Path,
    role_url: Callable[[str], str],
    environment: dict[str, str],
    kafka: str,
    redis_server: str,
    db: Any,
    anna: Person,
) -> None:  # H-025
    async with doors_of(tmp_path, role_url, {**environment, "KAFKA_BOOTSTRAP": kafka}, anna) as doors:
        await executed(doors)
        box, battery = f"{anna.tenant}/{anna.box}", f"{anna.tenant}/{anna.battery}"
        tombs = [tombstone_of(identity_hash(anna.tenant, name)) for name in (anna.box, anna.battery)]

        async def is_told() -> bool:
            said = await read_registry(kafka)
            return all(each in said for each in (*tombs, box, battery))

        await until("the registry has the tombstones", is_told)
        said = await read_registry(kafka)
        assert said[tombs[0]] == Device(state="erased")
        assert (said[box].state, said[box].wipe) == ("erased", True)  # type: ignore[union-attr]
        assert said[battery].wipe is False  # type: ignore[union-attr]

        word = AgentReply(tenant=anna.tenant, device=anna.box, reply=Reply(state=Reply.ERASED))
        async with producer(kafka, name="test") as out:
            await out.send(AGENT_REPLY, box, word.SerializeToString())

        async def is_revoked() -> bool:
            found = "select revoked_at is not null from certificate where device_id = $1"
            return bool(await db.fetchval(found, anna.box))

        await until("the box is revoked", is_revoked)
        reason = await db.fetchval("select revoke_reason from certificate where device_id = $1", anna.box)
        assert reason == "cessation_of_operation"

        async def order_is_gone() -> bool:
            device = (await read_registry(kafka))[box]
            return device is not None and not device.wipe

        await until("the order to wipe is taken back", order_is_gone)

    await db.execute("update session_cut set done_at = now()")
    at = await db.fetchval("select executed_at from data_request")
    async with connect_pool(role_url("provisioning"), name="test") as pool, producer(kafka, name="x") as out:
        eraser = Eraser(pool, redis_url=redis_server, on_change=lambda: None, on_notice=lambda: None)
        assert not await eraser.purge(at + timedelta(days=29), out)
        assert await db.fetchval("select count(*) from box where box_id = $1", anna.box) == 1
        assert await eraser.purge(at + timedelta(days=31), out)
        assert not await eraser.purge(at + timedelta(days=31), out)

    assert set(await where_found(db, anna.needles)) == {"admin_audit_log"}
    assert "admin_audit_log" not in await where_found(db, (anna.email, anna.house))
    said = await read_registry(kafka)
    assert (said[box], said[battery]) == (None, None)
    assert said[tombs[0]] == said[tombs[1]] == Device(state="erased")


async def test_a_box_that_never_answers_is_revoked_after_thirty_days(
    doors: Doors, role_url: Callable[[str], str], redis_server: str, db: Any, anna: Person
) -> None:
    await executed(doors)
    at = await db.fetchval("select executed_at from data_request")
    async with connect_pool(role_url("provisioning"), name="test") as pool:
        eraser = Eraser(pool, redis_url=redis_server, on_change=lambda: None, on_notice=lambda: None)
        assert not await eraser.revoke_erased(at + timedelta(days=29))
        assert await eraser.revoke_erased(at + timedelta(days=31))

    certificate = await db.fetchrow("select * from certificate where device_id = $1", anna.box)
    assert certificate["revoked_at"] is not None
    cut = "select count(*) from session_cut where device_id = $1 and done_at is null"
    assert await db.fetchval(cut, anna.box) == 1
    assert await db.fetchval("select bool_or(wipe) from device") is False
