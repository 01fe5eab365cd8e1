"""Which sessions a gateway subscribes for, and which it takes for silent."""

import pytest

from overwatt.topics import BEATS
from services.ingest.replicas import ALONE, SHARED, SILENT_S, Beat, Presence, filters
from services.ingest.settings import Settings


def names(index: int, count: int) -> set[str]:
    return {name for name, _ in filters(index, count).wanted} - {BEATS}


def test_the_lead_alone_hears_what_is_published_once() -> None:
    others = {f"devices/+/+/{channel}" for channel in ("status", "reply", "event")}
    assert names(0, 1) == {ALONE, *others}
    assert names(0, 2) == {SHARED, *others}
    assert names(1, 2) == {SHARED}
    assert names(1, 1) == set()


def test_no_form_of_the_subscription_stays_behind_when_the_number_of_replicas_changes() -> None:
    assert filters(0, 1).unwanted == (SHARED,)
    assert filters(0, 2).unwanted == (ALONE,)
    assert filters(1, 1).unwanted == (SHARED,)


def test_a_session_is_silent_some_seconds_after_its_last_beat_and_after_our_own_connect() -> None:
    presence = Presence(own=0)
    presence.connected(100.0)
    presence.heard(Beat(1, is_retained=True), 101.0)  # it exists: nobody has spoken yet
    assert presence.silent(100.0 + SILENT_S) == []
    assert presence.silent(100.1 + SILENT_S) == [1]

    presence.heard(Beat(1), 110.0)
    assert presence.silent(110.0 + SILENT_S) == []
    assert presence.silent(110.1 + SILENT_S) == [1]

    presence.connected(120.0)  # while we were away we could not hear it
    assert presence.silent(120.0 + SILENT_S) == []


def test_what_ended_for_good_and_what_never_was_is_nobodys_business() -> None:
    presence = Presence(own=0)
    presence.heard(Beat(0), 1.0)
    presence.heard(Beat(1), 1.0)
    presence.heard(Beat(1, is_last=True), 2.0)
    presence.let_go(1, 3.0)
    assert presence.silent(1_000.0) == []


def test_replicas_do_not_adopt_the_same_session_at_the_same_moment() -> None:
    first, second = Presence(own=1), Presence(own=2)
    for presence in (first, second):
        presence.heard(Beat(0), 10.0)
    at = next(now for now in range(11, 60) if first.silent(float(now)))
    assert second.silent(float(at)) == []


def test_a_replica_is_counted_from_0() -> None:
    with pytest.raises(ValueError, match="GATEWAY_INDEX=1 with GATEWAY_COUNT=1"):
        Settings(gateway_index=1, database_url="postgresql://a:b@c:5432/d")
