"""Tokens for development: signed, short-lived, with tenant, user and role."""

import os
import secrets
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt

from overwatt.topics import TENANT, is_tenant
from services.runtime.errors import Invalid

ALGORITHM: Final = "HS256"
SHORTEST_KEY: Final = 32
ROLES: Final = ("customer", "tenant-admin", "installer", "operator", "operator-admin")
LONGEST_TTL_S: Final = 24 * 3600
LONGEST_USER: Final = 128


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, for which tenant, as what."""

    tenant: str
    user: str
    role: str


class BadToken(Invalid):
    """A token that proves nothing; the message is the class of the reason and no more."""


def make_token(key: str, who: Identity, *, now: datetime, ttl_s: int) -> str:
    """A signed token; raises Invalid."""
    if not is_tenant(who.tenant):
        raise Invalid(f"--tenant is {who.tenant!r}; it must match {TENANT.pattern}")
    if who.role not in ROLES:
        raise Invalid(f"--role is {who.role!r}; it must be one of {', '.join(ROLES)}")
    if not _is_user(who.user):
        raise Invalid(f"--user is {who.user!r}; it must be 1 to {LONGEST_USER} printable ASCII characters")
    if not 0 < ttl_s <= LONGEST_TTL_S:
        raise Invalid(f"--ttl is {ttl_s}; it must be 1 to {LONGEST_TTL_S} seconds")
    claims = {
        "tenant": who.tenant,
        "sub": who.user,
        "role": who.role,
        "iat": now,
        "exp": now + timedelta(seconds=ttl_s),
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def read_token(key: str, token: str, *, now: datetime) -> Identity:
    """Who a token says is asking; raises BadToken."""
    try:
        # Times are checked below against `now`, which is a value here like any other.
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            options={
                "require": ["exp", "sub", "tenant", "role"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.InvalidSignatureError as error:
        raise BadToken("signature") from error
    except jwt.InvalidAlgorithmError as error:
        raise BadToken("algorithm") from error
    except jwt.MissingRequiredClaimError as error:
        raise BadToken("claims") from error
    except jwt.PyJWTError as error:
        raise BadToken("malformed") from error
    expires, tenant, user, role = (claims[name] for name in ("exp", "tenant", "sub", "role"))
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        raise BadToken("claims")
    if now.timestamp() >= expires:
        raise BadToken("expired")
    if not isinstance(tenant, str) or not is_tenant(tenant) or role not in ROLES or not _is_user(user):
        raise BadToken("claims")
    return Identity(tenant, user, role)


def _is_user(user: object) -> bool:
    return isinstance(user, str) and 0 < len(user) <= LONGEST_USER and user.isascii() and user.isprintable()


def signing_key(configured: str | None, home: Path, *, in_production: bool) -> str | None:
    """API_TOKEN_KEY; else in development the key of `home`, made when it is missing; else none.

    Exits with a sentence for a key that is too short or that others can read.
    """
    if configured:
        if len(configured.encode()) < SHORTEST_KEY:
            raise SystemExit(f"Error: API_TOKEN_KEY is too short; it needs {SHORTEST_KEY} bytes at least.")
        return configured
    return None if in_production else _kept_key(home / "token.key")


def _kept_key(path: Path) -> str:
    try:
        if not path.exists():
            _make_key(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SystemExit(f"Error: {path} can be read by others; run: chmod 600 {path}")
        return path.read_text().strip()
    except OSError as error:
        raise SystemExit(
            f"Error: cannot use the key file {path} ({error.strerror}). "
            "Set OVERWATT_HOME to a directory of your own, or set API_TOKEN_KEY."
        ) from error


def _make_key(path: Path) -> None:
    """Whole or not at all: another process that starts now must find the same key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
