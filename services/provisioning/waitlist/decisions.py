"""What is done with an applicant; an entry that is dismissed stays so."""

from uuid import UUID

from services.provisioning.model import Author, Barred
from services.provisioning.store import audit
from services.provisioning.waitlist import invitation, store
from services.runtime.postgres import Connection

DISMISSED = "dismissed"
INVITED = "invited"


async def decide(db: Connection, tenant_id: str, entry_id: UUID, decision: str, author: Author) -> None:
    """invite and queue leave the entry open (H-009); dismiss ends it, and writes to nobody (H-016)."""
    if decision == "dismiss":
        await _end(db, tenant_id, entry_id, decision, DISMISSED, author)
        return
    entry = await store.read_entry(db, tenant_id, entry_id, hold=True)
    if entry["state"] == DISMISSED:
        raise Barred(f"waitlist entry {entry_id} is dismissed ({entry['reason']}); it is not decided again")
    if entry["decision"] != decision:
        await store.decide(db, tenant_id, entry_id, decision=decision, reason=None, actor=author.actor)
        target = ("waitlist", str(entry_id))
        await audit(db, author, f"waitlist.{decision}", target, {}, tenant_id=tenant_id)


async def mark_invited(
    db: Connection, tenant_id: str, entry_id: UUID, token_url: str | None, author: Author
) -> None:
    """The invitation is out (H-015), or goes out by mail with this token."""
    is_new = await _end(db, tenant_id, entry_id, "invite", INVITED, author)
    if is_new and token_url:
        entry = await store.read_entry(db, tenant_id, entry_id)
        body = invitation.text(entry["name"], token_url)
        await store.write_notice(db, tenant_id, entry["email"], invitation.SUBJECT, body)


async def _end(
    db: Connection, tenant_id: str, entry_id: UUID, decision: str, reason: str, author: Author
) -> bool:
    entry = await store.read_entry(db, tenant_id, entry_id, hold=True)
    if entry["state"] == DISMISSED:
        if entry["reason"] != reason:
            raise Barred(f"waitlist entry {entry_id} is dismissed ({entry['reason']}) and stays so")
        return False
    await store.decide(db, tenant_id, entry_id, decision=decision, reason=reason, actor=author.actor)
    target = ("waitlist", str(entry_id))
    await audit(db, author, "waitlist.dismiss", target, {"reason": reason}, tenant_id=tenant_id)
    return True
