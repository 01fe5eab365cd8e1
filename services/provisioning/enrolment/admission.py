"""Who gets a certificate: by a token that a person issued, or by the certificate that is still good.

A token is spent by one key; that key may ask again while the token's time lasts, since an answer can be lost.
A token for a box that is in already is a replacement: what the old hardware had is revoked and cut.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from cryptography import x509

from overwatt.topics import identity
from services.provisioning import store as registry
from services.provisioning.enrolment import store
from services.provisioning.enrolment.authority import Authority, pem, serial_of
from services.provisioning.enrolment.limits import Strikes
from services.provisioning.enrolment.model import (
    Admitted,
    Applicant,
    Certificate,
    Reason,
    Refused,
    Via,
)
from services.provisioning.enrolment.revocation import revoke
from services.provisioning.enrolment.tokens import EnrolToken, hash_of, judge
from services.provisioning.model import Author, Box
from services.runtime.errors import Invalid
from services.runtime.postgres import Connection

OBSERVE = "observe"


async def enrol(
    db: Connection,
    authority: Authority,
    token: str,
    email: str,
    applicant: Applicant,
    now: datetime,
    *,
    strikes: Strikes,
) -> Admitted | Refused:
    """Redeem a token. What is refused changes nothing but the audit log; commit it all the same.

    A token that nobody issued leaves no row there: strangers could fill it for ever.
    """
    token_hash = hash_of(token)
    found = await store.read_token(db, token_hash)
    if found is None:
        return Refused("unknown")
    # All attempts for one box take turns; what was read before may have changed meanwhile.
    box = await registry.hold_box(db, found.tenant_id, found.box_id)
    standing = await store.hold_device(db, found.tenant_id, found.box_id)
    held = await store.read_token(db, token_hash)
    if held is None:
        return Refused("unknown")
    who = _named(applicant, held.tenant_id, held.box_id)
    verdict = judge(held, email, who.spki_sha256, now)
    if verdict == "again":
        return await _again(db, held, who)
    if verdict == "fresh" and standing.may_come_in:
        before = None if standing.is_enrolled else box
        return await _admit(db, authority, held, before, who, now)
    if verdict == "email" and strikes.is_out(token_hash):
        await store.withdraw_tokens(db, held.tenant_id, held.box_id, held.prefix)
    return await _refuse(db, held, who.author, "state" if verdict == "fresh" else verdict)


async def renew(
    db: Connection, authority: Authority, presented: x509.Certificate, applicant: Applicant, now: datetime
) -> Admitted | Refused:
    """A new certificate for whoever holds a good one; the old one stays good until it expires."""
    known = await store.read_certificate(db, serial_of(presented))
    if known is None:
        return Refused("foreign")
    who = _named(applicant, known.tenant_id, known.device_id)
    standing = await store.hold_device(db, known.tenant_id, known.device_id)
    current = await store.read_certificate(db, known.serial)
    reason: Reason | None = None
    if current is None or current.revoked_at is not None:
        reason = "revoked"
    elif now >= known.not_after:
        reason = "expired"
    elif not standing.is_in:
        reason = "state"
    if reason:
        detail = {"at": "renew", "reason": reason, "serial": known.serial}
        await _audit(db, who.author, "enrol.refused", known.tenant_id, known.device_id, detail)
        return Refused(reason)
    if successor := await store.read_successor(db, known, who.spki_sha256):
        return Admitted(successor, "again")
    issued = _issue(authority, known.tenant_id, known.device_id, who, "renew", now)
    await store.insert_certificate(db, issued)
    detail = {"serial": issued.serial, "before": known.serial, "not_after": issued.not_after.isoformat()}
    await _audit(db, who.author, "certificate.renewed", known.tenant_id, known.device_id, detail)
    return Admitted(issued, "renew")


async def _again(db: Connection, token: EnrolToken, who: Applicant) -> Admitted | Refused:
    assert token.serial is not None
    certificate = await store.read_certificate(db, token.serial)
    if certificate is None or certificate.revoked_at is not None:
        return await _refuse(db, token, who.author, "used")
    return Admitted(certificate, "again")


async def _admit(
    db: Connection,
    authority: Authority,
    token: EnrolToken,
    newcomer: Box | None,
    who: Applicant,
    now: datetime,
) -> Admitted:
    """Let it in; `newcomer` is a box that has never been, None stands for a replacement."""
    tenant, box = token.tenant_id, token.box_id
    via: Via = "enrol" if newcomer else "replace"
    issued = _issue(authority, tenant, box, who, via, now)
    if not await store.use_token(db, token.token_hash, now, who.spki_sha256, issued.serial):
        raise AssertionError("a token that was judged fresh under its box's lock could not be used")
    if newcomer:
        await _observe(db, newcomer, who.author)
    else:
        await revoke(db, tenant, box, reason="superseded", author=who.author)
    await store.insert_certificate(db, issued)
    await store.enter(db, tenant, box, now)
    detail = {"serial": issued.serial, "prefix": token.prefix, "not_after": issued.not_after.isoformat()}
    action = "box.enrolled" if newcomer else "box.replaced"
    await _audit(db, who.author, action, tenant, box, detail)
    return Admitted(issued, via)


async def _observe(db: Connection, before: Box, author: Author) -> None:
    """Whoever is new is watched first, also where an assets file has said otherwise."""
    if before.mode == OBSERVE:
        return
    tenant, box = before.tenant_id, before.box_id
    after = await registry.set_box(db, tenant, box, mode=OBSERVE, opt_ins=before.opt_ins)
    detail = {
        "before": {"mode": before.mode, "mode_epoch": before.mode_epoch},
        "after": {"mode": after.mode, "mode_epoch": after.mode_epoch},
    }
    await _audit(db, author, "box.mode_flip", tenant, box, detail)


def _issue(
    authority: Authority, tenant: str, device: str, who: Applicant, via: Via, now: datetime
) -> Certificate:
    try:
        certificate = authority.issue_device(who.key, tenant, device, now)
    except Invalid as error:
        raise AssertionError(f"the registry holds a name that no certificate may bear: {error}") from error
    return Certificate(
        serial=serial_of(certificate),
        tenant_id=tenant,
        device_id=device,
        spki_sha256=who.spki_sha256,
        pem=pem(certificate),
        via=via,
        issued_at=now,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        revoked_at=None,
        revoke_reason=None,
    )


async def _refuse(db: Connection, token: EnrolToken, author: Author, reason: Reason) -> Refused:
    detail = {"at": "enroll", "reason": reason, "prefix": token.prefix}
    await _audit(db, author, "enrol.refused", token.tenant_id, token.box_id, detail)
    return Refused(reason)


async def _audit(
    db: Connection, author: Author, action: str, tenant: str, box: str, detail: Mapping[str, object]
) -> None:
    await registry.audit(db, author, action, ("box", box), detail, tenant_id=tenant)


def _named(applicant: Applicant, tenant: str, device: str) -> Applicant:
    """In the audit log the box itself is who acts."""
    return replace(applicant, author=replace(applicant.author, actor=identity(tenant, device)))
