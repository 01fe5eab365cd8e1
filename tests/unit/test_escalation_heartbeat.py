"""Who has gone silent."""

from hypothesis import given
from hypothesis import strategies as st

from services.escalation.heartbeat import Heartbeats

S = 1_000_000
A, B = ("t", "a"), ("t", "b")


def test_a_device_is_stale_ninety_seconds_after_its_last_message() -> None:  # U-P01
    beats = Heartbeats(90)
    beats.heard(A, 0)
    beats.heard(A, 60 * S)

    assert beats.due(149 * S) == []
    assert beats.due(150 * S) == [(A, 150 * S)]


def test_a_silence_is_told_once() -> None:
    beats = Heartbeats(90)
    beats.heard(A, 0)

    assert beats.due(90 * S) == [(A, 90 * S)]
    assert beats.due(1_000 * S) == []
    assert beats.next_due_us() is None


def test_a_message_ends_a_silence_and_the_next_silence_is_a_new_one() -> None:
    beats = Heartbeats(90)
    beats.heard(A, 0)
    beats.due(100 * S)

    assert beats.heard(A, 200 * S) is True
    assert beats.heard(A, 201 * S) is False
    assert beats.due(291 * S) == [(A, 291 * S)]


def test_a_message_that_is_read_again_does_not_end_a_silence() -> None:
    beats = Heartbeats(90)
    beats.heard(A, 10 * S)
    beats.due(100 * S)

    assert beats.heard(A, 10 * S) is False
    assert list(beats.silent()) == [A]


def test_a_silence_told_before_a_restart_ends_with_the_next_message() -> None:
    beats = Heartbeats(90)
    beats.was_silent(A, 100 * S)

    assert beats.heard(A, 99 * S) is False
    assert beats.heard(A, 101 * S) is True


def test_who_was_never_heard_is_not_missed() -> None:
    beats = Heartbeats(90)
    beats.heard(A, 0)

    assert [key for key, _ in beats.due(10**12)] == [A]


def test_the_silent_can_be_judged_again_for_a_new_rule_and_come_back_as_usual() -> None:
    beats = Heartbeats(90)
    beats.heard(A, 0)
    beats.due(90 * S)
    beats.reconsider()

    assert beats.due(95 * S) == [(A, 90 * S)]
    assert beats.heard(A, 96 * S) is True
    assert beats.due(10**12) == [(A, 186 * S)]


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 400), st.sampled_from("hdr")), max_size=60))
def test_the_heap_agrees_with_looking_at_everybody(acts: list[tuple[tuple[str, str], int, str]]) -> None:
    beats = Heartbeats(90)
    last: dict[tuple[str, str], int] = {}
    silent: set[tuple[str, str]] = set()

    for key, at_s, act in sorted(acts, key=lambda step: step[1]):
        if act == "h" and last.get(key, -1) < at_s:
            if key not in silent or at_s > last[key] + 90:
                assert beats.heard(key, at_s * S) is (key in silent)
                last[key] = at_s
                silent.discard(key)
        elif act != "h":
            if act == "r":
                beats.reconsider()
            beats.due(at_s * S)
            silent |= {one for one, heard_s in last.items() if heard_s + 90 <= at_s}
            assert set(beats.silent()) == silent
