"""SQL of enrolment: tokens and certificates of boxes.

Whoever issues or revokes locks the box first, then the device, then the credentials: always in this order.
"""

from datetime import datetime
from typing import Any, Final

import asyncpg

from services.provisioning.enrolment.authority import Revoked
from services.provisioning.enrolment.model import Certificate, Standing
from services.provisioning.enrolment.tokens import EnrolToken
from services.provisioning.model import Unknown
from services.provisioning.store import CHANGED
from services.runtime.postgres import Connection

_TOKEN: Final = """
token_hash, prefix, tenant_id, box_id, email, expires_at, withdrawn_at, used_at, spki_sha256, serial"""
READ_TOKEN: Final = f"select {_TOKEN} from enrol_token where token_hash = $1"
# The one statement by which a token is spent; no row: somebody else was faster.
USE_TOKEN: Final = """
update enrol_token set used_at = $2, spki_sha256 = $3, serial = $4
where token_hash = $1 and used_at is null and withdrawn_at is null and expires_at > $2
returning prefix"""
WITHDRAW_OPEN: Final = """
update enrol_token set withdrawn_at = clock_timestamp()
where tenant_id = $1 and box_id = $2 and used_at is null and withdrawn_at is null
  and ($3::text is null or prefix = $3)
returning prefix"""
INSERT_TOKEN: Final = """
insert into enrol_token (token_hash, prefix, tenant_id, box_id, email, created_by, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""
LIST_TOKENS: Final = """
select prefix, email, created_by, created_at, expires_at, withdrawn_at, used_at, serial
from enrol_token where tenant_id = $1 and box_id = $2 order by created_at desc limit 100"""

HOLD_DEVICE: Final = """
select d.type, d.state as device, b.state as box, t.state as tenant,
  b.enrolled_at is not null as is_enrolled
from device d join tenant t using (tenant_id)
left join box b on b.tenant_id = d.tenant_id and b.box_id = d.box_id
where d.tenant_id = $1 and d.device_id = $2
for no key update of d"""
ENTER_BOX: Final = """
update box set state = 'active', enrolled_at = coalesce(enrolled_at, $3)
where tenant_id = $1 and box_id = $2"""
BOX_EXISTS: Final = "select exists (select from box where tenant_id = $1 and box_id = $2)"
SET_BOX_STATE: Final = "update box set state = $3 where tenant_id = $1 and box_id = $2"
SET_DEVICE_STATE: Final = f"""
update device set state = $3, {CHANGED} where tenant_id = $1 and device_id = $2 and state <> $3"""

_CERTIFICATE: Final = """
serial, tenant_id, device_id, spki_sha256, pem, via, issued_at, not_before, not_after, revoked_at,
revoke_reason"""
INSERT_CERTIFICATE: Final = """
insert into certificate
  (serial, tenant_id, device_id, spki_sha256, pem, via, issued_at, not_before, not_after)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""
READ_CERTIFICATE: Final = f"select {_CERTIFICATE} from certificate where serial = $1"
LIST_CERTIFICATES: Final = f"""
select {_CERTIFICATE} from certificate where tenant_id = $1 and device_id = $2
order by issued_at desc, serial limit 1000"""
SUCCESSOR: Final = f"""
select {_CERTIFICATE} from certificate
where tenant_id = $1 and device_id = $2 and spki_sha256 = $3 and issued_at > $4 and revoked_at is null
  and via = 'renew'
order by issued_at desc limit 1"""

# An expired certificate is refused by itself: it leaves the list, and its row stays.
REVOKED: Final = """
select serial, revoked_at, revoke_reason from certificate
where revoked_at is not null and not_after > clock_timestamp() order by serial"""

READ_SITE: Final = """
select b.site_id, coalesce(s.name, '') as site_name
from box b left join site s using (tenant_id, site_id) where b.tenant_id = $1 and b.box_id = $2"""


async def read_token(db: Connection, token_hash: bytes) -> EnrolToken | None:
    """As it is now."""
    row = await db.fetchrow(READ_TOKEN, token_hash)
    return EnrolToken(**dict(row)) if row else None


async def use_token(
    db: Connection, token_hash: bytes, now: datetime, spki_sha256: bytes, serial: str
) -> bool:
    """Whether it was ours to use."""
    return await db.fetchval(USE_TOKEN, token_hash, now, spki_sha256, serial) is not None


async def withdraw_tokens(
    db: Connection, tenant_id: str, box_id: str, prefix: str | None = None
) -> list[str]:
    """The unused ones of a box, or one of them; the prefixes of those that were."""
    return [row["prefix"] for row in await db.fetch(WITHDRAW_OPEN, tenant_id, box_id, prefix)]


async def insert_token(db: Connection, token: EnrolToken, created_by: str, created_at: datetime) -> None:
    """A new one."""
    await db.execute(
        INSERT_TOKEN,
        token.token_hash,
        token.prefix,
        token.tenant_id,
        token.box_id,
        token.email,
        created_by,
        created_at,
        token.expires_at,
    )


async def list_tokens(db: Connection, tenant_id: str, box_id: str) -> list[dict[str, Any]]:
    """The newest first."""
    return [dict(row) for row in await db.fetch(LIST_TOKENS, tenant_id, box_id)]


async def hold_device(db: Connection, tenant_id: str, device_id: str) -> Standing:
    """The device's states, locked: credentials are given and taken one at a time. Raises Unknown."""
    row = await db.fetchrow(HOLD_DEVICE, tenant_id, device_id)
    if row is None:
        raise Unknown(f"device {device_id!r} does not exist in tenant {tenant_id!r}", field="device")
    return Standing(**dict(row))


async def require_box(db: Connection, tenant_id: str, box_id: str) -> None:
    """Raises Unknown."""
    if not await db.fetchval(BOX_EXISTS, tenant_id, box_id):
        raise Unknown(f"box {box_id!r} does not exist in tenant {tenant_id!r}", field="box")


async def enter(db: Connection, tenant_id: str, box_id: str, now: datetime) -> None:
    """Box and agent are in."""
    await db.execute(ENTER_BOX, tenant_id, box_id, now)
    await db.execute(SET_DEVICE_STATE, tenant_id, box_id, "active")


async def set_device_state(db: Connection, tenant_id: str, device_id: str, state: str) -> None:
    """Of one device."""
    await db.execute(SET_DEVICE_STATE, tenant_id, device_id, state)


async def set_box_state(db: Connection, tenant_id: str, box_id: str, state: str) -> None:
    """Of the box and its agent."""
    await db.execute(SET_BOX_STATE, tenant_id, box_id, state)
    await db.execute(SET_DEVICE_STATE, tenant_id, box_id, state)


async def insert_certificate(db: Connection, certificate: Certificate) -> None:
    """One more."""
    await db.execute(
        INSERT_CERTIFICATE,
        certificate.serial,
        certificate.tenant_id,
        certificate.device_id,
        certificate.spki_sha256,
        certificate.pem,
        certificate.via,
        certificate.issued_at,
        certificate.not_before,
        certificate.not_after,
    )


async def read_certificate(db: Connection, serial: str) -> Certificate | None:
    """By its serial, hexadecimal."""
    row = await db.fetchrow(READ_CERTIFICATE, serial)
    return _certificate(row) if row else None


async def list_certificates(db: Connection, tenant_id: str, device_id: str) -> list[Certificate]:
    """The newest first; of the others, those that were renewed are superseded and still good."""
    return [_certificate(row) for row in await db.fetch(LIST_CERTIFICATES, tenant_id, device_id)]


async def read_successor(db: Connection, old: Certificate, spki_sha256: bytes) -> Certificate | None:
    """What this one was renewed to with that key already."""
    row = await db.fetchrow(SUCCESSOR, old.tenant_id, old.device_id, spki_sha256, old.issued_at)
    return _certificate(row) if row else None


async def read_revoked(db: Connection) -> tuple[Revoked, ...]:
    """What belongs on the revocation list."""
    rows = await db.fetch(REVOKED)
    return tuple(Revoked(row["serial"], row["revoked_at"], row["revoke_reason"]) for row in rows)


async def read_site(db: Connection, tenant_id: str, box_id: str) -> tuple[str | None, str]:
    """Id and name of the box's site."""
    row = await db.fetchrow(READ_SITE, tenant_id, box_id)
    assert row is not None
    return row["site_id"], row["site_name"]


def _certificate(row: asyncpg.Record) -> Certificate:
    return Certificate(**dict(row))
