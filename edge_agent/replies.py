"""What is said about a command: the protobuf replies."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from overwatt.split import Split
from overwatt.v1.agent_pb2 import Command, Reply, Share


@dataclass(frozen=True, slots=True)
class Outcome:
    """The split of record and what became of it."""

    split: Split
    failed: Mapping[str, str] = field(default_factory=dict)
    """assets that did not take their share, and why"""
    measured: Mapping[str, float | None] = field(default_factory=dict)
    """MW"""


def refused(command: Command, reason: str, *, is_expired: bool = False) -> Reply:
    return _reply(command, Reply.EXPIRED if is_expired else Reply.REJECTED, reason)


def applied(command: Command, outcome: Outcome) -> Reply:
    reply = _reply(command, Reply.APPLIED, "; ".join(outcome.failed.values()))
    _add_shares(reply, outcome)
    return reply


def followed(command: Command, outcome: Outcome) -> Reply:
    reply = _reply(command, Reply.VERIFIED, "")
    _add_shares(reply, outcome)
    return reply


def not_following(command: Command, reason: str, outcome: Outcome | Reply | None) -> Reply:
    """With the shares of an outcome, or of what was said before."""
    reply = _reply(command, Reply.NOT_FOLLOWING, reason)
    if isinstance(outcome, Outcome):
        _add_shares(reply, outcome)
    elif outcome is not None:
        reply.shares.extend(outcome.shares)
        reply.unplaced_mw, reply.unplaced_why = outcome.unplaced_mw, outcome.unplaced_why
    return reply


def _reply(command: Command, state: Reply.State, reason: str) -> Reply:
    return Reply(command_id=command.id, dispatch_id=command.dispatch_id, state=state, reason=reason)


def _add_shares(reply: Reply, outcome: Outcome) -> None:
    lost_mw = 0.0
    for share in outcome.split.shares:
        is_failed = share.asset in outcome.failed
        lost_mw += share.power_mw if is_failed else 0.0
        reply.shares.append(
            Share(
                asset=share.asset,
                raw_mw=share.raw_mw,
                clamped_mw=share.clamped_mw,
                residual_mw=share.residual_mw,
                power_mw=0.0 if is_failed else share.power_mw,
                measured_mw=outcome.measured.get(share.asset) or 0.0,
                limited_by="write_failed" if is_failed else share.limited_by,
            )
        )
    reply.unplaced_mw = outcome.split.unplaced_mw + lost_mw
    reply.unplaced_why = "; ".join(filter(None, (outcome.split.unplaced_why, *outcome.failed.values())))
