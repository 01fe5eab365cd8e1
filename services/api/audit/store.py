"""The sealed audit log, through the functions that may touch it."""

from collections.abc import Sequence
from typing import Final

from services.api.audit.compare import Sealed
from services.runtime.postgres import Connection

SEAL: Final = "select sealed, count, head from audit_seal($1)"
VERIFY: Final = "select seq, reason from audit_verify()"
ROWS: Final = "select place, seq, hash from audit_at($1)"


async def seal(db: Connection, limit: int) -> tuple[int, int, str]:
    """Chain what is committed: how many rows were added, how many there are, and the head."""
    row = await db.fetchrow(SEAL, limit)
    assert row is not None
    return row["sealed"], row["count"], row["head"].hex()


async def first_broken(db: Connection) -> tuple[int, str] | None:
    """The first row at which the chain does not hold, with the reason."""
    row = await db.fetchrow(VERIFY)
    return (row["seq"], row["reason"]) if row else None


async def rows_at(db: Connection, positions: Sequence[int]) -> dict[int, Sealed]:
    """The rows at these places of the chain, as far as there are any."""
    rows = await db.fetch(ROWS, list(positions))
    return {row["place"]: Sealed(row["seq"], row["hash"].hex()) for row in rows}
