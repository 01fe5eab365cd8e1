"""The fleet in the platform's own assets file (D-040), and what the devices need beyond the common keys.

type      beyond capacity, limits, efficiency and ramp
all       host, port, unit
battery   initial_soc_pct, min_soc_pct, max_soc_pct
pv        peak_mw (else max_mw), weather
load      annual_kwh, profile
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import yaml

from edge_agent.fleet import load, pv
from edge_agent.fleet.battery import BatteryLimits
from overwatt.inventory import Asset, InventoryError, Site, parse_inventory

WATTS_PER_MEGAWATT: Final = 1e6


def read_sites(path: Path) -> tuple[Site, ...]:
    """Sites of an assets file; raises InventoryError."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InventoryError(f"cannot read the assets file {path}: {error}") from error
    return parse_inventory(document)


def served(sites: Iterable[Site]) -> tuple[Asset, ...]:
    """The assets that an agent reads over Modbus, in the order of the file; raises InventoryError."""
    assets = tuple(asset for site in sites for asset in site.assets if asset.driver == "sunspec")
    for asset in assets:
        _check(asset)
    return assets


def battery_limits(asset: Asset) -> BatteryLimits:
    """The battery as its nameplate describes it."""
    if asset.capacity_mwh <= 0 or asset.max_mw <= 0:
        raise InventoryError(f"asset {asset.id}: a battery needs capacity_mwhr and max_mw above 0")
    if asset.min_mw > 0:
        raise InventoryError(f"asset {asset.id}: min_mw is {asset.min_mw:g}; a battery's must be 0 or below")
    ramp = asset.ramp_rate_mw_per_min
    min_soc_pct, max_soc_pct = number(asset, "min_soc_pct", 0.0), number(asset, "max_soc_pct", 100.0)
    if not 0 <= min_soc_pct < max_soc_pct <= 100:
        raise InventoryError(
            f"asset {asset.id}: min_soc_pct {min_soc_pct:g} must be below max_soc_pct {max_soc_pct:g}, "
            "both between 0 and 100"
        )
    return BatteryLimits(
        capacity_wh=asset.capacity_mwh * WATTS_PER_MEGAWATT,
        max_w=asset.max_mw * WATTS_PER_MEGAWATT,
        min_w=asset.min_mw * WATTS_PER_MEGAWATT,
        efficiency=asset.efficiency,
        ramp_w_per_s=math.inf if ramp is None else ramp * WATTS_PER_MEGAWATT / 60,
        min_soc_pct=min_soc_pct,
        max_soc_pct=max_soc_pct,
    )


def initial_soc_pct(asset: Asset) -> float:
    """Where a battery starts."""
    soc_pct = number(asset, "initial_soc_pct", 50.0)
    if not 0 <= soc_pct <= 100:
        raise InventoryError(f"asset {asset.id}: initial_soc_pct is {soc_pct:g}; it must be 0 to 100")
    return soc_pct


def peak_w(asset: Asset) -> float:
    """DC nameplate of a PV plant."""
    peak_mw = number(asset, "peak_mw", asset.max_mw)
    if peak_mw <= 0:
        raise InventoryError(f"asset {asset.id}: a PV plant needs peak_mw (or max_mw) above 0")
    return peak_mw * WATTS_PER_MEGAWATT


def weather(asset: Asset) -> str:
    """Weather file of a PV plant."""
    return _one_of(asset, "weather", pv.DEFAULT_STATION, pv.STATIONS)


def profile(asset: Asset) -> str:
    """Load profile."""
    return _one_of(asset, "profile", load.DEFAULT_PROFILE, load.PROFILES)


def annual_kwh(asset: Asset) -> float:
    """Consumption of a load in a year."""
    energy_kwh = number(asset, "annual_kwh", 0.0)
    if energy_kwh <= 0:
        raise InventoryError(f"asset {asset.id}: a load needs annual_kwh above 0")
    return energy_kwh


def number(asset: Asset, key: str, default: float) -> float:
    """A number beyond the common keys."""
    value = asset.extra.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InventoryError(f"asset {asset.id}: {key} is {value!r}; it must be a number")
    return float(value)


def port(asset: Asset) -> int | None:
    """The device's TCP port, if the file says one."""
    return None if asset.extra.get("port") is None else _whole(asset, "port", 1, 65535)


def unit(asset: Asset) -> int:
    """The device's Modbus unit id."""
    return _whole(asset, "unit", 1, 247) if "unit" in asset.extra else 1


def _check(asset: Asset) -> None:
    """Finds what is wrong before anything is computed or listens."""
    unit(asset)
    match asset.type:
        case "battery":
            battery_limits(asset)
            initial_soc_pct(asset)
        case "pv":
            peak_w(asset)
            weather(asset)
        case "load":
            annual_kwh(asset)
            profile(asset)
        case "meter":
            pass
        case other:
            raise InventoryError(
                f"asset {asset.id}: the fleet has no SunSpec model of a {other}; "
                "it has battery, pv, meter and load"
            )


def _whole(asset: Asset, key: str, least: int, most: int) -> int:
    value = asset.extra[key]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InventoryError(f"asset {asset.id}: {key} is {value!r}; it must be {least} to {most}")
    return value


def _one_of(asset: Asset, key: str, default: str, known: Iterable[str]) -> str:
    value = str(asset.extra.get(key, default))
    names = {name.lower(): name for name in known}
    if value.lower() not in names:
        raise InventoryError(f"asset {asset.id}: {key} is {value!r}; it must be one of {', '.join(known)}")
    return names[value.lower()]
