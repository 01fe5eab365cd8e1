"""Whose a token is, and which devices a sender speaks for: asked of the database with each request."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from overwatt.reasons import Reason
from services.ingest.http.body import Item
from services.ingest.model import Member
from services.ingest.standing import standing
from services.runtime.postgres import Connection

SENDER: Final = "select * from http_sender($1)"
NAMED: Final = "select * from http_named($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who holds a token."""

    member: Member
    external_id: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """A name that this sender may not use, and why."""

    reason: Reason
    detail: str


async def find(db: Connection, token: str) -> Sender | None:
    """The device whose token this is; nobody: unknown or taken back."""
    token_hash = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    row = await db.fetchrow(SENDER, token_hash)
    if row is None or not hmac.compare_digest(row["token_hash"], token_hash):
        return None
    member = Member(
        tenant=row["tenant_id"],
        device=row["device_id"],
        key=row["device_key"],
        state=row["state"],
        site=row["site_id"] or "",
        assets=frozenset(row["assets"]),
    )
    return Sender(member, row["external_id"] or "")


async def find_named(db: Connection, sender: Sender, items: Sequence[Item]) -> list[Member | Stranger]:
    """The device of each item."""
    own = sender.member
    others = [item for item in items if not _is_own(item, sender)]
    rows = []
    if others:
        device_ids = [item.device_id for item in others if item.device_id]
        external_ids = [item.external_id for item in others if item.external_id]
        rows = await db.fetch(NAMED, own.tenant, device_ids, external_ids)
    members = {
        name: Member(own.tenant, row["device_id"], row["device_key"], row["state"], site=row["site_id"] or "")
        for row in rows
        for name in (("device", row["device_id"]), ("external", row["external_id"]))
    }
    found: list[Member | Stranger] = []
    for item in items:
        if _is_own(item, sender):
            found.append(own)
        else:
            key = ("external", item.external_id) if item.external_id else ("device", item.device_id)
            found.append(_allowed(members.get(key), item, own))
    return found


def _is_own(item: Item, sender: Sender) -> bool:
    if item.external_id:
        return item.external_id == sender.external_id
    return item.device_id in ("", sender.member.device)


def _allowed(member: Member | None, item: Item, own: Member) -> Member | Stranger:
    if member is None:
        return Stranger(
            Reason.DEVICE_UNKNOWN,
            f"{item.name} is not registered in tenant {own.tenant}; register it, then send again",
        )
    if member.device not in own.assets:
        detail = f"{item.name} is not in the list of {own.device}; send it with that device's own token"
        return Stranger(Reason.ASSET_NOT_ALLOWED, detail)
    trouble = standing(member)
    return Stranger(*trouble) if trouble else member
