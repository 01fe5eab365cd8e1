"""SQL of what the broker is told."""

from typing import Final

from overwatt.topics import identity
from services.provisioning.brokers.wanted import Cut, Wanted
from services.provisioning.enrolment.authority import Revoked
from services.runtime.postgres import Connection

# An expired certificate is refused by itself: revoked_at stays in the table, and leaves the lists. An erased
# agent is let in until it has said that its spool is wiped, as it was told: nothing else of it is taken.
# Two halves, since this is asked every second and each has its index.
DENIED: Final = """
select d.tenant_id, d.device_id
from (
  select tenant_id, device_id from device where state <> 'active' and not wipe
  union
  select tenant_id, device_id from device
  where tenant_id in (select tenant_id from tenant where state <> 'active')
) d
where exists (select from certificate c where c.tenant_id = d.tenant_id and c.device_id = d.device_id
              and c.not_after > clock_timestamp())
  or exists (select from device_token t where t.tenant_id = d.tenant_id and t.device_id = d.device_id)
order by d.tenant_id, d.device_id"""
PASSWORDS: Final = """
select t.tenant_id, t.device_id, t.mosquitto_hash
from device_token t join device d using (tenant_id, device_id)
where t.revoked_at is null and d.state = 'active'
order by t.tenant_id, t.device_id"""
REVOKED: Final = """
select serial, revoked_at, revoke_reason from certificate
where revoked_at is not null and not_after > clock_timestamp()
order by serial"""
CUTS: Final = """
select id, tenant_id, device_id from session_cut where done_at is null order by attempts, id limit $1"""
CUT_DONE: Final = "update session_cut set done_at = clock_timestamp(), error = null where id = $1"
CUT_FAILED: Final = "update session_cut set attempts = attempts + 1, error = $2 where id = $1"


async def read_wanted(db: Connection, *, with_credentials: bool = True) -> Wanted:
    """What the broker should know; not everyone wants the lists of credentials."""
    denied = tuple(identity(row["tenant_id"], row["device_id"]) for row in await db.fetch(DENIED))
    if not with_credentials:
        return Wanted(denied=denied, passwords=(), revoked=())
    return Wanted(
        denied=denied,
        passwords=tuple(
            (identity(row["tenant_id"], row["device_id"]), row["mosquitto_hash"])
            for row in await db.fetch(PASSWORDS)
        ),
        revoked=tuple(
            Revoked(row["serial"], row["revoked_at"], row["revoke_reason"]) for row in await db.fetch(REVOKED)
        ),
    )


async def read_cuts(db: Connection, limit: int) -> list[Cut]:
    """Sessions that have to end, those that never failed first."""
    rows = await db.fetch(CUTS, limit)
    return [Cut(row["id"], identity(row["tenant_id"], row["device_id"])) for row in rows]


async def settle_cut(db: Connection, cut: Cut, error: str | None) -> None:
    """It was ended, or why not."""
    if error is None:
        await db.execute(CUT_DONE, cut.id)
    else:
        await db.execute(CUT_FAILED, cut.id, error)
