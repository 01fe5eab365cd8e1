"""Where a webhook may lead: never into our own network (SSRF).

Three looks. At creation the text of the URL (`check_url`) and what its name resolves to; at every connect
each resolved address again, and the connection then goes to exactly the address that was checked, so a
name that changes its mind between look and connect gains nothing.

`ipaddress.is_global` is not such a check: it calls 64:ff9b::a9fe:a9fe, 224.0.0.1 and 168.63.129.16 global.
IPv6 is therefore allowed by the one range that is routed, less its special parts; IPv4 denied by list.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from services.runtime.errors import Invalid

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

DENIED_V4: Final = (
    ipaddress.IPv4Network("0.0.0.0/8"),
    ipaddress.IPv4Network("10.0.0.0/8"),
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv4Network("172.16.0.0/12"),
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.0.2.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv4Network("192.168.0.0/16"),
    ipaddress.IPv4Network("198.18.0.0/15"),
    ipaddress.IPv4Network("198.51.100.0/24"),
    ipaddress.IPv4Network("203.0.113.0/24"),
    ipaddress.IPv4Network("224.0.0.0/4"),
    ipaddress.IPv4Network("240.0.0.0/4"),
    ipaddress.IPv4Network("168.63.129.16/32"),
)
ROUTED_V6: Final = ipaddress.IPv6Network("2000::/3")
DENIED_V6: Final = (
    ipaddress.IPv6Network("2001::/23"),
    ipaddress.IPv6Network("2001:db8::/32"),
    ipaddress.IPv6Network("2002::/16"),
    ipaddress.IPv6Network("3fff::/20"),
)
METADATA: Final = (
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv4Network("100.100.100.200/32"),
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv4Network("192.0.0.192/32"),
    ipaddress.IPv6Network("fd00:ec2::254/128"),
)
"""Cloud metadata services: no operator can allow these."""
LOOPBACK: Final = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
INTERNAL_SUFFIXES: Final = (
    *(".localhost", ".local", ".localdomain", ".internal", ".intranet", ".lan", ".home", ".corp"),
    *(".private", ".svc", ".home.arpa", ".docker"),
)
HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
)
"""Two labels or more, the last one not a number: so no decimal, octal or hexadecimal address."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allows beyond the public internet."""

    allowed_networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({443, 8443})
    """Of addresses outside the allowed networks; inside them any port will do."""
    in_production: bool = True


class Blocked(Invalid):
    """This webhook may not be called."""


def check_policy(policy: Policy) -> None:
    """Refuse an allow-list that no operator may want. Raises Invalid."""
    for network in policy.allowed_networks:
        if any(_overlap(network, forbidden) for forbidden in METADATA):
            raise Invalid(f"WEBHOOK_ALLOWED_NETWORKS: {network} covers a cloud metadata address; narrow it")
        if policy.in_production and any(_overlap(network, loopback) for loopback in LOOPBACK):
            raise Invalid(
                f"WEBHOOK_ALLOWED_NETWORKS: {network} covers loopback, refused with ENVIRONMENT=production"
            )


def check_url(url: str, policy: Policy) -> SplitResult:
    """The parts of a URL whose text is acceptable. Raises Blocked with what would be right."""
    parts = _split(url)
    host = parts.hostname or ""
    if not host:
        raise Blocked("url: has no host; give https://host/path")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise Blocked("url: may not carry user or password before the host")
    address = _literal(host)
    if address is not None:
        check_address(address, policy)
    elif not HOST_NAME.fullmatch(host) or any(host.endswith(suffix) for suffix in INTERNAL_SUFFIXES):
        raise Blocked(
            f"url: host {host!r} must be a public name such as hooks.example.org, or a public address"
        )
    is_inside = address is not None and is_allowed_by_operator(address, policy)
    _check_scheme(parts.scheme, is_inside, policy)
    _check_port(parts, is_inside, policy)
    return parts


def check_address(address: Address, policy: Policy) -> None:
    """Raises Blocked for an address that is not on the public internet, unless the operator allowed it."""
    if is_allowed_by_operator(address, policy):
        return
    if isinstance(address, ipaddress.IPv4Address):
        denied = any(address in network for network in DENIED_V4)
    else:
        denied = address not in ROUTED_V6 or any(address in network for network in DENIED_V6)
    if denied:
        raise Blocked(
            "url: leads to an address that is not on the public internet; "
            "the operator can allow a network with WEBHOOK_ALLOWED_NETWORKS"
        )


def check_addresses(found: Sequence[str], policy: Policy) -> list[Address]:
    """All addresses of a name, if every single one is acceptable. Raises Blocked."""
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
    for address in addresses:
        check_address(address, policy)
    if not addresses:
        raise Blocked("url: the host has no address")
    return addresses


def is_allowed_by_operator(address: Address, policy: Policy) -> bool:
    """Whether WEBHOOK_ALLOWED_NETWORKS names it; metadata services never."""
    if any(address in network for network in METADATA):
        return False
    return any(address in network for network in policy.allowed_networks)


def _split(url: str) -> SplitResult:
    if not url.isascii() or any(character <= " " or character in '\\"<>^`{|}\x7f' for character in url):
        raise Blocked("url: must be plain ASCII without blanks (an international name in its xn-- form)")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Blocked(f"url: {error}; give https://host/path") from error
    return parts


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _check_scheme(scheme: str, is_inside: bool, policy: Policy) -> None:
    if scheme == "https" or (scheme == "http" and is_inside and not policy.in_production):
        return
    raise Blocked(
        f"url: scheme {scheme!r} must be https (http only in development, for addresses in "
        "WEBHOOK_ALLOWED_NETWORKS)"
    )


def _check_port(parts: SplitResult, is_inside: bool, policy: Policy) -> None:
    port = parts.port if parts.port is not None else {"https": 443, "http": 80}[parts.scheme]
    if port == 0 or not (is_inside or port in policy.ports):
        raise Blocked(f"url: port {port} must be one of {', '.join(map(str, sorted(policy.ports)))}")


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
