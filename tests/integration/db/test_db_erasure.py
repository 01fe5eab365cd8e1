"""Erasure in the database; what touches telemetry also on TimescaleDB.

H-021, H-022, H-025, H-026, P-056, P-057.
"""

import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from tests.integration.db.builders import add_sample, refresh
from tests.integration.db.conftest import Database
from tests.integration.erasure_world import HOUR, Person, a_person, where_found

_numbers: Final = itertools.count(1)
KEPT: Final = {
    *("box", "device", "site", '"user"', "certificate", "device_token", "session_cut"),
    *("data_request", "erased_box", "erased_device"),
}  # fmt: skip
"""H-025: account and box rows, until the purge. erased_device has the number of a device and nothing else."""
H022: Final = ["telemetry", "daily_money", "controller_decisions", "command_replies", "alerts_24h"]


@pytest.fixture
async def db(plain_database: Database) -> AsyncIterator[Any]:
    async with plain_database.connect() as connection:
        yield connection


@pytest.fixture
async def either(database: Database) -> AsyncIterator[Any]:
    """What depends on how telemetry is stored is proved on both forms."""
    async with database.connect() as connection:
        yield connection


async def two_neighbours(db: Any) -> tuple[Person, Person]:
    number = next(_numbers)
    tenant = f"erase-{number}"
    anna, bert = await a_person(db, tenant, f"anna{number}"), await a_person(db, tenant, f"bert{number}")
    for person in (anna, bert):
        await add_sample(db, person.keys[1], HOUR + timedelta(minutes=59), {"soc_pct": 60.0})
    return anna, bert


async def a_request(db: Any, person: Person) -> UUID:
    request: UUID = await db.fetchval(
        "insert into data_request (tenant_id, user_id, boxes, requested_at, target_at, due_at)"
        " values ($1, $2, $3, now(), now() + interval '7 days', now() + interval '30 days') returning"
        " request_id",
        person.tenant,
        person.user,
        [person.box],
    )
    return request


async def execute(db: Any, request: UUID, *, at: datetime) -> list[str]:
    """As provisioning's job does it, under its role; answers the tables in the order of their deletion."""
    await db.execute("set role provisioning")
    await db.execute("select entomb($1)", request)
    steps = await db.fetch("select table_name from erase_data($1) order by step", request)
    while await db.fetchval("select erase_next_rollup($1)", request):
        pass
    await db.execute(
        "update data_request set state = 'executed', executed_at = $2 where request_id = $1", request, at
    )
    await db.execute("reset role")
    return [row["table_name"] for row in steps]


async def test_after_execution_only_account_and_box_rows_are_found_and_after_the_purge_nothing(
    either: Any,
) -> None:
    # H-022, H-025: a search of every table in every column, JSON and bytes included
    db = either
    anna, bert = await two_neighbours(db)
    before_bert = await where_found(db, bert.needles, bert.keys)
    known = set(await db.fetchval("select erasure_known()"))
    filled = {name.strip('"') for name in await where_found(db, anna.needles, anna.keys)}
    # The numbers of series are looked for below; audit rows have their own tests.
    later = {"telemetry_other", "admin_audit_log", "data_request", "erased_box", "erased_device"}
    assert known - filled - later <= {
        "deliveries", "telemetry_1m", "telemetry_15m", "telemetry_1h", "telemetry_1d", "personal_key",
    }  # fmt: skip
    series = await db.fetchval("select series_id from telemetry_series where device_key = $1", anna.keys[1])
    now = datetime.now(UTC)

    request = await a_request(db, anna)
    await execute(db, request, at=now)

    assert set(await where_found(db, anna.needles, anna.keys)) <= KEPT
    assert await db.fetchval("select count(*) from telemetry_other where series_id = $1", series) == 0
    for level in ("1m", "15m", "1h", "1d"):
        assert (
            await db.fetchval(f"select count(*) from telemetry_{level} where device_key = $1", anna.keys[1])
            == 0
        )

    await db.execute("select purge_person($1, $2)", request, now + timedelta(days=31))

    assert set(await where_found(db, anna.needles, anna.keys)) == {"erased_device"}
    assert await where_found(db, anna.needles) == {}
    after_bert = await where_found(db, bert.needles, bert.keys)
    assert after_bert == before_bert, "the neighbour keeps everything"


async def test_a_refresh_after_the_erasure_brings_nothing_back(either: Any) -> None:
    db = either
    anna, bert = await two_neighbours(db)
    await execute(db, await a_request(db, anna), at=datetime.now(UTC))
    await db.execute(
        "insert into rollup_dirty (device_key, hour) select device_key, date_trunc('hour', ts) from telemetry"
    )

    await refresh(db)

    for level in ("1m", "15m", "1h", "1d"):
        keys = [row[0] for row in await db.fetch(f"select distinct device_key from telemetry_{level}")]
        assert anna.keys[1] not in keys, level
        assert bert.keys[1] in keys, level


async def test_deletion_runs_in_the_fixed_order(db: Any) -> None:  # H-022
    anna, _ = await two_neighbours(db)
    await _spy(db)

    steps = await execute(db, await a_request(db, anna), at=datetime.now(UTC))

    assert steps[:5] == H022
    seen = [row["name"] for row in await db.fetch("select name from spied group by name order by min(n)")]
    assert [name for name in seen if name in H022] == H022


async def _spy(db: Any) -> None:
    """Every DELETE writes down its table."""
    await db.execute(
        "create table if not exists spied (n bigint generated always as identity, name text); truncate spied"
    )
    await db.execute(
        "create or replace function spy() returns trigger language plpgsql security definer as"
        " $$ begin insert into public.spied (name) values (tg_table_name); return null; end $$"
    )
    for table in H022:
        await db.execute(
            f"create or replace trigger spy after delete on {table} for each statement execute function spy()"
        )


async def test_a_failure_in_the_middle_leaves_every_row(db: Any) -> None:  # H-022
    anna, _ = await two_neighbours(db)
    request = await a_request(db, anna)
    await db.execute("select entomb($1)", request)
    before = await where_found(db, anna.needles, anna.keys)
    await db.execute(
        "create or replace function fail() returns trigger language plpgsql as $$ begin raise 'step 4';"
        " end $$;"
        "create trigger fail before delete on command_replies for each statement execute function fail()"
    )
    try:
        with pytest.raises(asyncpg.RaiseError, match="step 4"):
            await db.execute("select * from erase_data($1)", request)
    finally:
        await db.execute("drop trigger fail on command_replies")

    assert await where_found(db, anna.needles, anna.keys) == before
    assert await db.fetchval("select state from data_request where request_id = $1", request) == "entombed"


@pytest.mark.parametrize("columns", ["box_id text", "n int, device_key int", "email text", "site_id text"])
async def test_a_table_that_nobody_accounted_for_is_named_and_nothing_is_deleted(
    db: Any, columns: str
) -> None:
    # H-026
    anna, _ = await two_neighbours(db)
    request = await a_request(db, anna)
    await db.execute("select entomb($1)", request)
    before = await where_found(db, anna.needles, anna.keys)
    await db.execute(f"create schema if not exists extra; create table extra.forgotten ({columns})")
    try:
        assert await db.fetch("select erasure_unaccounted()") == [], "an empty table holds nobody's data"
        await db.execute("insert into extra.forgotten default values")
        assert [row[0] for row in await db.fetch("select erasure_unaccounted()")] == ["extra.forgotten"]
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=r"extra\.forgotten"):
            await db.execute("select * from erase_data($1)", request)
    finally:
        await db.execute("drop table extra.forgotten")

    assert await where_found(db, anna.needles, anna.keys) == before


async def test_a_preview_counts_by_box_as_the_runbook_does_and_deletes_nothing(db: Any) -> None:  # H-021
    anna, _ = await two_neighbours(db)
    request = await a_request(db, anna)
    before = await where_found(db, anna.needles, anna.keys)
    counted = await db.fetchval("select count(*) from metrics where box_id = $1", anna.box)

    rows = await db.fetch("select * from erasure_preview($1)", request)

    counts = {row["table_name"]: row["row_count"] for row in rows}
    assert {row["box"] for row in rows} == {anna.box}
    assert counts["metrics"] == counted == 13
    assert {name for name, count in counts.items() if not count} == set()
    assert await where_found(db, anna.needles, anna.keys) == before


async def test_closed_alerts_stay_but_are_about_nobody(db: Any) -> None:  # P-056, P-058
    anna, _ = await two_neighbours(db)
    alerts = [row[0] for row in await db.fetch("select alert_id from alerts where box_id = $1", anna.box)]

    await execute(db, await a_request(db, anna), at=datetime.now(UTC))

    rows = await db.fetch("select * from alerts where alert_id = any($1)", alerts)
    assert len(rows) == 2
    assert {(row["status"], row["summary"], row["device_id"], row["severity"]) for row in rows} == {
        ("CLOSED", "erased", None, 2)
    }
    deliveries = await db.fetch("select payload, status from deliveries where alert_id = any($1)", alerts)
    assert {(bytes(row["payload"]), row["status"]) for row in deliveries} == {
        (b"", "delivered"),
        (b"", "superseded"),
    }


async def test_what_is_still_under_way_about_an_erased_device_is_not_stored(db: Any) -> None:
    anna, bert = await two_neighbours(db)
    await execute(db, await a_request(db, anna), at=datetime.now(UTC))

    for person in (anna, bert):
        for statement in (
            "insert into agent_session (session_id, tenant_id, device_id, disconnected_at)"
            " values ('late-' || $2::text, $1, $2, now())",
            "insert into declared_loss (tenant_id, device_id, epoch, first_seq, last_seq, rows) values"
            " ($1, $2, 9, 1, 1, 1)",
            "insert into rejection (tenant_id, device_id, reason) values ($1, $2, 'late')",
            "insert into controller_decisions (tenant_id, box_id, inputs) values ($1, $2, '{}')",
            "insert into alerts (alert_id, tenant_id, fingerprint, device_id, severity, summary)"
            " values (gen_random_uuid(), $1, 'late ' || $2::text, $2, 1, $2)",
        ):
            await db.execute(statement, person.tenant, person.box)

    assert set(await where_found(db, anna.needles, anna.keys)) <= KEPT
    assert {"agent_session", "declared_loss", "rejection", "alerts"} <= set(
        await where_found(db, bert.needles)
    )


async def test_the_writer_learns_which_devices_are_erased(db: Any) -> None:
    anna, bert = await two_neighbours(db)
    await execute(db, await a_request(db, anna), at=datetime.now(UTC))

    await db.execute("set role ingest")
    erased = await db.fetch("select * from erased_devices($1)", [*anna.keys, *bert.keys])
    await db.execute("reset role")

    assert {row[0] for row in erased} == set(anna.keys)


async def test_an_erased_identity_does_not_come_back_to_life(db: Any) -> None:
    anna, _ = await two_neighbours(db)
    now = datetime.now(UTC)
    request = await a_request(db, anna)
    await execute(db, request, at=now)
    revive = "update device set state = 'active' where device_key = $1 returning state"
    assert await db.fetchval(revive, anna.keys[0]) == "erased"
    await db.execute("select purge_person($1, $2)", request, now + timedelta(days=31))

    again = await db.fetchval(
        "insert into box (tenant_id, box_id) values ($1, $2) returning state", anna.tenant, anna.box
    )

    assert again == "erased"
    assert await db.fetchval("select count(*) from hold_mode($1, $2)", anna.tenant, anna.box) == 0


async def test_tombstones_stop_commands_at_once(db: Any) -> None:
    anna, bert = await two_neighbours(db)
    request = await a_request(db, anna)

    await db.execute("select entomb($1)", request)

    assert await db.fetchval("select count(*) from hold_mode($1, $2)", anna.tenant, anna.box) == 0
    assert await db.fetchval("select count(*) from hold_mode($1, $2)", bert.tenant, bert.box) == 1
    rows = await db.fetch(
        "select device_id, state, wipe from device where box_id = $1 order by device_key", anna.box
    )
    assert [tuple(row) for row in rows] == [(anna.box, "erased", True), (anna.battery, "erased", False)]


async def test_the_purge_comes_after_thirty_days_and_not_before(db: Any) -> None:  # H-025
    anna, _ = await two_neighbours(db)
    now = datetime.now(UTC)
    request = await a_request(db, anna)
    await execute(db, request, at=now)

    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="not executed 30 days before"):
        await db.execute("select purge_person($1, $2)", request, now + timedelta(days=29))
    assert await db.fetchval("select count(*) from box where box_id = $1", anna.box) == 1

    await db.execute("select purge_person($1, $2)", request, now + timedelta(days=31))
    assert await db.fetchval("select count(*) from box where box_id = $1", anna.box) == 0
    assert await db.fetchval('select count(*) from "user" where user_id = $1', anna.user) == 0


async def test_the_purge_leaves_an_account_that_has_a_box_again(
    db: Any,
) -> None:  # H-025: the re-onboarding window
    anna, _ = await two_neighbours(db)
    now = datetime.now(UTC)
    request = await a_request(db, anna)
    await execute(db, request, at=now)
    await db.execute(
        "insert into box (tenant_id, box_id, user_id) values ($1, $2, $3)",
        anna.tenant,
        f"{anna.box}-2",
        anna.user,
    )

    await db.execute("select purge_person($1, $2)", request, now + timedelta(days=31))

    assert await db.fetchval('select email from "user" where user_id = $1', anna.user) == anna.email
    assert await db.fetchval("select count(*) from box where box_id = $1", anna.box) == 0


async def test_a_revoked_certificate_stays_in_the_list_without_its_name(db: Any) -> None:
    anna, _ = await two_neighbours(db)
    now = datetime.now(UTC)
    serial = await db.fetchval("select serial from certificate where device_id = $1", anna.box)
    request = await a_request(db, anna)
    await execute(db, request, at=now)
    await db.execute("select purge_person($1, $2)", request, now + timedelta(days=31))

    row = await db.fetchrow("select * from certificate where serial = $1", serial)

    assert (row["device_id"], row["pem"], row["revoke_reason"]) == ("", "", "cessation_of_operation")


async def test_only_erasure_destroys_a_persons_key_and_only_provisioning_erases(db: Any) -> None:
    anna, _ = await two_neighbours(db)
    request = await a_request(db, anna)
    for role in ("ingest", "controller", "escalation", "provisioning", "api"):
        await db.execute(f"set role {role}")
        for statement in (
            "delete from personal_key",
            "select key from personal_key",
            "delete from erased_identity",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(statement)
        if role != "provisioning":
            for function in (
                "entomb($1)",
                "erase_data($1)",
                "erase_next_rollup($1)",
                "purge_person($1, now())",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await db.execute(f"select {function}", request)
        await db.execute("reset role")
    await db.execute("select personal_key_of($1, sha256('x'))", str(anna.user))

    await execute(db, request, at=datetime.now(UTC))

    assert await db.fetch("select * from personal_keys($1)", [str(anna.user)]) == []


async def test_no_purge_ever_touches_alerts_or_the_audit_log(db: Any) -> None:  # P-056, P-057
    anna, _ = await two_neighbours(db)
    await db.execute(
        "insert into admin_audit (actor, action, tenant_id) values ('x', 'kept', $1)", anna.tenant
    )
    now = datetime.now(UTC)
    request = await a_request(db, anna)
    await execute(db, request, at=now)
    counts = "select (select count(*) from alerts), (select count(*) from admin_audit_log)"
    before = tuple(await db.fetchrow(counts))

    await db.execute("select purge_person($1, $2)", request, now + timedelta(days=31))
    await db.execute("select drop_old_rollups($1)", now + timedelta(days=3650))

    assert tuple(await db.fetchrow(counts)) == before


async def test_the_name_of_a_key_of_an_address_is_the_same_here_and_in_the_services(db: Any) -> None:
    from services.runtime.personal import person_of_email

    assert await db.fetchval("select person_of_email('t', 'Anna@Example.org')") == person_of_email(
        "t", "anna@example.ORG"
    )


async def test_requests_of_one_tenant_are_not_seen_by_another(db: Any) -> None:
    anna, _ = await two_neighbours(db)
    request = await a_request(db, anna)
    async with db.transaction():
        await db.execute("set local role api")
        await db.execute("select set_config('app.tenant', 'somebody-else', true)")
        assert await db.fetch("select * from data_request") == []
        await db.execute("select set_config('app.tenant', $1, true)", anna.tenant)
        rows = await db.fetch("select request_id, counts from data_request")
    assert [(row["request_id"], json.loads(row["counts"])) for row in rows] == [(request, {})]


async def test_what_lies_in_the_columnstore_goes_too_whatever_its_limit(timescale_database: Database) -> None:
    async with timescale_database.connect() as db:
        anna, bert = await two_neighbours(db)
        request = await a_request(db, anna)
        chunks = [row[0] for row in await db.fetch("select show_chunks('telemetry')::text")]
        for chunk in chunks:
            await db.execute(f"call convert_to_columnstore('{chunk}', if_not_columnstore => true)")
        await db.execute("set timescaledb.max_tuples_decompressed_per_dml_transaction = 1")
        # Not in a whole segment of its own: one more sample makes the chunk partly rows.
        await add_sample(db, anna.keys[1], HOUR + timedelta(minutes=58), {"soc_pct": 59.0})

        await execute(db, request, at=datetime.now(UTC))

        rows = await db.fetch("select device_key, count(*) from telemetry group by 1")
        counts = {row["device_key"]: row["count"] for row in rows}
        assert anna.keys[1] not in counts
        assert counts[bert.keys[1]] == 5
        await db.execute("reset timescaledb.max_tuples_decompressed_per_dml_transaction")


async def test_a_person_without_a_box_can_be_erased_too(db: Any) -> None:
    anna, _ = await two_neighbours(db)
    await db.execute("update box set user_id = null where box_id = $1", anna.box)
    request = await db.fetchval(
        "insert into data_request (tenant_id, user_id, boxes, requested_at, target_at, due_at)"
        " values ($1, $2, '{}', now(), now(), now()) returning request_id",
        anna.tenant,
        anna.user,
    )
    now = datetime.now(UTC)

    await execute(db, request, at=now)
    await db.execute("select purge_person($1, $2)", request, now + timedelta(days=31))

    assert await where_found(db, (str(anna.user),)) == {}
    assert await db.fetchval("select state from box where box_id = $1", anna.box) == "active"
    assert await db.fetchval("select count(*) from telemetry where device_key = $1", anna.keys[1]) == 5
