"""Thresholds: when does a run of samples open an alert, and when does it close.

Worked on event time, per rule and device, newest sample seen so far onwards; older and repeated samples
change nothing. For `LT 10, clear 15, for 60 s`:

    value   20   9   8   7  12  16  9
    second   0  10  40  70  80  90  95
    phase   quiet pending..open ...quiet pending

Pending becomes open only when two breaching samples lie `for_s` apart and none between them did not breach:
one sample is never a full window. A silence inside the window does not clear it, since what was not
measured cannot. In the band between threshold and clear threshold an open alert stays open and a pending
one is forgotten.
"""

import enum
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.escalation.model import Comparison, Rule

Instants: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

SEEN_EVERY_US: Final = 60_000_000
"""How often an open alert that goes on breaching says so: a database write each time."""
NEVER: Final = -(2**62)


class Phase(enum.Enum):
    """Where a rule stands with one device."""

    QUIET = enum.auto()
    PENDING = enum.auto()
    OPEN = enum.auto()


class Step(enum.Enum):
    """What a sample did."""

    OPENED = enum.auto()
    SEEN = enum.auto()
    CLEARED = enum.auto()


@dataclass(frozen=True, slots=True)
class State:
    """What a rule remembers of one device."""

    phase: Phase = Phase.QUIET
    since_us: int = NEVER
    """First breaching sample while pending; last reported one while open."""
    last_us: int = NEVER
    """Newest sample that was judged."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A sample that opens, repeats or closes an alert."""

    step: Step
    at_us: int
    value: float


def breaches(comparison: Comparison, threshold: float, values: Values) -> Flags:
    """Which values are out of bounds; NaN never is."""
    match comparison:
        case Comparison.GT:
            return values > threshold
        case Comparison.LT:
            return values < threshold
        case Comparison.GTE:
            return values >= threshold
        case Comparison.LTE:
            return values <= threshold


def clears(rule: Rule, values: Values) -> Flags:
    """Which values close an open alert: not breaching, and not short of the clear threshold."""
    fine = ~breaches(rule.comparison, rule.threshold, values)
    if rule.clear_threshold is None:
        return fine
    if rule.comparison.is_upwards:
        return fine & (values <= rule.clear_threshold)
    return fine & (values >= rule.clear_threshold)


def judge(rule: Rule, state: State, ts_us: Instants, values: Values) -> tuple[State, list[Turn]]:
    """The state after these samples, and the turns on the way. Order and repetition do not matter."""
    ts_us, values = _new_samples(state.last_us, ts_us, values)
    if not len(ts_us):
        return state, []
    breaching = breaches(rule.comparison, rule.threshold, values)
    newest_us = int(ts_us[-1])
    if state.phase is not Phase.OPEN and not breaching.any():
        return State(last_us=newest_us), []
    turns: list[Turn] = []
    clearing = clears(rule, values)
    for row in range(len(ts_us)):
        state, turn = _sample(
            rule, state, int(ts_us[row]), float(values[row]), bool(breaching[row]), bool(clearing[row])
        )
        if turn:
            turns.append(turn)
    return replace(state, last_us=newest_us), turns


def _sample(
    rule: Rule, state: State, at_us: int, value: float, is_breach: bool, is_clear: bool
) -> tuple[State, Turn | None]:
    if state.phase is Phase.OPEN:
        if is_clear:
            return State(last_us=at_us), Turn(Step.CLEARED, at_us, value)
        if is_breach and at_us - state.since_us >= SEEN_EVERY_US:
            return State(Phase.OPEN, at_us, at_us), Turn(Step.SEEN, at_us, value)
        return state, None
    if not is_breach:
        return State(last_us=at_us), None
    since_us = state.since_us if state.phase is Phase.PENDING else at_us
    if at_us - since_us >= rule.for_s * 1_000_000:
        return State(Phase.OPEN, at_us, at_us), Turn(Step.OPENED, at_us, value)
    return State(Phase.PENDING, since_us, at_us), None


def _new_samples(last_us: int, ts_us: Instants, values: Values) -> tuple[Instants, Values]:
    usable = (ts_us > last_us) & ~np.isnan(values)
    if not usable.all():
        ts_us, values = ts_us[usable], values[usable]
    if len(ts_us) > 1 and not (ts_us[1:] >= ts_us[:-1]).all():
        order = np.argsort(ts_us, kind="stable")
        ts_us, values = ts_us[order], values[order]
    return ts_us, values
