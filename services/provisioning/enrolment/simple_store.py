"""SQL of simple devices' credentials: activation codes and tokens. The device is locked before them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.runtime.postgres import Connection

INSERT_CODE: Final = """
insert into activation_code (code_hash, tenant_id, device_id, created_at, expires_at)
values ($1, $2, $3, $4, $5)"""
FORGET_CODES: Final = (
    "delete from activation_code where tenant_id = $1 and device_id = $2 and used_at is null"
)
READ_CODE: Final = "select tenant_id, device_id from activation_code where code_hash = $1"
USE_CODE: Final = """
update activation_code set used_at = $2 where code_hash = $1 and used_at is null and expires_at > $2
returning tenant_id"""
REVOKE_TOKENS: Final = """
update device_token set revoked_at = clock_timestamp()
where tenant_id = $1 and device_id = $2 and revoked_at is null returning prefix"""
INSERT_TOKEN: Final = """
insert into device_token (token_hash, prefix, tenant_id, device_id, mosquitto_hash)
values ($1, $2, $3, $4, $5)"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a code is."""

    tenant_id: str
    device_id: str


async def insert_code(
    db: Connection, code_hash: bytes, owner: Owner, created_at: datetime, expires_at: datetime
) -> None:
    """A new code in place of those that nobody has used."""
    await db.execute(FORGET_CODES, owner.tenant_id, owner.device_id)
    await db.execute(INSERT_CODE, code_hash, owner.tenant_id, owner.device_id, created_at, expires_at)


async def read_code(db: Connection, code_hash: bytes) -> Owner | None:
    """Whose it is, used or not."""
    row = await db.fetchrow(READ_CODE, code_hash)
    return Owner(row["tenant_id"], row["device_id"]) if row else None


async def use_code(db: Connection, code_hash: bytes, now: datetime) -> bool:
    """Whether it was ours to use."""
    return await db.fetchval(USE_CODE, code_hash, now) is not None


async def replace_token(
    db: Connection, owner: Owner, *, token_hash: bytes, prefix: str, mosquitto_hash: str
) -> list[str]:
    """The one live token of the device; the prefixes of those that it replaces."""
    old = await db.fetch(REVOKE_TOKENS, owner.tenant_id, owner.device_id)
    await db.execute(INSERT_TOKEN, token_hash, prefix, owner.tenant_id, owner.device_id, mosquitto_hash)
    return [row["prefix"] for row in old]
