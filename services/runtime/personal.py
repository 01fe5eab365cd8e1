"""Personal values at rest: encrypted under a key of their person, unreadable for ever once that key is gone.

A sealed value is `enc:1:<person>:<base64url of nonce and AES-256-GCM ciphertext>`. A person is a user's id,
or the hash of an e-mail address. Keys stand in the database, where only erasure deletes them.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.runtime.postgres import Connection

ERASED: Final = "erased"
"""What a value reads as whose key is gone."""
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
EMAIL_FIELDS: Final = frozenset({"email", "recipient"})
"""Their values are e-mail addresses wherever they stand in a detail."""
_PERSON: Final = re.compile(r"[A-Za-z0-9@._:-]{1,128}")
_SEALED: Final = re.compile(r"enc:1:([A-Za-z0-9@._:-]{1,128}):([A-Za-z0-9_=-]+)")

KEY_OF: Final = "select personal_key_of($1, $2)"
KEYS: Final = "select person, key from personal_keys($1)"


@dataclass(frozen=True, slots=True)
class Personal:
    """A value in a detail that is about this person."""

    person: str
    value: str


def person_of_email(tenant: str, email: str) -> str:
    """By whom a key is kept while there is only an address; the database computes the same."""
    return "email:" + hashlib.sha256(f"{tenant}/{email.lower()}".encode()).hexdigest()


async def seal(db: Connection, person: str, value: str) -> str:
    """The value under the person's key, which is made when there is none; a sealed one stays as it is."""
    if _SEALED.fullmatch(value):
        return value
    if not _PERSON.fullmatch(person):
        person = "sha256:" + hashlib.sha256(person.encode()).hexdigest()
    key = bytes(await db.fetchval(KEY_OF, person, os.urandom(KEY_BYTES)))
    nonce = os.urandom(NONCE_BYTES)
    text = nonce + AESGCM(key).encrypt(nonce, value.encode(), person.encode())
    return f"enc:1:{person}:{base64.urlsafe_b64encode(text).decode()}"


async def seal_detail(db: Connection, detail: Mapping[str, object], tenant: str) -> dict[str, Any]:
    """A detail with its e-mail addresses and `Personal` values sealed."""
    return {name: await _seal_value(db, name, value, tenant) for name, value in detail.items()}


async def _seal_value(db: Connection, name: str, value: object, tenant: str) -> Any:
    match value:
        case Personal():
            return await seal(db, value.person, value.value)
        case str() if name in EMAIL_FIELDS and value:
            return await seal(db, person_of_email(tenant, value), value)
        case Mapping():
            return await seal_detail(db, value, tenant)
        case list() | tuple():
            return [await _seal_value(db, name, each, tenant) for each in value]
    return value


async def open_rows(db: Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with every sealed value in them readable, or `erased`; JSON text is looked into and stays text."""
    persons = {found[1] for row in rows for value in row.values() for found in _SEALED.finditer(_text(value))}
    if not persons:
        return [dict(row) for row in rows]
    keys = {row["person"]: AESGCM(bytes(row["key"])) for row in await db.fetch(KEYS, sorted(persons))}
    return [{name: _open_value(value, keys) for name, value in row.items()} for row in rows]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _open_value(value: Any, keys: Mapping[str, AESGCM]) -> Any:
    match value:
        case str():
            is_json = value[:1] in "{["
            return _SEALED.sub(lambda found: _opened(found, keys, is_json=is_json), value)
        case Mapping():
            return {name: _open_value(each, keys) for name, each in value.items()}
        case list():
            return [_open_value(each, keys) for each in value]
    return value


def _opened(found: re.Match[str], keys: Mapping[str, AESGCM], *, is_json: bool) -> str:
    key = keys.get(found[1])
    if key is None:
        return ERASED
    try:
        text = base64.urlsafe_b64decode(found[2])
        value = key.decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], found[1].encode()).decode()
    except (InvalidTag, ValueError):
        # Of an older key of the same person: that one was destroyed.
        return ERASED
    return json.dumps(value)[1:-1] if is_json else value
