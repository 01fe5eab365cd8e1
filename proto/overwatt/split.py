"""The split of a site's power over its assets. Edge and cloud compute it with this one function.

Capacity is the only weight; direction, state of charge, power and ramp are limits. A request is shared in
proportion to capacity (raw), brought within each asset's reach (clamped), and what an asset could not take
goes, again by capacity, to those that have headroom in the direction of what is missing (residual). It
ends when nothing is missing or nobody has headroom; what is left over is said, with the reason.

    request 90 MW     A 120 MWh, 60 MW     B 40 MWh, 20 MW    C 40 MWh, 20 MW
    raw               54                   18                 18
    clamped           54                   18                 18          sum 90
    request 100 MW    60  (raw 60)         20  (raw 20)       20

Power is positive on discharge (export) and negative on charge (import). Same input, same output: assets
are ordered by id. Sources: D-026 to D-029, U-D01, U-D04, U-D05, U-D06.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TOLERANCE_MW: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetState:
    """What the split has to know about one asset."""

    id: str
    capacity_mwh: float
    min_mw: float
    """most negative power: full charge"""
    max_mw: float
    soc_pct: float | None = None
    """None: unknown, then the state of charge limits nothing"""
    soc_min_pct: float = 0.0
    soc_max_pct: float = 100.0
    power_mw: float | None = None
    """measured now; None: unknown, then the ramp limits nothing"""
    ramp_rate_mw_per_min: float | None = None
    online: bool = True


@dataclass(frozen=True, slots=True)
class Reach:
    """What an asset can do after all its limits, and which limit binds at each end."""

    lowest_mw: float
    highest_mw: float
    lowest_by: str
    highest_by: str


@dataclass(frozen=True, slots=True)
class Share:
    """One asset's part, with the way to it (D-029)."""

    asset: str
    raw_mw: float
    clamped_mw: float
    residual_mw: float
    power_mw: float
    limited_by: str
    """the limit that the asset stands at; empty for none"""


@dataclass(frozen=True, slots=True)
class Split:
    """Shares in the order of asset ids. Their power and `unplaced_mw` add up to the request."""

    requested_mw: float
    shares: tuple[Share, ...]
    unplaced_mw: float
    unplaced_why: str


def reach_of(asset: AssetState, *, ramp_within_s: float | None = None) -> Reach:
    """The powers that an asset can be at, `ramp_within_s` from now (None: give it the time it needs)."""
    if not asset.online:
        return Reach(0.0, 0.0, "offline", "offline")
    lowest, lowest_by = asset.min_mw, "min_mw"
    highest, highest_by = asset.max_mw, "max_mw"
    if asset.soc_pct is not None and asset.soc_pct <= asset.soc_min_pct and highest > 0:
        highest, highest_by = max(0.0, lowest), "soc_min_pct"
    if asset.soc_pct is not None and asset.soc_pct >= asset.soc_max_pct and lowest < 0:
        lowest, lowest_by = min(0.0, highest), "soc_max_pct"
    if ramp_within_s is not None and asset.power_mw is not None and asset.ramp_rate_mw_per_min is not None:
        step_mw = asset.ramp_rate_mw_per_min / 60 * ramp_within_s
        if asset.power_mw + step_mw < highest:
            highest, highest_by = max(asset.power_mw + step_mw, lowest), "ramp_rate_mw_per_min"
        if asset.power_mw - step_mw > lowest:
            lowest, lowest_by = min(asset.power_mw - step_mw, highest), "ramp_rate_mw_per_min"
    return Reach(lowest, highest, lowest_by, highest_by)


def split(requested_mw: float, assets: Sequence[AssetState], *, ramp_within_s: float | None = None) -> Split:
    """Share `requested_mw` over the assets; never beyond a limit, and nothing is lost without a word."""
    ordered = sorted(assets, key=lambda asset: asset.id)
    reaches = [reach_of(asset, ramp_within_s=ramp_within_s) for asset in ordered]
    weights = _weights(ordered)
    whole = sum(weights)
    # Multiplied first: 12 MW over 120/40/40 MWh is then 7.2 and not 7.199999999999999.
    raw = [requested_mw * weight / whole if whole > 0 else 0.0 for weight in weights]
    clamped = [
        min(max(mw, reach.lowest_mw), reach.highest_mw) for mw, reach in zip(raw, reaches, strict=True)
    ]
    power = list(clamped)
    missing_mw = requested_mw - sum(power)
    while abs(missing_mw) > TOLERANCE_MW:
        room = [_headroom(mw, reach, missing_mw) for mw, reach in zip(power, reaches, strict=True)]
        willing = [index for index, headroom in enumerate(room) if abs(headroom) > 0]
        if not willing:
            break
        total = sum(weights[index] for index in willing)
        for index in willing:
            part_mw = missing_mw * weights[index] / total if total > 0 else missing_mw / len(willing)
            # Each pass fills at least one asset or places everything, so there are at most len(assets).
            power[index] += min(part_mw, room[index], key=abs)
        missing_mw = requested_mw - sum(power)
    if abs(missing_mw) <= TOLERANCE_MW:
        missing_mw = 0.0
    shares = tuple(
        Share(
            asset.id,
            raw[i],
            clamped[i],
            power[i] - clamped[i],
            power[i],
            _limit_at(power[i], raw[i], clamped[i], reaches[i]),
        )
        for i, asset in enumerate(ordered)
    )
    return Split(requested_mw, shares, missing_mw, _why(missing_mw, shares))


def _weights(assets: Sequence[AssetState]) -> list[float]:
    """Of the online assets: their capacity, or all the same where no capacity is known."""
    capacities = [max(asset.capacity_mwh, 0.0) if asset.online else 0.0 for asset in assets]
    if sum(capacities) > 0:
        return capacities
    return [float(asset.online) for asset in assets]


def _headroom(power_mw: float, reach: Reach, missing_mw: float) -> float:
    """Signed room in the direction of what is missing; 0 at the limit."""
    room = reach.highest_mw - power_mw if missing_mw > 0 else reach.lowest_mw - power_mw
    return room if abs(room) > TOLERANCE_MW * 1e-3 else 0.0


def _limit_at(power_mw: float, raw_mw: float, clamped_mw: float, reach: Reach) -> str:
    """The limit that the asset stands at because more was asked of it; empty where none binds."""
    if power_mw >= reach.highest_mw - TOLERANCE_MW and max(raw_mw, power_mw) > min(
        clamped_mw, reach.highest_mw
    ):
        return reach.highest_by
    if power_mw <= reach.lowest_mw + TOLERANCE_MW and min(raw_mw, power_mw) < max(
        clamped_mw, reach.lowest_mw
    ):
        return reach.lowest_by
    return ""


def _why(missing_mw: float, shares: Sequence[Share]) -> str:
    if missing_mw == 0:
        return ""
    if not shares:
        return "the site has no assets"
    limits = ", ".join(f"{share.asset} at {share.limited_by or 'its limit'}" for share in shares)
    return f"{missing_mw:g} MW could not be placed: {limits}"
