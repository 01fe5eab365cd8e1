"""What the api decides by itself: resolution, latest values, sums of a site, the split told, audit heads."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.api.audit.compare import Head, Sealed, contradiction
from services.api.dispatch.schemas import NewDispatch
from services.api.dispatch.split import told_split
from services.api.sites.aggregate import AssetNow, aggregate
from services.api.telemetry.latest import latest
from services.api.telemetry.resolution import BadRange, Resolution, choose

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COLUMNS = ("active_power_w", "soc_pct", "temp_c")


# --- resolution


@pytest.mark.parametrize(
    ("span", "points", "resolution"),
    [
        (timedelta(minutes=10), 1000, "raw"),
        (timedelta(seconds=1000), 1000, "raw"),
        (timedelta(seconds=1001), 1000, "1m"),
        (timedelta(hours=24), 1000, "15m"),
        (timedelta(days=30), 1000, "1h"),
        (timedelta(days=365), 1000, "1d"),
        (timedelta(days=9000), 100, "1d"),
    ],
)
def test_the_finest_resolution_that_fits_is_chosen(span: timedelta, points: int, resolution: str) -> None:
    assert choose(NOW - span, NOW, wanted=None, points=points).resolution == resolution


def test_a_resolution_that_is_asked_for_is_taken() -> None:
    assert choose(NOW - timedelta(days=2), NOW, wanted=Resolution.RAW, points=10).resolution == "raw"


@pytest.mark.parametrize(
    ("start", "end", "wanted", "only_raw", "field"),
    [
        (NOW, NOW, None, False, "from"),
        (NOW, NOW - timedelta(1), None, False, "from"),
        (NOW - timedelta(days=8), NOW, Resolution.RAW, False, "from"),
        (NOW - timedelta(days=93), NOW, Resolution.MINUTE, False, "from"),
        (NOW - timedelta(days=1), NOW, Resolution.HOUR, True, "resolution"),
        (NOW - timedelta(days=8), NOW, None, True, "from"),
        (datetime(1, 1, 1, tzinfo=UTC), NOW, None, False, "from"),
        (NOW, datetime(9999, 12, 31, tzinfo=UTC), None, False, "to"),
    ],
)
def test_a_range_that_cannot_be_answered_names_its_wrong_end(
    start: datetime, end: datetime, wanted: Resolution | None, only_raw: bool, field: str
) -> None:
    with pytest.raises(BadRange) as refused:
        choose(start, end, wanted=wanted, points=1000, only_raw=only_raw)

    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")


# --- latest values


def a_row(seconds_ago: float, **values: float) -> dict[str, Any]:
    return {"ts": NOW - timedelta(seconds=seconds_ago), "quality": 0, **dict.fromkeys(COLUMNS), **values}


def test_each_metric_has_its_own_latest_value() -> None:  # U-D02
    rows = [a_row(1, temp_c=20), a_row(2, temp_c=19, soc_pct=50), a_row(3, soc_pct=49)]

    found = latest(rows, [("fan_rpm", NOW, 1200.0)], columns=COLUMNS, now=NOW)

    assert found.values == {"temp_c": 20, "soc_pct": 50, "fan_rpm": 1200}
    assert found.values_at["soc_pct"] == NOW - timedelta(seconds=2)
    assert found.at == NOW - timedelta(seconds=1)


def test_a_device_is_stale_after_90_seconds_and_when_it_never_spoke() -> None:
    assert not latest([a_row(90)], [], columns=COLUMNS, now=NOW).is_stale
    assert latest([a_row(91)], [], columns=COLUMNS, now=NOW).is_stale
    assert latest([], [], columns=COLUMNS, now=NOW).is_stale


# --- sites


def an_asset(type: str = "battery", mwh: float = 0, **values: Any) -> AssetNow:
    known = {
        "is_reporting": True,
        "active_power_w": None,
        "soc_pct": None,
        "min_mw": -1,
        "max_mw": 1,
        **values,
    }
    return AssetNow(site_id="s", type=type, capacity_mwh=mwh, **known)


def test_power_is_summed_by_type_and_soc_weighted_by_capacity() -> None:  # U-D11
    sums = aggregate(
        [
            an_asset(mwh=120, active_power_w=7.2e6, soc_pct=60),
            an_asset(mwh=40, active_power_w=2.4e6, soc_pct=20),
            an_asset(mwh=40, is_reporting=False),
            an_asset("pv", active_power_w=1e6, max_mw=5, min_mw=0),
            an_asset("meter", active_power_w=-3e6),
        ]
    )

    assert sums["power_w"] == pytest.approx({"battery": 9.6e6, "pv": 1e6, "meter": -3e6})
    assert sums["soc_pct"] == pytest.approx(50)
    assert (sums["assets"], sums["assets_reporting"], sums["capacity_mwhr"]) == (5, 4, 200)
    assert (sums["min_mw"], sums["max_mw"]) == (-3, 3)


def test_a_site_of_which_nothing_is_known_says_so() -> None:
    sums = aggregate([an_asset(mwh=0, soc_pct=50)])

    assert (sums["power_w"], sums["soc_pct"]) == ({}, None)


# --- dispatch


def test_the_agents_split_is_told_once_it_has_spoken() -> None:
    preview = {"allocations": [{"asset_id": "a", "mw": 5}], "unplaced_mw": 1, "unplaced_why": "full"}
    result = {"allocations": [{"asset_id": "a", "mw": 6, "measured": 5.9}]}

    assert told_split(preview, None)["split_by"] == "controller"
    assert told_split(preview, {"allocations": []})["unplaced_mw"] == 1
    told = told_split(preview, result)
    assert (told["split_by"], told["allocations"][0]["measured"]) == ("agent", 5.9)
    assert told_split(None, None) == {"split_by": None, "allocations": []}


@pytest.mark.parametrize(
    "body",
    [
        {"mw": 1},
        {"mw": 1, "site_id": ""},
        {"site_id": "s"},
        {"site_id": "s", "mw": float("nan")},
        {"site_id": "s", "mw": float("inf")},
        {"site_id": "s", "mw": "5"},
        {"site_id": "s", "mw": True},
        {"site_id": "s", "mw": None},
        {"site_id": "s", "mw": 2e6},
        {"site_id": "s", "mw": 1, "duration_s": 0},
        {"site_id": "s", "mw": 1, "ttl_s": -1},
        {"site_id": "s", "mw": 1, "durations": 5},
        {"site_id": 5, "mw": 1},
    ],
)
def test_a_dispatch_that_makes_no_sense_is_refused(body: dict[str, Any]) -> None:  # D-035
    with pytest.raises(ValidationError):
        NewDispatch.model_validate(body)


# --- audit


def heads(*counts: int) -> list[Head]:
    return [Head(count, f"h{count}", "log") for count in counts]


def rows(*counts: int, **forged: str) -> dict[int, Sealed]:
    return {count: Sealed(100 + count, forged.get(f"h{count}", f"h{count}")) for count in counts}


def test_heads_that_the_table_still_has_agree() -> None:  # X21
    assert contradiction(heads(0, 2, 5), rows(2, 5), 7) is None
    assert contradiction([], {}, 7) is None


def test_a_chain_that_was_cut_names_the_first_row_that_is_missing() -> None:  # X21
    assert contradiction(heads(2, 5), rows(2), 3) == "row 4 of the chain is missing: log saw 5 rows"


def test_a_chain_that_was_written_anew_names_the_rows_among_which_the_first_forged_one_is() -> None:  # X21
    forged = contradiction(heads(2, 5, 6), rows(2, 5, 6, h5="x", h6="y"), 6)

    assert forged == "a row between 3 and 5 of the chain (seq up to 105) is not the one that log saw"
    exact = contradiction(heads(2, 3), rows(2, 3, h3="x"), 3)
    assert exact == "row 3 of the chain (seq up to 103) is not the one that log saw"
