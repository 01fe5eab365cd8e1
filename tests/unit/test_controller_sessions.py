"""Sessions follow an agent's status, whatever is repeated, retained or late (D-021, D-031)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.controller.model import Session
from services.controller.sessions import GONE, REPLACED, STALE, Heard, Kind, after, next_look_s

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def heard(kind: Kind, boot: str, second: float, *, born: int = 0, device: str = "site-a") -> Heard:
    """A message that the gateway received at `second`; `born` is the agent's own time in it."""
    return Heard(
        kind,
        Session(
            session_id=boot,
            tenant_id="tenant-a",
            device_id=device,
            connected_at=at(second),
            birth_at_us=born,
            last_seen_at=at(second),
        ),
    )


def fold(messages: Sequence[Heard], known: dict[str, Session] | None = None) -> dict[str, Session]:
    sessions = dict(known or {})
    for message in messages:
        sessions |= {session.session_id: session for session in after(message, sessions)}
    return sessions


def is_open(session: Session) -> bool:
    return session.disconnected_at is None


def test_a_birth_opens_a_session() -> None:
    sessions = fold([heard(Kind.BIRTH, "boot-1", 0, born=1)])

    assert is_open(sessions["boot-1"])
    assert sessions["boot-1"].connected_at == at(0)


def test_three_restarts_leave_one_open_session_and_three_closed() -> None:  # D-031
    sessions = fold([heard(Kind.BIRTH, f"boot-{n}", n, born=n) for n in range(4)])

    assert [name for name, session in sessions.items() if is_open(session)] == ["boot-3"]
    assert [sessions[f"boot-{n}"].close_reason for n in range(3)] == [REPLACED] * 3


def test_the_session_that_closes_comes_before_the_one_that_opens() -> None:
    known = fold([heard(Kind.BIRTH, "boot-1", 0, born=1)])

    changed = after(heard(Kind.BIRTH, "boot-2", 5, born=2), known)

    assert [session.session_id for session in changed] == ["boot-1", "boot-2"]


def test_a_retained_birth_seen_again_changes_nothing() -> None:
    sessions = fold([heard(Kind.BIRTH, "boot-1", 0, born=1)])

    assert after(heard(Kind.BIRTH, "boot-1", 500, born=1), sessions) == ()


def test_a_retained_birth_does_not_wake_an_agent_that_fell_silent() -> None:
    known = fold([heard(Kind.BIRTH, "boot-1", 0, born=1)])
    stale = {"boot-1": replace(known["boot-1"], disconnected_at=at(91), close_reason=STALE)}

    assert after(heard(Kind.BIRTH, "boot-1", 500, born=1), stale) == ()


def test_a_reconnect_of_the_same_process_has_a_newer_connected_at() -> None:  # D-021
    sessions = fold(
        [
            heard(Kind.BIRTH, "boot-1", 0, born=1),
            heard(Kind.GONE, "boot-1", 10),
            heard(Kind.BIRTH, "boot-1", 20, born=19_000_000),
        ]
    )

    assert is_open(sessions["boot-1"])
    assert sessions["boot-1"].connected_at == at(20)


def test_a_reconnect_is_noticed_though_the_agents_clock_was_set_back() -> None:
    sessions = fold([heard(Kind.BIRTH, "boot-1", 0, born=9_000_000), heard(Kind.BIRTH, "boot-1", 20, born=5)])

    assert sessions["boot-1"].connected_at == at(20)


def test_gone_closes_its_own_session_and_no_other() -> None:
    sessions = fold(
        [
            heard(Kind.BIRTH, "boot-1", 0, born=1),
            heard(Kind.BIRTH, "boot-2", 5, born=2),
            heard(Kind.GONE, "boot-1", 6),
        ]
    )
    assert is_open(sessions["boot-2"])

    sessions = fold([heard(Kind.GONE, "boot-2", 9)], sessions)
    assert (sessions["boot-2"].disconnected_at, sessions["boot-2"].close_reason) == (at(9), GONE)


def test_an_alive_after_stale_opens_the_session_with_its_old_connected_at() -> None:
    known = fold([heard(Kind.BIRTH, "boot-1", 0, born=1)])
    stale = {"boot-1": replace(known["boot-1"], disconnected_at=at(91), close_reason=STALE)}

    sessions = fold([heard(Kind.ALIVE, "boot-1", 120)], stale)

    assert is_open(sessions["boot-1"])
    assert sessions["boot-1"].connected_at == at(0)


def test_an_alive_after_gone_is_a_new_connection_whose_birth_was_not_noticed() -> None:
    sessions = fold(
        [
            heard(Kind.BIRTH, "boot-1", 0, born=1),
            heard(Kind.GONE, "boot-1", 10),
            heard(Kind.ALIVE, "boot-1", 30),
        ]
    )

    assert is_open(sessions["boot-1"])
    assert sessions["boot-1"].connected_at == at(30)


def test_a_late_alive_of_a_replaced_process_opens_nothing() -> None:
    history = [
        heard(Kind.BIRTH, "boot-1", 0, born=1),
        heard(Kind.BIRTH, "boot-2", 5, born=2),
        heard(Kind.GONE, "boot-2", 20),
        heard(Kind.ALIVE, "boot-1", 21),
    ]

    assert not any(is_open(session) for session in fold(history).values())


def test_nobody_touches_the_session_of_another_identity() -> None:
    known = fold([heard(Kind.BIRTH, "boot-1", 0, born=1)])

    for kind in Kind:
        assert after(heard(kind, "boot-1", 50, born=7, device="intruder"), known) == ()


messages = st.lists(
    st.tuples(st.sampled_from(Kind), st.sampled_from(["boot-1", "boot-2", "boot-3"]), st.integers(0, 3)),
    max_size=25,
).map(lambda drawn: [heard(kind, boot, n, born=born) for n, (kind, boot, born) in enumerate(drawn)])


@given(messages)
def test_at_most_one_session_is_open_and_connected_at_never_goes_back(history: list[Heard]) -> None:
    sessions: dict[str, Session] = {}
    for message in history:
        before = sessions
        sessions = fold([message], sessions)
        assert sum(is_open(session) for session in sessions.values()) <= 1
        assert all(sessions[name].connected_at >= before[name].connected_at for name in before)


@settings(max_examples=500)
@given(messages, st.data())
def test_what_kafka_hands_over_twice_changes_nothing(history: list[Heard], data: st.DataObject) -> None:
    sessions = fold(history)
    start = data.draw(st.integers(0, len(history)))

    assert fold(history[start:], sessions) == sessions


def test_a_silence_counts_from_when_this_process_began_to_listen() -> None:
    assert next_look_s(at(0), at(0), at(30)) == 60
    assert next_look_s(at(0), watching_since=at(500), now=at(510)) == 80
    assert next_look_s(None, at(0), at(500)) == 90
    assert next_look_s(at(0), at(0), at(500)) == 0.1
