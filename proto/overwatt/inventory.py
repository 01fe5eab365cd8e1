"""The assets file: sites and their assets, read alike by the cloud and by an agent (D-040).

    sites:
      - id: site-a
        name: Site A
        assets:
          - id: 7ba7b810-9dad-11d1-80b4-00c04fd430c8
            name: SA-BESS-1
            type: battery
            capacity_mwhr: 120
            max_mw: 60
            min_mw: -60
            driver: sunspec
            host: 127.0.0.1
            port: 15021

This module takes the parsed document, so that it needs no YAML library. Keys that it does not know are
kept in `extra`: a driver's or the simulated fleet's settings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from overwatt.topics import is_device

NOT_FOUND: Final = (
    "Error: assets.yaml not found. Set ASSETS_PATH or place assets.yaml in the headend cwd or workspace root."
)
"""D-022, to the letter."""
TYPES: Final = ("battery", "pv", "meter", "load", "ev_charger", "heat_pump", "sensor")
DISPATCHABLE: Final = ("battery",)
_KNOWN: Final = {
    "id", "name", "type", "location", "capacity_mwhr", "max_mw", "min_mw", "efficiency",
    "ramp_rate_mw_per_min", "driver",
}  # fmt: skip


class InventoryError(ValueError):
    """The file says something that cannot be used; the message names the place and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One asset as the file states it. Power is positive on discharge."""

    id: str
    site_id: str
    site_name: str
    name: str
    type: str = "battery"
    location: str = ""
    capacity_mwh: float = 0.0
    max_mw: float = 0.0
    min_mw: float = 0.0
    efficiency: float = 1.0
    ramp_rate_mw_per_min: float | None = None
    driver: str = "simulated"
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Site:
    """A place with assets, in the order of the file."""

    id: str
    name: str
    assets: tuple[Asset, ...]


def parse_inventory(document: object) -> tuple[Site, ...]:
    """Sites of a parsed assets file; raises InventoryError."""
    if not isinstance(document, Mapping) or not isinstance(document.get("sites"), list):
        raise InventoryError("the assets file must be a mapping with a list `sites`")
    sites = tuple(_site(entry, f"sites[{index}]") for index, entry in enumerate(document["sites"]))
    seen: set[str] = set()
    for name in [site.id for site in sites] + [asset.id for site in sites for asset in site.assets]:
        if name in seen:
            raise InventoryError(f"id {name!r} stands twice; each site and asset needs its own")
        seen.add(name)
    return sites


def _site(entry: object, place: str) -> Site:
    if not isinstance(entry, Mapping):
        raise InventoryError(f"{place} must be a mapping with id, name and assets, not {entry!r}")
    site_id = _id(entry.get("id"), f"{place}.id")
    name = str(entry.get("name") or site_id)
    assets = entry.get("assets") or []
    if not isinstance(assets, list):
        raise InventoryError(f"{place}.assets must be a list, not {assets!r}")
    return Site(
        site_id,
        name,
        tuple(_asset(asset, site_id, name, f"{place}.assets[{i}]") for i, asset in enumerate(assets)),
    )


def _asset(entry: object, site_id: str, site_name: str, place: str) -> Asset:
    if not isinstance(entry, Mapping):
        raise InventoryError(f"{place} must be a mapping, not {entry!r}")
    kind = str(entry.get("type", "battery"))
    if kind not in TYPES:
        raise InventoryError(f"{place}.type is {kind!r}; it must be one of {', '.join(TYPES)}")
    asset_id = _id(entry.get("id"), f"{place}.id")
    max_mw = _number(entry, "max_mw", place, 0.0)
    min_mw = _number(entry, "min_mw", place, -max_mw if kind in DISPATCHABLE else 0.0)
    if min_mw > max_mw:
        raise InventoryError(f"{place}.min_mw {min_mw:g} is above max_mw {max_mw:g}")
    efficiency = _number(entry, "efficiency", place, 1.0)
    if not 0 < efficiency <= 1:
        raise InventoryError(f"{place}.efficiency is {efficiency:g}; it must be above 0 and at most 1")
    capacity_mwh = _number(entry, "capacity_mwhr", place, 0.0)
    if capacity_mwh < 0:
        raise InventoryError(f"{place}.capacity_mwhr is {capacity_mwh:g}; it must not be negative")
    ramp = entry.get("ramp_rate_mw_per_min")
    ramp_rate = None if ramp is None else _number(entry, "ramp_rate_mw_per_min", place, 0.0)
    if ramp_rate is not None and ramp_rate <= 0:
        raise InventoryError(f"{place}.ramp_rate_mw_per_min is {ramp_rate:g}; it must be above 0")
    return Asset(
        id=asset_id,
        site_id=site_id,
        site_name=site_name,
        name=str(entry.get("name") or asset_id),
        type=kind,
        location=str(entry.get("location") or ""),
        capacity_mwh=capacity_mwh,
        max_mw=max_mw,
        min_mw=min_mw,
        efficiency=efficiency,
        ramp_rate_mw_per_min=ramp_rate,
        driver=str(entry.get("driver", "simulated")),
        extra={str(key): value for key, value in entry.items() if key not in _KNOWN},
    )


def _id(value: object, place: str) -> str:
    text = "" if value is None else str(value)
    if not is_device(text):
        raise InventoryError(
            f"{place} is {text!r}; it must be 1 to 36 of a-z, 0-9, - and _, starting with a letter or digit"
        )
    return text


def _number(entry: Mapping[str, Any], key: str, place: str, default: float) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InventoryError(f"{place}.{key} is {value!r}; it must be a number")
    return float(value)
