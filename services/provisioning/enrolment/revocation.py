"""Taking back what somebody was given: certificates, tokens, and the session that is open.

The broker's files and the CRL follow within a second (brokers/keeper.py); what says whether somebody may come
back is the state of the device, which the caller sets in the same transaction.
"""

from typing import Final, Literal

from services.provisioning import life, store
from services.provisioning.model import DECOMMISSIONED, Author
from services.runtime.postgres import Connection

Reason = Literal[
    "unspecified", "key_compromise", "superseded", "cessation_of_operation", "privilege_withdrawn"
]

# Whoever issues holds the same lock: nothing is issued between what is revoked here and the caller's commit.
HOLD: Final = "select from device where tenant_id = $1 and device_id = $2 for no key update"
CERTIFICATES: Final = """
update certificate set revoked_at = clock_timestamp(), revoke_reason = $3
where tenant_id = $1 and device_id = $2 and revoked_at is null
returning serial"""
DEVICE_TOKENS: Final = """
update device_token set revoked_at = clock_timestamp()
where tenant_id = $1 and device_id = $2 and revoked_at is null
returning prefix"""
ENROL_TOKENS: Final = """
update enrol_token set withdrawn_at = clock_timestamp()
where tenant_id = $1 and box_id = $2 and withdrawn_at is null and used_at is null"""
CODES: Final = "delete from activation_code where tenant_id = $1 and device_id = $2 and used_at is null"
CUT: Final = "insert into session_cut (tenant_id, device_id, reason) values ($1, $2, $3)"


async def revoke(db: Connection, tenant_id: str, device_id: str, *, reason: Reason, author: Author) -> None:
    """Void every credential of a device (a box's agent bears the box's id) and ask for its session's end.

    In the caller's transaction; may be repeated. Wake the keeper after the commit.
    """
    await db.execute(HOLD, tenant_id, device_id)
    serials = await db.fetch(CERTIFICATES, tenant_id, device_id, reason)
    tokens = await db.fetch(DEVICE_TOKENS, tenant_id, device_id)
    await db.execute(ENROL_TOKENS, tenant_id, device_id)
    await db.execute(CODES, tenant_id, device_id)
    await cut_session(db, tenant_id, device_id, reason)
    detail = {
        "reason": reason,
        "certificates": [row["serial"] for row in serials],
        "device_tokens": [row["prefix"] for row in tokens],
    }
    target = ("device", device_id)
    await store.audit(db, author, "credentials.revoked", target, detail, tenant_id=tenant_id)


async def cut_session(db: Connection, tenant_id: str, device_id: str, reason: str) -> None:
    """The broker is to end this device's session, in the caller's transaction."""
    await db.execute(CUT, tenant_id, device_id, reason)


async def take_back(
    db: Connection, tenant_id: str, device_id: str, state: str | None, author: Author
) -> None:
    """What a new state ends: the session of the disabled, every credential of the decommissioned."""
    if state == life.DISABLED:
        await cut_session(db, tenant_id, device_id, "disabled")
    elif state == DECOMMISSIONED:
        await revoke(db, tenant_id, device_id, reason="cessation_of_operation", author=author)
