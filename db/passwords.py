"""Passwords of the services' login roles, handed to the server only as SCRAM verifiers.

So no server log holds a password, and a role is altered only when its password really differs: several
databases of one server may be migrated at once.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

import asyncpg

LOGIN_ROLES: Final = ("ingest", "controller", "escalation", "provisioning", "api", "broker")
ITERATIONS: Final = 4096


def scram_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """What PostgreSQL stores for a password (RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def matches(verifier: str | None, password: str) -> bool:
    """Whether a stored verifier is of this password."""
    if verifier is None or not verifier.startswith("SCRAM-SHA-256$"):
        return False
    iterations, salt = verifier.split("$")[1].split(":")
    return hmac.compare_digest(verifier, scram_verifier(password, base64.b64decode(salt), int(iterations)))


async def set_passwords(connection: "asyncpg.Connection[asyncpg.Record]", password: str) -> None:
    """Give every login role this password."""
    rows = await connection.fetch(
        "select rolname, rolpassword from pg_authid where rolname = any($1::text[])", list(LOGIN_ROLES)
    )
    for row in rows:
        if not matches(row["rolpassword"], password):
            verifier = scram_verifier(password, secrets.token_bytes(16))
            await connection.execute(f"alter role {row['rolname']} login password '{verifier}'")


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
