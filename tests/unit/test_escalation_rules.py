"""Thresholds on event time: duration, hysteresis, late and repeated samples."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.v1 import telemetry_pb2
from services.escalation.bookmark import Bookmark
from services.escalation.model import Comparison, Rule
from services.escalation.rules import NEVER, Phase, State, Step, Turn, judge
from services.escalation.samples import senders, series

S = 1_000_000
ID = UUID(int=1)


def a_rule(comparison: Comparison = Comparison.LT, **changes: object) -> Rule:
    values: dict[str, object] = {
        "rule_id": ID,
        "tenant_id": "tenant-a",
        "name": "low",
        "kind": "threshold",
        "severity": 3,
        "metric": "soc_pct",
        "comparison": comparison,
        "threshold": 10.0,
        **changes,
    }
    return Rule(**values)  # type: ignore[arg-type]


def run(rule: Rule, *samples: tuple[float, float], state: State | None = None) -> tuple[State, list[Turn]]:
    """Judge samples of (second, value)."""
    ts_us = np.array([int(second * S) for second, _ in samples], "i8")
    return judge(rule, state or State(), ts_us, np.array([value for _, value in samples], "f8"))


def steps(turns: list[Turn]) -> list[tuple[Step, int]]:
    return [(turn.step, turn.at_us // S) for turn in turns]


@pytest.mark.parametrize(
    ("comparison", "fine", "at", "bad"),
    [
        (Comparison.GT, 9, False, 11),
        (Comparison.GTE, 9, True, 11),
        (Comparison.LT, 11, False, 9),
        (Comparison.LTE, 11, True, 9),
    ],
)
def test_each_comparison_opens_on_its_own_side(  # U-P01
    comparison: Comparison, fine: float, at: bool, bad: float
) -> None:
    rule = a_rule(comparison)

    assert run(rule, (1, fine))[1] == []
    assert steps(run(rule, (1, bad))[1]) == [(Step.OPENED, 1)]
    assert bool(run(rule, (1, 10))[1]) is at


def test_a_breach_must_last_as_long_as_the_rule_says() -> None:
    rule = a_rule(for_s=60)

    assert run(rule, (0, 9), (59, 9))[1] == []
    assert steps(run(rule, (0, 9), (30, 9), (60, 9))[1]) == [(Step.OPENED, 60)]


def test_one_sample_is_never_a_full_window() -> None:
    assert run(a_rule(for_s=1), (1_000, 9))[1] == []


def test_a_single_good_sample_starts_the_window_anew() -> None:
    rule = a_rule(for_s=60)

    assert steps(run(rule, (0, 9), (30, 11), (60, 9), (90, 9), (120, 9))[1]) == [(Step.OPENED, 120)]


def test_a_window_goes_on_over_batches() -> None:
    rule = a_rule(for_s=60)
    state, _ = run(rule, (0, 9), (20, 9))

    assert steps(run(rule, (61, 9), state=state)[1]) == [(Step.OPENED, 61)]


def test_an_open_alert_closes_at_its_clear_threshold_and_not_before() -> None:
    rule = a_rule(clear_threshold=15.0)

    _, turns = run(rule, (0, 9), (10, 11), (20, 14.9), (30, 15), (40, 9))

    assert steps(turns) == [(Step.OPENED, 0), (Step.CLEARED, 30), (Step.OPENED, 40)]


def test_between_the_thresholds_a_pending_breach_is_forgotten() -> None:
    rule = a_rule(clear_threshold=15.0, for_s=20)

    assert run(rule, (0, 9), (10, 12), (20, 9))[1] == []


def test_without_a_clear_threshold_an_alert_closes_where_it_opened() -> None:
    assert steps(run(a_rule(), (0, 9), (10, 10))[1]) == [(Step.OPENED, 0), (Step.CLEARED, 10)]


def test_a_lasting_breach_is_repeated_once_a_minute_and_not_with_every_sample() -> None:
    _, turns = run(a_rule(), *((second, 9) for second in range(0, 181, 5)))

    assert steps(turns) == [(Step.OPENED, 0), (Step.SEEN, 60), (Step.SEEN, 120), (Step.SEEN, 180)]


def test_what_comes_late_or_twice_changes_nothing() -> None:
    rule = a_rule()
    state, _ = run(rule, (100, 20))

    assert run(rule, (50, 9), (100, 9), state=state) == (state, [])


def test_a_missing_value_neither_opens_nor_closes() -> None:
    rule = a_rule()
    state, turns = run(rule, (0, 9), (1, float("nan")))

    assert steps(turns) == [(Step.OPENED, 0)]
    assert state.phase is Phase.OPEN


SAMPLES = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from([5.0, 9.0, 10.0, 12.0, 15.0, 20.0])), max_size=40
)


@given(SAMPLES, st.integers(0, 40), st.sampled_from([0, 1, 30]), st.sampled_from([None, 10.0, 15.0]))
def test_batches_may_be_cut_anywhere(
    samples: list[tuple[int, float]], cut: int, for_s: int, clear: float | None
) -> None:
    samples = sorted(dict(samples).items())
    rule = a_rule(for_s=for_s, clear_threshold=clear)

    whole = run(rule, *samples)
    first, turns = run(rule, *samples[:cut])
    second, more = run(rule, *samples[cut:], state=first)

    assert (second, turns + more) == whole


@given(SAMPLES, st.sampled_from([0, 30]), st.sampled_from([None, 15.0]))
def test_opening_and_closing_alternate_and_reading_again_changes_nothing(
    samples: list[tuple[int, float]], for_s: int, clear: float | None
) -> None:
    rule = a_rule(for_s=for_s, clear_threshold=clear)

    state, turns = run(rule, *samples)
    again, more = run(rule, *samples, state=state)

    turning = [turn.step for turn in turns if turn.step is not Step.SEEN]
    assert turning == [Step.OPENED, Step.CLEARED] * (len(turning) // 2) + [Step.OPENED] * (len(turning) % 2)
    assert (again, more) == (state, [])


@given(SAMPLES, st.integers(0, 60))
def test_an_alert_opens_only_after_a_full_window_of_breaches(
    samples: list[tuple[int, float]], for_s: int
) -> None:
    rows = sorted(dict(samples).items())

    for turn in run(a_rule(for_s=for_s), *rows)[1]:
        if turn.step is Step.OPENED:
            window = [value for at, value in rows if turn.at_us // S - for_s <= at <= turn.at_us // S]
            assert all(value < 10 for value in window)


def test_a_block_of_many_devices_is_taken_apart_by_device_metric_and_quality() -> None:
    record = telemetry_pb2.Record(
        received_at_us=5,
        identities=[telemetry_pb2.Identity(device_key=key, tenant="t", device=f"d{key}") for key in (7, 8)],
        blocks=[
            telemetry_pb2.Block(
                device_keys=np.array([8, 7, 8, 8], "<u4").tobytes(),
                ts_us=np.array([10, 20, 30, 1], "<i8").tobytes(),
                quality=bytes([0, 0, 2, 0]),
                columns=[
                    telemetry_pb2.Column(quantity=8, values=np.array([1, 2, 3, 4], "<f8").tobytes()),
                    telemetry_pb2.Column(metric="door_open", values=np.array([5, 6, 7, 8], "<f8").tobytes()),
                ],
            )
        ],
    )
    watched = {7: {"soc_pct", "door_open"}, 8: {"door_open"}}

    found = [
        (one.device_key, one.metric, list(one.ts_us), list(one.values))
        for one in series(record, lambda key: watched[key], oldest_us=5)
    ]

    assert found == [(7, "soc_pct", [20], [2]), (7, "door_open", [20], [6]), (8, "door_open", [10], [5])]
    assert list(senders(record)) == [("t", "d7"), ("t", "d8")]


def test_a_torn_block_is_refused_and_not_misread() -> None:
    block = telemetry_pb2.Block(device_key=1, ts_us=b"x" * 16)
    block.columns.add(quantity=8, values=b"y" * 8)

    with pytest.raises((ValueError, IndexError)):
        list(series(telemetry_pb2.Record(blocks=[block]), lambda _: {"soc_pct"}, oldest_us=NEVER))


def test_a_partition_is_called_read_one_window_behind() -> None:
    mark = Bookmark()

    committed = [mark.read(offset, offset * 1_000, window_ms=10_000) for offset in range(41)]

    assert committed[10] == 0
    assert committed[40] == 30
