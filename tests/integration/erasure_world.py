"""A person with something in every table that can hold a person's data, and a search through all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from services.runtime.personal import person_of_email
from tests.integration.db.builders import add_other, add_sample, refresh

HOUR: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever lives there."""

    tenant: str
    user: UUID
    email: str
    box: str
    battery: str
    house: str
    keys: tuple[int, int]

    @property
    def needles(self) -> tuple[str, ...]:
        """What must not be found."""
        return (self.email, str(self.user), self.box, self.battery, self.house)


async def a_person(db: Any, tenant: str, name: str) -> Person:
    """With an account, a site, a box, a battery, samples, rollups, and a row wherever one can be."""
    await db.execute("insert into tenant (tenant_id, name) values ($1, $1) on conflict do nothing", tenant)
    user, email = uuid4(), f"{name}@example.org"
    box, battery, house = f"{name}-box", f"{name}-bess", f"House of {name}"
    await db.execute(
        "insert into \"user\" (user_id, tenant_id, email, role) values ($1, $2, $3, 'customer')",
        user,
        tenant,
        email,
    )
    await db.execute("insert into site (tenant_id, site_id, name) values ($1, $2, $3)", tenant, box, house)
    await db.execute(
        "insert into box (tenant_id, box_id, site_id, mode, opt_ins, user_id, source, name)"
        " values ($1, $2, $2, 'active', '{battery}', $3, 'admin', $4)",
        tenant,
        box,
        user,
        house,
    )
    insert = (
        "insert into device (tenant_id, device_id, site_id, box_id, type, name, assets, host)"
        " values ($1, $2, $3, $3, $4, $5, $6, '10.0.0.7') returning device_key"
    )
    keys = (
        await db.fetchval(insert, tenant, box, box, "agent", house, [battery]),
        await db.fetchval(insert, tenant, battery, box, "battery", house, []),
    )
    person = Person(tenant, user, email, box, battery, house, keys)
    await db.execute(
        "insert into asset (tenant_id, asset_id, device_key, capacity_mwh, max_mw, min_mw, location)"
        " values ($1, $2, $3, 1, 1, -1, $4)",
        tenant,
        battery,
        keys[1],
        house,
    )
    for minute in range(4):
        at = HOUR + timedelta(minutes=minute)
        counter = {0: 100.0, 1: 200.0, 2: 50.0, 3: 60.0}[minute]
        await add_sample(db, keys[1], at, {"soc_pct": 50.0 + minute, "energy_import_wh": counter})
        await add_other(db, keys[1], at, "rpm", 1000.0)
    await refresh(db)
    await _control(db, person)
    await _alerting(db, person)
    await _coming_in(db, person)
    return person


async def _control(db: Any, p: Person) -> None:
    dispatch, command = uuid4(), uuid4()
    await db.execute(
        "insert into dispatch (dispatch_id, tenant_id, site_id, asset_id, box_id, power_mw,"
        " requested_by, expires_at)"
        " values ($1, $2, $3, $4, $3, 1, $5, now())",
        dispatch, p.tenant, p.box, p.battery, str(p.user),
    )  # fmt: skip
    await db.execute(
        "insert into command (command_id, dispatch_id, tenant_id, box_id, device_id, asset_id, payload,"
        " expires_at)"
        " values ($1, $2, $3, $4, $4, $5, $6, now())",
        command, dispatch, p.tenant, p.box, p.battery, p.box.encode(),
    )  # fmt: skip
    await db.execute(
        "insert into command_replies (box_id, tenant_id, command_id, state, at) values ($1, $2, $3,"
        " 'applied', now())",
        p.box, p.tenant, command,
    )  # fmt: skip
    for statement in (
        "insert into controller_decisions (tenant_id, box_id, inputs) values ($1, $2,"
        " jsonb_build_object('a', $3::text))",
        "insert into daily_money (tenant_id, box_id, day, amount, detail)"
        " values ($1, $2, current_date, 1, jsonb_build_object('a', $3::text))",
        "insert into plans (plan_id, tenant_id, box_id, starts_at, ends_at, plan)"
        " values (gen_random_uuid(), $1, $2, now(), now() + interval '1 h', jsonb_build_object('a',"
        " $3::text))",
        "insert into agent_session (session_id, tenant_id, device_id, assets) values ('boot-' ||"
        " $2::text, $1, $2, array[$3::text])",
        "insert into declared_loss (tenant_id, device_id, epoch, first_seq, last_seq, rows)"
        " values ($1, $2, 1, 1, length($3::text), 1)",
        "insert into events (ts, tenant_id, device_id, asset_id, event_type, severity, message, received_at)"
        " values (now(), $1, $2, $3, 'device_silent', 'alarm', $3 || ' of ' || $2, now())",
        "insert into ingest_committed (tenant_id, device_id, epoch) values ($1, $2, length($3::text))",
        "insert into rejection (tenant_id, device_id, asset_id, reason, payload, source_topic)"
        " values ($1, $2, $3, 'MALFORMED', $2::text::bytea, 'devices/x/' || $2::text)",
        "insert into rejection (tenant_id, asset_id, reason, detail) values ($1, $3, 'MALFORMED', $2::text)",
    ):
        await db.execute(statement, p.tenant, p.box, p.battery)
    await db.execute(
        "insert into publish_log (tenant_id, box_id, command_id, mode_epoch) values ($1, $2, $3, 1)",
        p.tenant, p.box, command,
    )  # fmt: skip


async def _alerting(db: Any, p: Person) -> None:
    for status in ("OPEN", "CLOSED"):
        alert = uuid4()
        await db.execute(
            "insert into alerts (alert_id, tenant_id, fingerprint, device_id, site_id, box_id,"
            " severity, summary, details,"
            " status, closed_at, acknowledged_by) values ($1, $2, $3, $4, $5, $5, 2, $3,"
            " jsonb_build_object('d', $4::text), $6, $7, 'somebody')",
            alert, p.tenant, f"{status} {p.battery}", p.battery, p.box, status,
            datetime.now(UTC) if status == "CLOSED" else None,
        )  # fmt: skip
        await db.execute(
            "insert into alerts_24h (box_id, tenant_id, alert_id, severity, opened_at) values ($1, $2,"
            " $3, 2, now())",
            p.box, p.tenant, alert,
        )  # fmt: skip
        await db.execute(
            "insert into deliveries (delivery_id, idem, tenant_id, alert_id, channel_id, payload, status)"
            " values (gen_random_uuid(), $1, $2, $3, gen_random_uuid(), $4, $5)",
            str(uuid4()), p.tenant, alert, f"wrong: {p.battery}".encode(),
            "pending" if status == "OPEN" else "delivered",
        )  # fmt: skip
    await db.execute(
        "insert into alert_rules (rule_id, tenant_id, name, kind, severity, device_id)"
        " values (gen_random_uuid(), $1, $2, 'no_heartbeat', 1, $2)",
        p.tenant, p.battery,
    )  # fmt: skip


async def _coming_in(db: Any, p: Person) -> None:
    await db.execute(
        "insert into waitlist (tenant_id, email, name, note) values ($1, $2, $3, $3)",
        p.tenant,
        p.email,
        p.house,
    )
    await db.execute(
        "insert into enrol_token (token_hash, prefix, tenant_id, box_id, email, expires_at)"
        " values (sha256($3::text::bytea), 'prefix', $1, $2, $3, now())",
        p.tenant, p.box, p.email,
    )  # fmt: skip
    await db.execute(
        "insert into certificate (serial, tenant_id, device_id, spki_sha256, pem, via, not_before, not_after)"
        " values (md5($2), $1, $2, sha256($2::bytea), $2, 'enrol', now(), now() + interval '90 days')",
        p.tenant, p.box,
    )  # fmt: skip
    for statement in (
        "insert into activation_code (code_hash, tenant_id, device_id, expires_at)"
        " values (sha256($2::text::bytea), $1, $2, now())",
        "insert into device_token (token_hash, prefix, tenant_id, device_id, mosquitto_hash)"
        " values (sha256($2::text::bytea), 'prefix', $1, $2, '$7$')",
        "insert into session_cut (tenant_id, device_id, reason, done_at) values ($1, $2, 'test', now())",
    ):
        await db.execute(statement, p.tenant, p.battery)
    await db.execute(
        "insert into notice (tenant_id, kind, recipient, subject, body) values ($1, 'invite', $2,"
        " 'come', $3)",
        p.tenant, p.email, f"dear {p.house}",
    )  # fmt: skip
    await db.execute(
        "insert into report_runs (tenant_id, report, parameters, requested_by)"
        " values ($1, 'money', jsonb_build_object('box', $2::text), $3), ($1, 'money',"
        " jsonb_build_object('box', $2::text), 'x')",
        p.tenant, p.box, str(p.user),
    )  # fmt: skip
    for person in (str(p.user), person_of_email(p.tenant, p.email)):
        await db.execute("select personal_key_of($1, sha256($2))", person, b"key")


TABLES: Final = """
select format('%I.%I', n.nspname, c.relname) as name,
  exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'device_key') as has_key
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'm') and not c.relispartition and c.relpersistence <> 't'
  and (n.nspname !~ '^(pg_|information_schema|_?timescaledb)'
    or c.relname ~ '^_materialized_hypertable_[0-9]+$')
order by 1"""


async def where_found(db: Any, needles: Iterable[str], keys: Iterable[int] = ()) -> dict[str, int]:
    """Rows by table in which one of these stands: as text, within JSON, or as the bytes of a bytea."""
    patterns = [f"%{form}%" for needle in needles for form in (needle, needle.encode().hex())]
    found: dict[str, int] = {}
    for table in await db.fetch(TABLES):
        condition = "t::text ilike any ($1)"
        if table["has_key"]:
            condition += f" or device_key in ({', '.join(map(str, keys)) or 'null'})"
        count = await db.fetchval(f"select count(*) from {table['name']} t where {condition}", patterns)
        if count:
            found[table["name"].removeprefix("public.")] = count
    return found
