"""Provisioning's door for boxes, over HTTPS: the root, enrolment, renewal.

The first look goes to a server that nobody vouches for yet: it fetches the root, which is believed because
its SHA-256 stands in the link. Whatever is told after that is told to a server which this root vouches for.
"""

import http.client
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from edge_agent.errors import Invalid, Unavailable

TIMEOUT_S: Final = 20.0
MOST_BYTES: Final = 1 << 20
NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
OTHER_NAME: Final = (62, 64)
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Link:
    """What a box is brought in with: `https://host:8443/enroll?root=<SHA-256 of the root>#<token>`."""

    base: str
    root_sha256: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the door said."""

    status: int
    body: bytes
    server_at: datetime | None
    retry_after: str = ""

    def document(self) -> Mapping[str, Any]:
        """Raises Unavailable for what is not our door's."""
        try:
            document = json.loads(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Unavailable(f"the server answers {self.status} with something that is not JSON")
        return document


def link_of(url: str) -> Link:
    """Raises Invalid; the token is never repeated in a message."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme != "https" or not host:
        raise Invalid(
            "the link must begin with https:// and name a server; copy all of it from the invitation"
        )
    root = (parse_qs(parts.query).get("root") or [""])[0].lower().replace(":", "")
    if not _FINGERPRINT.fullmatch(root):
        raise Invalid("the link has no root=<64 hexadecimal digits>; copy all of it, in single quotes")
    if not parts.fragment:
        raise Invalid(
            "the link has no token behind '#'; copy all of it, in single quotes: a shell cuts it off"
        )
    path = parts.path.rstrip("/").removesuffix("/enroll")
    return Link(f"https://{parts.netloc}{path}", root, parts.fragment)


def unverified() -> ssl.SSLContext:
    """For /cacerts alone, whose answer is judged by the fingerprint in the link."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ask(base: str, path: str, *, context: ssl.SSLContext, body: Mapping[str, object] | None = None) -> Answer:
    """GET, or POST of JSON. Raises Unavailable; Invalid where the server is not who it should be."""
    parts = urlsplit(base)
    where = f"{parts.hostname}:{parts.port or 443}"
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=context
    )
    try:
        if body is None:
            connection.request("GET", parts.path + path)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", parts.path + path, json.dumps(body), headers)
        reply = connection.getresponse()
        return Answer(
            reply.status,
            reply.read(MOST_BYTES),
            _instant(reply.getheader("Date", "")),
            reply.getheader("Retry-After", ""),
        )
    except ssl.SSLCertVerificationError as error:
        raise Invalid(_not_believed(base, where, error)) from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or repr(error)
        if isinstance(error, ssl.SSLError) and "alert" in reason.lower():
            raise Unavailable(f"{where} refuses this box's certificate: {reason}") from error
        raise Unavailable(f"no answer from {where}: {reason}") from error
    finally:
        connection.close()


def read_root(base: str) -> Answer:
    """The authority's certificates, from a server that nobody vouches for yet."""
    return ask(base, "/cacerts", context=unverified())


def off_by(ahead: timedelta) -> str:
    """A difference of clocks for people: `2 days 3 h ahead`."""
    seconds = abs(int(ahead.total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    text = f"{days} days {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return f"{text} {'ahead' if ahead > timedelta() else 'behind'}"


def clock_complaint(server_at: datetime | None, now: datetime, *, what: str) -> str:
    """Why a certificate is outside its time: our clock, as far as the server's Date tells."""
    if server_at is None or abs(now - server_at) < timedelta(minutes=5):
        return f"{what}; the clock of this box ({_text(now)}) agrees with the server's"
    return (
        f"{what}: the clock of this box says {_text(now)}, the server's {_text(server_at)}; it is "
        f"{off_by(now - server_at)}. Set the clock (or let NTP do it), then run this again"
    )


def _not_believed(base: str, where: str, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in OTHER_NAME:
        return f"{where} is not believed: {error.verify_message}; use the address that its certificate is for"
    if error.verify_code not in (NOT_YET_VALID, EXPIRED):
        return f"{where} is not believed: {error.verify_message}; this box believes its own root alone"
    try:
        server_at = read_root(base).server_at
    except Unavailable:
        server_at = None
    is_early = error.verify_code == NOT_YET_VALID
    what = f"the certificate of {where} is {'not valid yet' if is_early else 'expired'}"
    return clock_complaint(server_at, datetime.now(UTC), what=what)


def _instant(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
