"""Simple devices: an activation code is typed in once, and becomes the token that the device keeps (U-P08).

They speak MQTT over TLS on 8884, user `<tenant>/<device>`, password the token. One token is live at a time.
"""

from dataclasses import dataclass
from datetime import datetime

from overwatt.topics import identity
from services.provisioning import store as registry
from services.provisioning.enrolment import simple_store as simple
from services.provisioning.enrolment import store
from services.provisioning.enrolment.model import Standing
from services.provisioning.enrolment.revocation import cut_session
from services.provisioning.enrolment.simple_store import Owner
from services.provisioning.enrolment.tokens import (
    CODE_TTL,
    PREFIX,
    hash_of,
    mosquitto_hash,
    new_code,
    new_token,
    normal_code,
)
from services.provisioning.model import AGENT, Author, Barred
from services.runtime.postgres import Connection


@dataclass(frozen=True, slots=True)
class Activated:
    """A device has a token, shown this once."""

    owner: Owner
    token: str

    @property
    def username(self) -> str:
        """At the broker; the client id too."""
        return identity(self.owner.tenant_id, self.owner.device_id)

    def __repr__(self) -> str:
        return f"Activated({self.owner})"


async def issue_code(db: Connection, owner: Owner, author: Author, now: datetime) -> tuple[str, datetime]:
    """A code, and until when. Raises Unknown, Barred."""
    standing = await _hold(db, owner)
    if not standing.may_come_in:
        raise Barred(f"no code: {standing}; enable it first")
    code, expires_at = new_code(), now + CODE_TTL
    await simple.insert_code(db, hash_of(code), owner, now, expires_at)
    await _audit(db, author, "activation_code.issued", owner, {"expires_at": expires_at.isoformat()})
    return code, expires_at


async def activate(db: Connection, typed: str, author: Author, now: datetime) -> Activated | None:
    """The device's token, or None: unknown, used, expired, or the device may not come in."""
    code_hash = hash_of(normal_code(typed))
    owner = await simple.read_code(db, code_hash)
    if owner is None:
        return None
    author = Author(identity(owner.tenant_id, owner.device_id), author.address, author.request_id)
    standing = await _hold(db, owner)
    if not standing.may_come_in or not await simple.use_code(db, code_hash, now):
        await _audit(db, author, "activation.refused", owner, {"standing": str(standing)})
        return None
    token = await _give_token(db, owner, author, "device.activated")
    await store.set_device_state(db, owner.tenant_id, owner.device_id, "active")
    return Activated(owner, token)


async def rotate(db: Connection, owner: Owner, author: Author) -> str:
    """A new token; the old one is void and its session ends. Raises Unknown, Barred."""
    standing = await _hold(db, owner)
    if not standing.is_in:
        raise Barred(f"no token: {standing}; issue an activation code, or enable it first")
    return await _give_token(db, owner, author, "device.token_rotated")


async def _give_token(db: Connection, owner: Owner, author: Author, action: str) -> str:
    token = new_token()
    prefix = token[:PREFIX]
    old = await simple.replace_token(
        db, owner, token_hash=hash_of(token), prefix=prefix, mosquitto_hash=mosquitto_hash(token)
    )
    if old:
        await cut_session(db, owner.tenant_id, owner.device_id, "superseded")
    await _audit(db, author, action, owner, {"prefix": prefix, "replaced": old})
    return token


async def _hold(db: Connection, owner: Owner) -> Standing:
    standing = await store.hold_device(db, owner.tenant_id, owner.device_id)
    if standing.type == AGENT:
        raise Barred(
            f"{identity(owner.tenant_id, owner.device_id)} is the agent of a box: it takes an enrolment token"
        )
    return standing


async def _audit(
    db: Connection, author: Author, action: str, owner: Owner, detail: dict[str, object]
) -> None:
    target = ("device", owner.device_id)
    await registry.audit(db, author, action, target, detail, tenant_id=owner.tenant_id)
