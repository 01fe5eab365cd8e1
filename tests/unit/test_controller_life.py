"""A command's state follows from what was said, not from when or how often."""

from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller import life
from services.controller.model import Reply

NOW = datetime(2026, 11, 21, tzinfo=UTC)
A, B = UUID(int=1), UUID(int=2)
words = st.lists(st.sampled_from(life.REPLY_STATES), max_size=12)


def fold(heard: list[str], state: str = life.ACCEPTED) -> str:
    for word in heard:
        state = life.stronger(state, word)
    return state


def a_reply(state: str, *assets: str, reason: str = "", unplaced_mw: float = 0.0, why: str = "") -> Reply:
    return Reply(
        tenant_id="t",
        device_id="d",
        command_id=A,
        state=state,
        reason=reason,
        allocations=tuple({"asset_id": asset, "mw": 1.0, "measured": None} for asset in assets),
        unplaced_mw=unplaced_mw,
        unplaced_why=why,
        at=NOW,
        received_at=NOW,
    )


@given(words, st.randoms(), words)
def test_neither_order_nor_repetition_of_replies_matters(
    heard: list[str], random: Random, repeated: list[str]
) -> None:
    again = [word for word in repeated if word in heard]
    shuffled = [*heard, *again]
    random.shuffle(shuffled)

    assert fold(shuffled) == fold(heard)


@given(words, st.booleans())
def test_a_command_never_goes_backwards(heard: list[str], is_superseded: bool) -> None:
    state = life.SUPERSEDED if is_superseded else life.ACCEPTED
    for word in heard:
        later = life.stronger(state, word)
        assert life.strength(later) >= life.strength(state)
        state = later
    assert not is_superseded or state == life.SUPERSEDED


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(life.REPLY_STATES)), max_size=20))
def test_a_dispatch_of_several_commands_never_goes_backwards(heard: list[tuple[int, str]]) -> None:
    commands = [life.ACCEPTED] * 3
    before = life.of_dispatch(commands)
    for index, word in heard:
        commands[index] = life.stronger(commands[index], word)
        state = life.of_dispatch(commands)
        assert life.strength(state) >= life.strength(before)
        before = state


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (["verified", "verified"], "verified"),
        (["verified", "applied"], "applied"),
        (["verified", "accepted"], "accepted"),
        (["verified", "not_following"], "not_following"),
        (["verified", "rejected"], "rejected"),
        (["verified", "expired"], "expired"),
        (["verified", "superseded"], "superseded"),
    ],
)
def test_a_dispatch_stands_where_its_weakest_command_stands(commands: list[str], expected: str) -> None:
    assert life.of_dispatch(commands) == expected


def test_a_late_reply_outweighs_that_nobody_had_answered() -> None:
    assert fold(["expired", "applied"]) == "applied"


def test_the_reason_says_how_many_commands_it_holds_for() -> None:
    states = {A: "rejected", B: "verified"}
    best = {A: a_reply("rejected", reason="MODE_OBSERVE"), B: a_reply("verified")}

    assert life.reason_of(states, best, "rejected") == "1 of 2 commands: MODE_OBSERVE"
    assert life.reason_of({A: "rejected"}, {A: best[A]}, "rejected") == "MODE_OBSERVE"
    assert life.reason_of({B: "verified"}, {B: best[B]}, "verified") is None


def test_the_result_joins_the_splits_of_all_commands_in_the_order_of_assets() -> None:
    best = {
        B: a_reply("verified", "c", unplaced_mw=1.5, why="c at max_mw"),
        A: a_reply("applied", "b", "a"),
    }

    result = life.result_of(best)

    assert result is not None
    assert [each["asset_id"] for each in result["allocations"]] == ["a", "b", "c"]  # type: ignore[attr-defined]
    assert (result["unplaced_mw"], result["unplaced_why"]) == (1.5, "c at max_mw")
    assert life.result_of({A: a_reply("rejected", reason="MODE_OBSERVE")}) is None
