"""The life of a command and of a dispatch: which word follows from what has been heard.

    accepted -> applied -> verified | not_following        (superseded: a newer dispatch took its place)
             -> rejected
             -> expired

A state is as strong as its evidence: that the power followed outweighs that it was written, which
outweighs a refusal (an earlier copy may have been applied), which outweighs that nobody answered. The
strongest word heard counts, so neither order nor repetition matter and nothing goes backwards: a reply
that arrives after `expired` still says what is true. `delivered` is never seen alone: the agent's reply
is the proof of delivery and says `applied` at once.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from services.controller.model import Reply

ACCEPTED: Final = "accepted"
EXPIRED: Final = "expired"
REJECTED: Final = "rejected"
APPLIED: Final = "applied"
NOT_FOLLOWING: Final = "not_following"
VERIFIED: Final = "verified"
SUPERSEDED: Final = "superseded"

UNFINISHED: Final = (ACCEPTED, "delivered", APPLIED)
_STRENGTH: Final = {
    ACCEPTED: 0,
    "delivered": 1,
    EXPIRED: 2,
    REJECTED: 3,
    APPLIED: 4,
    NOT_FOLLOWING: 5,
    VERIFIED: 6,
    SUPERSEDED: 7,
}
REPLY_STATES: Final = (EXPIRED, REJECTED, APPLIED, NOT_FOLLOWING, VERIFIED)


def stronger(state: str, heard: str) -> str:
    """The state of a command after one more word on it."""
    return max(state, heard, key=_STRENGTH.__getitem__)


def strength(state: str) -> int:
    """Rank of a state; along a command's life it only rises."""
    return _STRENGTH[state]


def of_dispatch(commands: Sequence[str]) -> str:
    """The state of a dispatch: that of its weakest command, since all of them were asked for."""
    if SUPERSEDED in commands:
        return SUPERSEDED
    return min(commands, key=_STRENGTH.__getitem__)


def best_reply(replies: Sequence[Reply]) -> Reply:
    """Of the replies to one command the one with the strongest evidence."""
    return max(replies, key=lambda reply: _STRENGTH[reply.state])


def reason_of(states: Mapping[UUID, str], best: Mapping[UUID, Reply], state: str) -> str | None:
    """Why a dispatch of several commands is where it is: the reasons of the commands that hold it there."""
    reasons = {
        best[command].reason
        for command, own in states.items()
        if own == state and command in best and best[command].state == state and best[command].reason
    }
    if not reasons:
        return None
    text = "; ".join(sorted(reasons))
    holding = sum(own == state for own in states.values())
    return text if len(states) == 1 else f"{holding} of {len(states)} commands: {text}"


def result_of(best: Mapping[UUID, Reply]) -> dict[str, object] | None:
    """The split of record of a dispatch, with what was measured; None before any was reported."""
    allocations = [allocation for reply in best.values() for allocation in reply.allocations]
    if not allocations:
        return None
    return {
        "allocations": sorted(allocations, key=lambda allocation: str(allocation["asset_id"])),
        "unplaced_mw": sum(reply.unplaced_mw for reply in best.values()),
        "unplaced_why": "; ".join(
            sorted({reply.unplaced_why for reply in best.values() if reply.unplaced_why})
        ),
    }
