"""Token buckets: what passes, what waits and how long, and how much memory that takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.quotas import BACKLOG_S, FEWEST_SWEPT, Quotas


def quotas(
    device_rate: float = 10, device_burst: float = 50, tenant_rate: float = 0, tenant_burst: float = 1
) -> Quotas:
    return Quotas(
        device_rate=device_rate, device_burst=device_burst, tenant_rate=tenant_rate, tenant_burst=tenant_burst
    )


def passed(limits: Quotas, messages: int, now_s: float, device: str = "d") -> int:
    return sum(limits.admit("t", device, 1, now_s) == 0 for _ in range(messages))


def test_a_device_may_send_50_at_once_and_10_a_second_after_that() -> None:  # U-P05
    limits = quotas()

    assert passed(limits, 80, now_s=0) == 50
    assert limits.admit("t", "d", 1, 0) == pytest.approx(0.1)
    assert passed(limits, 80, now_s=1) == 10
    assert passed(limits, 80, now_s=1_000) == 50


def test_one_beyond_its_rate_takes_nothing_from_the_others_of_its_tenant() -> None:
    limits = quotas(tenant_rate=100, tenant_burst=100)

    assert passed(limits, 1_000, 0, device="mad") == 50
    assert passed(limits, 50, 0, device="good") == 50
    assert limits.admit("t", "third", 1, 0) == pytest.approx(0.01)
    assert limits.admit("another tenant", "third", 1, 0) == 0


def test_the_wait_is_long_enough() -> None:
    limits = quotas(device_rate=7, device_burst=300)
    limits.admit("t", "d", 290, 0)

    wait_s = limits.admit("t", "d", 200, 3)
    assert limits.admit("t", "d", 200, 3 + wait_s / 2) > 0
    assert limits.admit("t", "d", 200, 3 + wait_s) == 0


def test_what_is_larger_than_the_burst_needs_a_full_bucket() -> None:
    limits = quotas()

    assert limits.admit("t", "d", 400, 0) == 0
    assert limits.admit("t", "d", 400, 1) == pytest.approx(4)
    assert limits.admit("t", "d", 400, 5) == 0


def test_a_rate_of_0_is_no_limit() -> None:
    assert passed(quotas(device_rate=0), 100_000, 0) == 100_000


def test_what_has_waited_for_us_passes_once_and_is_no_debt_afterwards() -> None:
    limits = quotas()
    limits.expect_backlog(until_s=60)

    assert passed(limits, 20_000, now_s=0) == 50 + 10 * BACKLOG_S
    assert passed(limits, 100, now_s=61) == 0
    assert passed(limits, 100, now_s=62) == 10


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    limits = quotas()
    assert passed(limits, 100, now_s=10_000) == 50

    assert passed(limits, 100, now_s=0) == 0
    assert passed(limits, 100, now_s=1) == 10


def test_memory_holds_only_those_that_spoke_lately() -> None:
    limits = quotas()

    for number in range(200_000):
        limits.admit("t", f"d{number}", 1, number / 1_000)

    # One message is forgotten after 0.1 s, in which 100 others spoke.
    assert len(limits._devices._full_at_s) <= FEWEST_SWEPT


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60),
    st.floats(1, 50),
    st.floats(30, 100),
)
def test_nobody_ever_gets_more_than_burst_and_rate(
    events: list[tuple[float, int]], rate: float, burst: float
) -> None:
    limits = quotas(device_rate=rate, device_burst=burst)
    now_s, taken = 0.0, 0
    for pause_s, samples in events:
        now_s += pause_s
        if limits.admit("t", "d", samples, now_s) == 0:
            taken += samples

    assert taken <= burst + rate * now_s + 0.01
