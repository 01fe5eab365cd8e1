"""Who asks. A token says it; without one, only a program on this machine is known, as the default tenant.

"On this machine" is the address of the socket. A forwarding header never gives trust, it takes it away: the
request came through a proxy. So does a Host or Origin that is not this machine's: a page in a browser here
was made to ask.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from services.api.tokens import BadToken, Identity, read_token
from services.runtime.errors import Invalid

FORWARDING: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
LOCAL_USER: Final = "local"
LOCAL_ROLE: Final = "operator"


class Unknown(Invalid):
    """Nobody that we know; `reason` is a class without details."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Whom this process lets in."""

    key: str | None
    """None: no token can be checked"""
    local_tenant: str | None
    """None: nobody gets in without a token"""


def identify(headers: Mapping[str, str], peer: str | None, policy: Policy, *, now: datetime) -> Identity:
    """Who asks; raises Unknown. `headers` have lower-case names, `peer` is the socket's other end."""
    given = headers.get("authorization")
    if given is None:
        if policy.local_tenant is not None and _is_local(headers, peer):
            return Identity(policy.local_tenant, LOCAL_USER, LOCAL_ROLE)
        raise Unknown("missing", "a token is needed: send the header Authorization: Bearer <token>")
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unknown("scheme", "the header must be Authorization: Bearer <token>")
    if policy.key is None:
        raise Unknown("no key", "tokens cannot be checked here: API_TOKEN_KEY is not set")
    try:
        return read_token(policy.key, token.strip(), now=now)
    except BadToken as error:
        raise Unknown(str(error), f"the token is not valid ({error}); get a new one") from error


def _is_local(headers: Mapping[str, str], peer: str | None) -> bool:
    if peer is None or not _is_loopback(peer) or any(name in headers for name in FORWARDING):
        return False
    if not _is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
        return False
    origin = headers.get("origin")
    return origin is None or _is_loopback(urlsplit(origin).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
