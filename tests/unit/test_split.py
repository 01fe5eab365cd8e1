"""The split of a site's power over its assets (D-026 to D-029, U-D01, U-D04 to U-D06)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.split import AssetState, reach_of, split


def an_asset(name: str, **changes: object) -> AssetState:
    values: dict[str, object] = {"capacity_mwh": 40.0, "min_mw": -20.0, "max_mw": 20.0} | changes
    return AssetState(id=name, **values)  # type: ignore[arg-type]


THREE = (
    an_asset("a", capacity_mwh=120.0, min_mw=-60.0, max_mw=60.0),
    an_asset("b"),
    an_asset("c"),
)


@st.composite
def an_arbitrary_asset(draw: st.DrawFn) -> AssetState:
    power = st.floats(0, 100, allow_subnormal=False)
    return AssetState(
        id=draw(st.text("abcdefgh", min_size=1, max_size=6)),
        capacity_mwh=draw(st.floats(0, 500, allow_subnormal=False)),
        min_mw=-draw(power),
        max_mw=draw(power),
        soc_pct=draw(st.none() | st.floats(0, 100)),
        soc_min_pct=5.0,
        soc_max_pct=95.0,
        online=draw(st.booleans()),
    )


fleets = st.lists(an_arbitrary_asset(), max_size=6, unique_by=lambda asset: asset.id)
requests = st.floats(-400, 400, allow_subnormal=False)


def test_twelve_megawatts_over_120_40_and_40_give_7_2_and_twice_2_4() -> None:
    """D-026, U-D01."""
    result = split(12, THREE)

    assert [share.power_mw for share in result.shares] == pytest.approx([7.2, 2.4, 2.4])
    assert result.unplaced_mw == 0


def test_what_a_full_asset_cannot_take_goes_to_those_with_headroom_and_is_shown() -> None:
    """D-028, D-029: raw, clamped and residual."""
    small = an_asset("a", capacity_mwh=120.0, max_mw=10.0)

    result = split(50, (small, THREE[1], THREE[2]))

    first, second, third = result.shares
    assert (first.raw_mw, first.clamped_mw, first.power_mw) == pytest.approx((30, 10, 10))
    assert (second.raw_mw, second.residual_mw, second.power_mw) == pytest.approx((10, 10, 20))
    assert third.power_mw == pytest.approx(20)
    assert first.limited_by == "max_mw"


def test_what_nobody_can_take_is_said_with_the_reason() -> None:
    result = split(200, THREE)

    assert result.unplaced_mw == pytest.approx(100)
    assert result.unplaced_why == "100 MW could not be placed: a at max_mw, b at max_mw, c at max_mw"


def test_charging_is_the_same_with_the_sign_turned() -> None:
    """U-D06."""
    assert [share.power_mw for share in split(-12, THREE).shares] == pytest.approx([-7.2, -2.4, -2.4])


def test_an_empty_battery_gives_nothing_and_still_charges() -> None:
    empty = an_asset("b", soc_pct=5.0, soc_min_pct=5.0)

    assert split(12, (THREE[0], empty)).shares[1].power_mw == 0
    assert split(12, (THREE[0], empty)).shares[1].limited_by == "soc_min_pct"
    assert split(-12, (THREE[0], empty)).shares[1].power_mw == pytest.approx(-3)


def test_a_ramp_bounds_what_can_be_reached_in_the_given_time() -> None:
    slow = an_asset("a", power_mw=0.0, ramp_rate_mw_per_min=6.0)

    assert reach_of(slow, ramp_within_s=10).highest_mw == pytest.approx(1)
    assert reach_of(slow).highest_mw == 20


def test_without_capacities_the_shares_are_equal_and_offline_assets_get_none() -> None:
    """U-D04."""
    assets = [an_asset(name, capacity_mwh=0.0) for name in "abc"] + [an_asset("d", online=False)]

    assert [share.power_mw for share in split(9, assets).shares] == pytest.approx([3, 3, 3, 0])


@given(fleets, requests)
def test_nothing_is_lost_and_no_limit_is_broken(assets: list[AssetState], request: float) -> None:
    """D-028: shares and what is said to be unplaced add up to the request."""
    result = split(request, assets)

    placed = sum(share.power_mw for share in result.shares)
    assert placed + result.unplaced_mw == pytest.approx(request, abs=1.01e-6)
    reaches = {asset.id: reach_of(asset) for asset in assets}
    for share in result.shares:
        reach = reaches[share.asset]
        assert reach.lowest_mw - 1e-9 <= share.power_mw <= reach.highest_mw + 1e-9


@given(fleets, requests)
def test_everything_is_placed_that_the_limits_allow(assets: list[AssetState], request: float) -> None:
    """D-028: within the sum of the limits the residual is nothing."""
    reaches = [reach_of(asset) for asset in assets]
    lowest, highest = sum(r.lowest_mw for r in reaches), sum(r.highest_mw for r in reaches)

    if lowest <= request <= highest:
        assert abs(split(request, assets).unplaced_mw) <= 1e-6 * max(1, len(assets))


@given(fleets, requests)
def test_the_order_of_the_assets_changes_nothing(assets: list[AssetState], request: float) -> None:
    """U-D04: same input, same output."""
    assert split(request, assets[::-1]) == split(request, assets)
