"""Brings this box in, and keeps its certificate fresh: `python -m edge_agent enroll` and `renew`.

The key is made here and never leaves. It is kept from before the first try until an answer has come, so that
a lost answer costs nothing: the same command again, with the same key, gets the same certificate.
"""

import hashlib
import json
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.x509 import Certificate, load_pem_x509_certificate

from edge_agent import identity
from edge_agent.certificates import (
    Issued,
    Key,
    issued_for,
    key_of,
    new_key,
    pem,
    private_pem,
    request_for,
    root_in,
)
from edge_agent.door import Answer, ask, clock_complaint, link_of, read_root
from edge_agent.errors import Invalid, Unavailable
from edge_agent.identity import BoxIdentity

NEW_LINK: Final = "ask the operator for a new enrolment link and run `python -m edge_agent enroll` with it"
_REFUSALS: Final = {
    400: "the server does not understand what this box sends",
    403: "refused",
    409: "this box may not come in now",
    410: f"the link is unknown, used, expired or withdrawn; {NEW_LINK}",
    422: "the server does not understand what this box sends",
}
_PENDING: Final = "pending-{}.pem"

Say = Callable[[str, str], None]
"""Tells a person: the step, and what came of it."""


def now_utc() -> datetime:
    return datetime.now(UTC)


def enroll(
    url: str, email: str, directory: Path, *, say: Say, now: Callable[[], datetime] = now_utc
) -> BoxIdentity:
    """This box with an identity of its own; may be repeated. Raises Invalid, Unavailable."""
    link = link_of(url)
    pending = _pending(directory, link.token)
    key = _key_at(pending, say)
    looked = read_root(link.base)
    _check_status(looked)
    root = root_in(looked.body, link.root_sha256)
    say("server", f"{link.base} shows the root certificate that the link names")
    answer = ask(
        link.base,
        "/enroll",
        context=ssl.create_default_context(cadata=pem(root).decode()),
        body={"token": link.token, "email": email, "csr": request_for(key)},
    )
    if answer.status == 403:
        raise Invalid(
            f"the link was not made for {email}{_detail(answer)}; give the e-mail address that the "
            "invitation was sent to"
        )
    return _take(answer, pending, key, root, say=say, now=now)


def renew(directory: Path, *, say: Say, now: Callable[[], datetime] = now_utc) -> BoxIdentity:
    """The same identity with a fresh certificate; the old one stays valid. Raises Invalid, Unavailable."""
    box = identity.load(directory)
    if now() >= box.not_after:
        raise Invalid(expired(box, now()))
    pending = _pending(directory, box.serial)
    key = _key_at(pending, say)
    context = identity.tls_context(directory)
    root = load_pem_x509_certificate((directory / identity.ROOT).read_bytes())
    answer = ask(box.enrol_url, "/renew", context=context, body={"csr": request_for(key)})
    if answer.status in (401, 403, 409):
        raise Invalid(f"the server does not renew this box's certificate{_detail(answer)}; {NEW_LINK}")
    return _take(answer, pending, key, root, say=say, now=now)


def expired(box: BoxIdentity, now: datetime) -> str:
    """What to do about a certificate whose time is over, or seems to be."""
    what = f"the certificate of this box expired on {box.not_after:%Y-%m-%d %H:%M} UTC"
    try:
        server_at = read_root(box.enrol_url).server_at
    except (Unavailable, Invalid):
        return f"{what}; {NEW_LINK}"
    if server_at and server_at < box.not_after:
        return clock_complaint(server_at, now, what=what)
    return f"{what}; {NEW_LINK}"


def _take(
    answer: Answer,
    pending: Path,
    key: Key,
    root: Certificate,
    *,
    say: Say,
    now: Callable[[], datetime],
) -> BoxIdentity:
    """What the door answered becomes the identity of this box."""
    _check_status(answer)
    directory = pending.parent
    document = answer.document()
    issued = issued_for(key, document, root)
    files = _files(document, key, issued, root, now())
    identity.install(directory, files)
    for other in set(directory.glob(_PENDING.format("*"))) - {pending}:
        other.unlink(missing_ok=True)
    box = identity.load(directory)
    say("identity", f"{box.tenant}/{box.box}, site {box.site_name or box.site}")
    say("certificate", f"serial {box.serial}, until {box.not_after:%Y-%m-%d %H:%M} UTC")
    say("written", f"{directory}: {', '.join(sorted(files))}")
    if identity.ASSETS not in files:
        say("assets", "none known yet; an assets file of your own is named with ASSETS_PATH")
    if not issued.certificate.not_valid_before_utc <= now() < box.not_after:
        what = "this box has its identity, but the certificate is not valid now"
        raise Invalid(clock_complaint(answer.server_at, now(), what=what))
    return box


def _files(
    document: Mapping[str, Any], key: Key, issued: Issued, root: Certificate, now: datetime
) -> dict[str, bytes]:
    certificate = issued.certificate
    box = identity.box_document(
        document,
        serial=issued.serial,
        issued_at=max(now, certificate.not_valid_before_utc),
        not_after=certificate.not_valid_after_utc,
    )
    files = {
        identity.KEY: private_pem(key),
        identity.CERTIFICATE: pem(certificate) + issued.chain,
        identity.CHAIN: issued.chain,
        identity.ROOT: pem(root),
        identity.BOX: json.dumps(box, indent=2).encode() + b"\n",
    }
    if assets := document.get("assets"):
        site = {"id": box["site"], "name": box["site_name"], "assets": assets}
        files[identity.ASSETS] = yaml.safe_dump({"sites": [site]}, sort_keys=False).encode()
    return files


def _pending(directory: Path, occasion: str) -> Path:
    """Where the key of one enrolment or renewal is kept, until the next one: any repetition finds it."""
    return directory / _PENDING.format(hashlib.sha256(occasion.encode()).hexdigest()[:16])


def _key_at(path: Path, say: Say) -> Key:
    try:
        key = key_of(path.read_bytes())
        say("key", "the one of the try before")
        return key
    except ValueError:
        path.unlink()  # cut off while it was written
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error}") from error
    key, directory = new_key(), path.parent
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity.write_private(path, private_pem(key))
    except OSError as error:
        raise Invalid(
            f"the identity cannot be written to {directory}: {error}; name another place"
        ) from error
    say("key", f"made on this box, in {directory}, for its owner's eyes only")
    return key


def _check_status(answer: Answer) -> None:
    """Raises Invalid, or Unavailable where it may work later."""
    if answer.status == 200:
        return
    if answer.status == 429:
        raise Unavailable(f"too many tries; run the same command again in {answer.retry_after or 60} s")
    if answer.status in _REFUSALS:
        raise Invalid(f"{_REFUSALS[answer.status]}{_detail(answer)}")
    raise Unavailable(f"the server answers {answer.status}{_detail(answer)}; run the same command later")


def _detail(answer: Answer) -> str:
    if answer.status == 410:
        return ""  # one and the same for all, on purpose
    try:
        detail = answer.document().get("detail")
    except Unavailable:
        return ""
    return f" ({detail})" if isinstance(detail, str) else ""
