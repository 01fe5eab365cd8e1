"""How the agent speaks to a device, and which drivers there are.

A driver is a package with a `DRIVER` in its `__init__`. Every folder here that has one is found by itself;
anybody else's is found by the entry point group `overwatt.drivers`. README.md shows how to add one.
"""

import importlib
import math
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Literal, Protocol

from edge_agent.errors import Invalid
from edge_agent.model import Reading
from overwatt.inventory import Asset

ENTRY_POINTS: Final = "overwatt.drivers"
REVERT_S: Final = 120
"""Seconds after which a device that hears nothing more returns to its own default (DEADMAN_S)."""
Wanted = Callable[[], bool]
"""Whether a power is still wanted; asked before each write, because the customer may say no meanwhile."""


def always() -> bool:
    return True


class Driver(Protocol):
    """One device. The agent never calls two methods at once, and closes it at the end.

    Every method raises Unavailable when the device does not answer; the next call tries again.
    """

    async def read(self) -> Reading:
        """What it measures now; what it does not measure is absent."""
        ...

    async def set_power(self, power_w: float, is_wanted: Wanted = always, revert_s: int = REVERT_S) -> None:
        """Make it follow a power, + discharge, and read back that it took it.

        Writes nothing more once `is_wanted` says no, and raises Unavailable then: `release` comes next.
        Called again and again with the same power while the cloud answers. Where the device has a revert
        timer, it is set to `revert_s`, so that it lets go when nobody calls. Raises Invalid where the device
        cannot do this at all.
        """
        ...

    async def release(self) -> None:
        """Give it back to its own default."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """What a driver's package says about itself as `DRIVER`."""

    name: str
    tier: Literal["stable", "beta"]
    summary: str
    connect: Callable[[Asset], Driver]
    """from an asset of the inventory; its settings stand in `extra`. No I/O; raises Invalid"""
    describe: Callable[[Asset], Awaitable[str]] | None = None
    """for people: what stands at that address"""


def all_drivers() -> dict[str, DriverInfo]:
    """By name, in its order; one that cannot be imported is not hidden."""
    found = [
        module.DRIVER
        for info in pkgutil.iter_modules(__path__)
        if hasattr(module := importlib.import_module(f"{__name__}.{info.name}"), "DRIVER")
    ]
    found += [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    return {driver.name: driver for driver in sorted(found, key=lambda driver: driver.name)}


def connect(asset: Asset) -> Driver:
    """The driver for an asset; raises Invalid."""
    drivers = all_drivers()
    if asset.driver not in drivers:
        raise Invalid(f"asset {asset.id}: driver is {asset.driver!r}; there are {', '.join(drivers)}")
    return drivers[asset.driver].connect(asset)


def text(asset: Asset, key: str) -> str:
    """A driver's own setting of an asset; raises Invalid where it is missing."""
    value = asset.extra.get(key)
    if not isinstance(value, str) or not value:
        raise Invalid(f"asset {asset.id}: {key} is {value!r}; driver {asset.driver} needs a text there")
    return value


def whole(asset: Asset, key: str, default: int) -> int:
    """The same for a whole number with a default."""
    value = asset.extra.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"asset {asset.id}: {key} is {value!r}; it must be a whole number")
    return value


def number(asset: Asset, key: str, default: float) -> float:
    """The same for any number."""
    value = asset.extra.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"asset {asset.id}: {key} is {value!r}; it must be a number")
    return float(value)
