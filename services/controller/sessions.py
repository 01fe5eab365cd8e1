"""Which sessions an agent's status opens and closes.

A session is one run of an agent's process: its id is the boot_id. `birth` comes on every connect, `alive`
every 30 s, `gone` is the last will. Birth and gone are retained: after a restart of the gateway they are
seen once more, with a new time of reception and the old time of the agent. Kafka may repeat any message,
with both times old.

    no session   -- birth -->  open                     another open one of the device: closed, `replaced`
    open         -- gone -->   closed, `gone`           90 s without a message: closed, `stale`
    any          -- birth of a later connection -->     open, with a new connected_at (D-021)
    stale        -- alive -->  open, connected_at as it was: the connection never broke
    gone         -- alive -->  open, with a new connected_at: the will belonged to an older connection

The agent's clock only ever tells equal from different: it may be wrong, and jump when it is set right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from services.controller.model import Session

STALE_AFTER: Final = timedelta(seconds=90)
REPLACED: Final = "replaced"
GONE: Final = "gone"
STALE: Final = "stale"


class Kind(Enum):
    """What a status message says."""

    BIRTH = "birth"
    ALIVE = "alive"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Heard:
    """A status message: the session as it describes it, seen at `session.last_seen_at`."""

    kind: Kind
    session: Session


def after(heard: Heard, known: Mapping[str, Session]) -> tuple[Session, ...]:
    """The sessions that change, those that close first.

    `known` holds, by id, the session of this boot_id, and of this device the open and the newest one.
    """
    seen = heard.session
    own = known.get(seen.session_id)
    if own and (own.tenant_id, own.device_id) != (seen.tenant_id, seen.device_id):
        return ()  # nobody opens or closes the session of another identity
    match heard.kind:
        case Kind.BIRTH if own is None or _is_new_connection(own, seen):
            return *_replaced(seen, known), seen
        case Kind.ALIVE if own and own.disconnected_at and _is_alive_again(own, seen):
            if any(other.connected_at > own.connected_at for other in _others(seen, known)):
                return ()  # replaced: if it really lives, it was cut off and comes back with a birth
            connected_at = own.connected_at if own.close_reason == STALE else seen.last_seen_at
            return (
                replace(
                    own,
                    connected_at=connected_at,
                    last_seen_at=seen.last_seen_at,
                    disconnected_at=None,
                    close_reason=None,
                ),
            )
        case Kind.GONE if own and own.disconnected_at is None and seen.last_seen_at >= own.connected_at:
            return (replace(own, disconnected_at=seen.last_seen_at, close_reason=GONE),)
        case _:
            return ()


def next_look_s(oldest_seen_at: datetime | None, watching_since: datetime, now: datetime) -> float:
    """Seconds until a session can be stale at the earliest.

    One that opens later cannot be before STALE_AFTER has passed. A silence counts from when this process
    began to listen: it was deaf before.
    """
    oldest = max(oldest_seen_at or now, watching_since)
    return min(max((oldest + STALE_AFTER - now).total_seconds(), 0.1), STALE_AFTER.total_seconds())


def _is_new_connection(own: Session, seen: Session) -> bool:
    if seen.birth_at_us == own.birth_at_us:
        return False  # retained, or repeated by Kafka
    return seen.last_seen_at > max(own.connected_at, own.disconnected_at or own.connected_at)


def _is_alive_again(own: Session, seen: Session) -> bool:
    if own.close_reason == STALE:
        return seen.last_seen_at > own.last_seen_at
    return own.disconnected_at is not None and seen.last_seen_at > own.disconnected_at


def _others(seen: Session, known: Mapping[str, Session]) -> list[Session]:
    """Other sessions of the same device."""
    return [
        other
        for other in known.values()
        if other.session_id != seen.session_id
        and (other.tenant_id, other.device_id) == (seen.tenant_id, seen.device_id)
    ]


def _replaced(seen: Session, known: Mapping[str, Session]) -> tuple[Session, ...]:
    return tuple(
        replace(other, disconnected_at=seen.last_seen_at, close_reason=REPLACED)
        for other in _others(seen, known)
        if other.disconnected_at is None
    )
