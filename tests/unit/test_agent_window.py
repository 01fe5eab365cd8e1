"""What may be on its way without an answer."""

import pytest

from edge_agent.uplink import back_off_s
from edge_agent.window import BACKLOG_BATCHES, Window, probe_delay_s


def a_window() -> Window:
    return Window(span_s=30, jitter=lambda: 0.5)


def test_live_batches_go_out_until_nobody_answered_for_half_a_minute() -> None:
    window = a_window()
    for second in range(30):
        assert window.may_send_live()
        window.sent(second, second, is_live=True)

    assert window.overdue(29.9) == []
    assert sorted(window.overdue(30)) == list(range(30))
    assert not window.may_send_live()


def test_a_closed_window_probes_with_one_batch_and_pauses_that_double() -> None:
    window = a_window()
    window.sent(1, 0, is_live=True)
    window.overdue(30)
    now, pauses = 30.0, []

    for probe in range(2, 10):
        wait = window.next_look_s(now)
        assert not window.may_send_backlog(now + wait - 0.01)
        now += wait
        assert window.may_send_backlog(now)
        pauses.append(wait)
        window.sent(probe, now, is_live=False)
        assert not window.may_send_backlog(now)  # one alone
        now += window.next_look_s(now)
        assert window.overdue(now) == [probe]

    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]


def test_one_answer_opens_the_window_again() -> None:
    window = a_window()
    window.sent(1, 0, is_live=True)
    window.overdue(30)

    window.heard(31)

    assert window.may_send_live()
    assert window.may_send_backlog(31)


def test_a_single_batch_that_got_lost_is_sent_again_without_closing_the_window() -> None:
    window = a_window()
    window.sent(1, 0, is_live=True)
    window.sent(2, 1, is_live=True)
    window.answered(2)
    window.heard(2)

    assert window.overdue(30) == [1]
    assert window.may_send_live()


def test_backlog_never_takes_the_window_from_live_data() -> None:
    window = a_window()
    for batch in range(BACKLOG_BATCHES):
        assert window.may_send_backlog(0)
        window.sent(batch, 0, is_live=False)

    assert not window.may_send_backlog(0)
    assert window.may_send_live()
    window.answered(0)
    assert window.may_send_backlog(0)


def test_a_lost_connection_forgets_what_was_on_its_way_and_lets_the_next_one_try_at_once() -> None:
    window = a_window()
    window.sent(1, 0, is_live=True)
    window.overdue(30)
    window.sent(2, 35, is_live=False)

    assert window.disconnected() == [2]
    assert window.may_send_backlog(36)


@pytest.mark.parametrize(("jitter", "delay_s"), [(0.0, 3.75), (0.5, 5.0), (1.0, 6.25)])
def test_jitter_spreads_the_probes_of_many_agents(jitter: float, delay_s: float) -> None:
    assert probe_delay_s(0, jitter) == delay_s


def test_an_agent_connects_again_after_two_seconds_and_later_more_rarely() -> None:
    """U-D03."""
    assert [round(back_off_s(failures, 0.5), 2) for failures in (1, 2, 3, 20)] == [2.0, 3.0, 4.5, 30.0]
