"""Two tenants in one database, and who may touch what. Queries stand without any filter on purpose."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from tests.integration.db.builders import Fleet, a_fleet, add_other, add_sample, refresh
from tests.integration.db.conftest import Database

NOW: Final = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - timedelta(hours=3)
UUID: Final = "gen_random_uuid()"
SHA256: Final = "sha256(convert_to($1, 'UTF8'))"
BOX: Final = "(select box_id from box where tenant_id = $1)"

ROWS: Final = {
    "ingest_committed": "tenant_id, device_id, epoch values ($1, 'd', 1)",
    "rejection": "tenant_id, reason values ($1, 'MALFORMED')",
    "declared_loss": "tenant_id, device_id, epoch, first_seq, last_seq, rows values ($1, 'd', 1, 1, 2, 2)",
    "events": "ts, tenant_id, device_id, asset_id, event_type, severity, received_at"
    " values (now(), $1, 'd', 'd', 'x', 'info', now())",
    "publish_log": f"tenant_id, box_id, command_id, mode_epoch values ($1, 'b', {UUID}, 1)",
    "agent_session": f"session_id, tenant_id, device_id values ({UUID}::text, $1, 'd')",
    "dispatch": "dispatch_id, tenant_id, site_id, box_id, power_mw, requested_by, expires_at"
    f" values ({UUID}, $1, 's', 'b', 1, 'u', now())",
    "command_replies": f"box_id, tenant_id, command_id, state, at values ('b', $1, {UUID}, 'APPLIED', now())",
    "controller_decisions": "box_id, tenant_id, inputs values ('b', $1, '{}')",
    "plans": "plan_id, tenant_id, box_id, starts_at, ends_at, plan"
    f" values ({UUID}, $1, 'b', now(), 'infinity', '{{}}')",
    "daily_money": "box_id, tenant_id, day, amount values ($1 || 'b', $1, current_date, 1)",
    "escalation_policies": f"policy_id, tenant_id, name values ({UUID}, $1, 'p')",
    "oncall_schedules": f"schedule_id, tenant_id, name values ({UUID}, $1, 's')",
    "notification_channels": f"channel_id, tenant_id, name values ({UUID}, $1, 'c')",
    "alert_rules": f"rule_id, tenant_id, name, kind, severity values ({UUID}, $1, 'r', 'no_heartbeat', 1)",
    "alerts": f"alert_id, tenant_id, fingerprint, severity, summary values ({UUID}, $1, 'f', 1, 's')",
    "alerts_24h": f"box_id, tenant_id, alert_id, severity, opened_at values ('b', $1, {UUID}, 1, now())",
    "incidents": f"incident_id, tenant_id, sev, title values ({UUID}, $1, 1, 't')",
    '"user"': "tenant_id, email, role values ($1, 'a@example.org', 'viewer')",
    "report_runs": "tenant_id, report values ($1, 'r')",
    "waitlist": "tenant_id, email values ($1, 'a@example.org')",
    "enrol_token": "token_hash, prefix, tenant_id, box_id, email, expires_at"
    f" values ({SHA256}, 'p', $1, {BOX}, 'a@example.org', now())",
    "certificate": "serial, tenant_id, device_id, spki_sha256, pem, via, not_before, not_after"
    f" values (md5($1), $1, 'd', {SHA256}, '', 'enrol', now(), now())",
    "data_request": "tenant_id, user_id, boxes, requested_at, target_at, due_at"
    f" values ($1, {UUID}, '{{}}', now(), now(), now())",
    "erased_box": "tenant_id, box_id, request_id"
    " values ($1, 'b', (select request_id from data_request where tenant_id = $1))",
    "branding": "tenant_id values ($1)",
    "tenant_setup": "tenant_id, pack values ($1, 'p')",
    "tenant_invite": f"token_hash, tenant_id, expires_at values ({SHA256}, $1, now())",
}
REGISTRY: Final = {"tenant", "site", "box", "device", "asset"}
BY_DELIVERY: Final = {"command", "deliveries", "delivery_attempts"}
VIEWS: Final = {
    "v_telemetry", "v_telemetry_1m", "v_telemetry_15m", "v_telemetry_1h", "v_telemetry_1d",
    "v_telemetry_other", "v_counter_reset",
}  # fmt: skip


async def _fill(connection: Any, fleet: Fleet) -> None:
    """One row at least in everything that has a tenant."""
    tenant = fleet.tenant
    for table, row in ROWS.items():
        columns, values = row.split(" values ")
        await connection.execute(f"insert into {table} ({columns}) values {values}", tenant)
    await connection.execute(
        "insert into asset (tenant_id, asset_id, device_key, capacity_mwh, max_mw, min_mw)"
        " values ($1, 'a', $2, 1, 1, -1)",
        tenant,
        fleet.key,
    )
    await connection.execute(
        "insert into command (command_id, dispatch_id, tenant_id, box_id, device_id, payload, expires_at)"
        " select gen_random_uuid(), dispatch_id, tenant_id, box_id, 'd', '', now()"
        " from dispatch where tenant_id = $1",
        tenant,
    )
    await connection.execute(
        "insert into deliveries (delivery_id, idem, tenant_id, alert_id, channel_id, payload)"
        " select gen_random_uuid(), alert_id::text, tenant_id, alert_id, gen_random_uuid(), '' from alerts"
        " where tenant_id = $1",
        tenant,
    )
    await connection.execute(
        "insert into delivery_attempts (delivery_id, n)"
        " select delivery_id, 1 from deliveries where tenant_id = $1",
        tenant,
    )
    await connection.execute(
        "insert into admin_audit (actor, action, tenant_id) values ('u', 'a', $1)", tenant
    )
    for minute, energy in ((0, 100), (1, 5)):
        at = NOW + timedelta(minutes=minute)
        await add_sample(connection, fleet.key, at, {"soc_pct": 50, "energy_import_wh": energy})
        await add_other(connection, fleet.key, at, "fan_rpm", 1200)
    await refresh(connection)


async def _visible(connection: Any, name: str, tenant: str | None) -> list[Any]:
    """What role api sees of a table or view, without any filter."""
    async with connection.transaction():
        await connection.execute("set local role api")
        if tenant is not None:
            await connection.execute("select set_config('app.tenant', $1, true)", tenant)
        return list(await connection.fetch(f"select * from {name}"))


async def _granted(connection: Any) -> set[str]:
    """Every table and view that api may select from."""
    rows = await connection.fetch(
        "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'v', 'm', 'p') and n.nspname not in ('pg_catalog', 'information_schema')"
        " and n.nspname not like '%timescaledb%' and n.nspname not like 'toolkit%'"
        " and has_schema_privilege('api', n.oid, 'usage') and has_table_privilege('api', c.oid, 'select')"
    )
    return {row["name"] for row in rows} - {"schema_migrations"}


async def test_the_api_sees_rows_of_its_tenant_and_no_others_even_without_a_filter(
    database: Database,
) -> None:
    async with database.connect() as connection:
        ours, theirs = await a_fleet(connection), await a_fleet(connection)
        await _fill(connection, ours)
        await _fill(connection, theirs)

        names = await _granted(connection)
        assert names == {*ROWS, *REGISTRY, *BY_DELIVERY, *VIEWS, "admin_audit", "admin_audit_log"}
        for name in sorted(names):
            rows = await _visible(connection, name, ours.tenant)
            assert rows, f"{name}: nothing of its own tenant"
            if name == "delivery_attempts":
                assert len(rows) == 1
            else:
                assert {row["tenant_id"] for row in rows} == {ours.tenant}, name


@pytest.mark.parametrize("tenant", [None, ""])
async def test_without_a_tenant_every_read_is_an_error(database: Database, tenant: str | None) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await _fill(connection, fleet)

        for name in sorted(await _granted(connection)):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no tenant is set"):
                await _visible(connection, name, tenant)


async def test_a_tenant_does_not_outlive_its_transaction(database: Database) -> None:
    # A pooled connection that served one tenant serves nobody until the next one is set.
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        assert await _visible(connection, "box", fleet.tenant)

        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no tenant is set"):
            await _visible(connection, "box", None)


async def test_the_api_may_not_write_for_another_tenant(database: Database) -> None:
    async with database.connect() as connection:
        ours, theirs = await a_fleet(connection), await a_fleet(connection)

        await connection.execute(f"set role api; set app.tenant = '{ours.tenant}'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(
                """insert into "user" (tenant_id, email, role) values ($1, 'x@example.org', 'viewer')""",
                theirs.tenant,
            )


async def test_the_api_has_no_way_to_what_lies_below_the_views(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, NOW, {"soc_pct": 50})
        below = [
            row["name"]
            for row in await connection.fetch(
                "select c.oid::regclass::text as name from pg_class c"
                " join pg_namespace n on n.oid = c.relnamespace"
                " where c.relkind in ('r', 'p', 'v', 'm') and n.nspname <> '_timescaledb_catalog'"
                " and c.relname ~ '^(telemetry|_hyper_|_materialized|compress_hyper|_direct_view"
                "|_partial_view|system_metrics|metrics|power_measurements|hourly_per_device|rollup|counter_reset)'"
            )
        ]

        assert len(below) > 10
        for name in below:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                pytest.fail(f"api read {name}: {await _visible(connection, name, fleet.tenant)}")


async def test_an_engine_touches_its_own_tables_and_reads_only_what_was_agreed(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await _fill(connection, fleet)
        rows = await connection.fetch(
            "select r.rolname as role, c.oid::regclass::text as name,"
            " has_table_privilege(r.rolname, c.oid, 'insert') as writes"
            " from pg_roles r, pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where r.rolname in ('ingest', 'controller', 'escalation', 'provisioning') and c.relkind = 'r'"
            " and n.nspname = 'public' and has_table_privilege(r.rolname, c.oid, 'select')"
            " and c.relname not in ('schema_migrations')"
        )

        tenant_bound = {*ROWS, *REGISTRY, *BY_DELIVERY} - {'"user"', "report_runs", "branding"}
        reads = {
            (row["role"], row["name"]) for row in rows if row["name"] in tenant_bound and not row["writes"]
        }
        assert reads == {
            *(("controller", name) for name in ("tenant", "site", "box", "device", "asset")),
            *(("escalation", name) for name in ("tenant", "site", "box", "device")),
        }
        writers: dict[str, list[str]] = {}
        for row in rows:
            if row["writes"]:
                writers.setdefault(row["name"], []).append(row["role"])
        assert {name for name, roles in writers.items() if len(roles) > 1} == set()
        assert tenant_bound <= set(writers)
        for role, name in {(row["role"], row["name"]) for row in rows if row["name"] in tenant_bound}:
            await connection.execute(f"set role {role}")
            assert await connection.fetchval(f"select count(*) from {name}") > 0, (
                f"{role} sees nothing of {name}"
            )
            await connection.execute("reset role")


async def test_every_table_with_a_tenant_forces_row_level_security(database: Database) -> None:
    async with database.connect() as connection:
        open_tables = await connection.fetch(
            "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid"
            " where c.relkind in ('r', 'p') and a.attname = 'tenant_id'"
            " and not (c.relrowsecurity and c.relforcerowsecurity)"
        )

    assert open_tables == []


async def test_the_gateway_holds_a_mode_and_a_flip_waits_for_it(plain_database: Database) -> None:
    async with plain_database.connect() as owner:
        fleet = await a_fleet(owner)

    async with plain_database.connect("ingest") as gateway, plain_database.connect("provisioning") as flip:
        await flip.execute("set lock_timeout = '50ms'")
        change = "update box set mode = 'observe', mode_epoch = mode_epoch + 1 where box_id = $1"
        async with gateway.transaction():
            held = await gateway.fetchrow("select * from hold_mode($1, $2)", fleet.tenant, fleet.box)
            assert dict(held) == {"mode": "active", "mode_epoch": 1, "opt_ins": ["battery"]}
            with pytest.raises(asyncpg.LockNotAvailableError):
                await flip.execute(change, fleet.box)
        await flip.execute(change, fleet.box)

        held = await gateway.fetchrow("select * from hold_mode($1, $2)", fleet.tenant, fleet.box)
        assert (held["mode"], held["mode_epoch"]) == ("observe", 2)


async def test_holding_a_mode_needs_the_right_tenant_and_the_gateways_role(database: Database) -> None:
    async with database.connect() as connection:
        ours, theirs = await a_fleet(connection), await a_fleet(connection)
        await connection.execute("set role ingest")

        assert await connection.fetch("select * from hold_mode($1, $2)", ours.tenant, ours.box)
        assert await connection.fetch("select * from hold_mode($1, $2)", theirs.tenant, ours.box) == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for table box"):
            await connection.fetch("select * from box")
        for role in ("controller", "escalation", "api"):
            await connection.execute(f"reset role; set role {role}")
            with pytest.raises(
                asyncpg.InsufficientPrivilegeError, match="permission denied for function hold_mode"
            ):
                await connection.fetch("select * from hold_mode($1, $2)", ours.tenant, ours.box)


async def test_ingest_learns_of_one_token_at_a_time_and_nobody_else_of_any(
    role_url: Callable[[str], str],
) -> None:  # U-P06
    questions = ("select * from http_sender(''::bytea)", "select * from http_named('t', '{d}', '{}')")
    ingest = await asyncpg.connect(role_url("ingest"))
    assert [await ingest.fetch(question) for question in questions] == [[], []]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ingest.fetch("select * from device_token")
    await ingest.close()

    for role in ("api", "controller", "escalation"):
        other = await asyncpg.connect(role_url(role))
        for question in questions:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await other.fetch(question)
        await other.close()
