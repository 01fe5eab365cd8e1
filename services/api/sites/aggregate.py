"""The sums of a site over its assets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BATTERY = "battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetNow:
    """An asset with what was last heard of it; None: nothing recent."""

    site_id: str
    type: str
    capacity_mwh: float
    min_mw: float
    max_mw: float
    is_reporting: bool
    active_power_w: float | None
    soc_pct: float | None


def aggregate(assets: Sequence[AssetNow]) -> dict[str, Any]:
    """Power is summed by type, since a meter sees again what the others do; state of charge is weighted."""
    batteries = [asset for asset in assets if asset.type == BATTERY]
    power_w: dict[str, float] = {}
    for asset in assets:
        if asset.active_power_w is not None:
            power_w[asset.type] = power_w.get(asset.type, 0.0) + asset.active_power_w
    return {
        "assets": len(assets),
        "assets_reporting": sum(asset.is_reporting for asset in assets),
        "capacity_mwhr": sum(asset.capacity_mwh for asset in batteries),
        "min_mw": sum(asset.min_mw for asset in batteries),
        "max_mw": sum(asset.max_mw for asset in batteries),
        "power_w": power_w,
        "soc_pct": _weighted([(a.capacity_mwh, a.soc_pct) for a in batteries if a.soc_pct is not None]),
    }


def _weighted(parts: Sequence[tuple[float, float]]) -> float | None:
    total = sum(weight for weight, _ in parts)
    return sum(weight * value for weight, value in parts) / total if total > 0 else None
