"""A running fleet: the devices of an inventory, site by site, each at its port."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from edge_agent.fleet import inventory, load, pv
from edge_agent.fleet.battery_device import BatteryDevice
from edge_agent.fleet.clock import Clock, real_clock
from edge_agent.fleet.device import Device
from edge_agent.fleet.meter_device import GridMeterDevice, LoadDevice
from edge_agent.fleet.pv_device import PvDevice
from edge_agent.fleet.server import ServedDevice
from edge_agent.fleet.site import SiteModel
from edge_agent.fleet.year import YearSeries, cached, default_cache_dir
from overwatt.inventory import Asset, InventoryError, Site

LOOPBACK: Final = "127.0.0.1"
SMALLEST_METER_W: Final = 1000.0
"""Range of a grid meter that has nothing beside it."""

Fleet = Mapping[str, ServedDevice]
"""Served devices by asset id, in the order of the file."""


@asynccontextmanager
async def running_fleet(
    sites: Iterable[Site],
    *,
    host: str | None = None,
    free_ports: bool = False,
    base_port: int | None = None,
    clock: Clock = real_clock,
    speed: float = 1.0,
    start: datetime | None = None,
    cache_dir: Path | None = None,
) -> AsyncIterator[Fleet]:
    """Every `driver: sunspec` asset at its port, until the block ends.

    A device listens on `host`, else on the file's, at the file's port; one without a port gets the next
    from base_port on. With free_ports the file's ports do not count.
    """
    sites = tuple(sites)
    start = datetime.now(UTC) if start is None else start.astimezone(UTC)
    assets = inventory.served(sites)
    ports = _ports(assets, free_ports=free_ports, base_port=base_port)
    series = await asyncio.to_thread(_series, assets, start.year, cache_dir)
    async with AsyncExitStack() as stack:
        fleet: dict[str, ServedDevice] = {}
        for site in sites:
            devices = site_devices(inventory.served([site]), series, year_s=_second_of_year(start))
            model = SiteModel(devices, clock=clock, speed=speed, year_s=_second_of_year(start))
            for device in devices:
                asset = device.asset
                served = ServedDevice(
                    device,
                    model,
                    host=host or str(asset.extra.get("host") or LOOPBACK),
                    port=ports[asset.id],
                    unit=inventory.unit(asset),
                )
                await served.start()
                stack.push_async_callback(served.stop)
                fleet[asset.id] = served
        yield fleet


def site_devices(
    assets: Iterable[Asset], series: Mapping[str, YearSeries], *, year_s: float
) -> tuple[Device, ...]:
    """Models of one site's assets; a meter's range is the sum of what stands beside it."""
    assets = tuple(assets)
    devices: dict[str, Device] = {
        asset.id: _device(asset, series, year_s) for asset in assets if asset.type != "meter"
    }
    range_w = max(SMALLEST_METER_W, sum(device.rated_w for device in devices.values()))
    return tuple(devices.get(asset.id) or GridMeterDevice(asset, range_w) for asset in assets)


def describe(asset: Asset, year: int) -> str:
    """What moves a device, for people."""
    match asset.type:
        case "pv":
            return pv.describe(inventory.weather(asset), year)
        case "load":
            return load.describe(inventory.profile(asset), year)
        case "meter":
            return "load - PV - battery of its site"
        case _:
            return "setpoint, ramp, efficiency and state of charge"


def _device(asset: Asset, series: Mapping[str, YearSeries], year_s: float) -> Device:
    match asset.type:
        case "pv":
            return PvDevice(asset, series[inventory.weather(asset)], year_s)
        case "load":
            profile = series[inventory.profile(asset)]
            return LoadDevice(asset, inventory.annual_kwh(asset), profile, year_s)
        case _:
            return BatteryDevice(asset)


def _series(assets: Iterable[Asset], year: int, cache_dir: Path | None) -> dict[str, YearSeries]:
    """The years that these assets follow, each once."""
    folder = cache_dir or default_cache_dir()
    series: dict[str, YearSeries] = {}
    for asset in assets:
        if asset.type == "pv":
            name = inventory.weather(asset)
            series[name] = series.get(name) or cached(
                f"pv-{name}-{year}", folder, partial(pv.power_per_peak, name, year)
            )
        elif asset.type == "load":
            name = inventory.profile(asset)
            series[name] = series.get(name) or cached(
                f"load-{name}-{year}", folder, partial(load.power_per_annual_kwh, name, year)
            )
    return series


def _ports(assets: Iterable[Asset], *, free_ports: bool, base_port: int | None) -> dict[str, int]:
    assets = tuple(assets)
    if free_ports:
        return {asset.id: 0 for asset in assets}
    ports = {asset.id: port for asset in assets if (port := inventory.port(asset)) is not None}
    for asset in assets:
        if asset.id in ports:
            continue
        if base_port is None:
            raise InventoryError(f"asset {asset.id}: port is missing; say which TCP port the device has")
        taken = set(ports.values())
        ports[asset.id] = next(port for port in range(base_port, 65536) if port not in taken)
    owner: dict[int, str] = {}
    for asset_id, port in ports.items():
        if port in owner:
            raise InventoryError(f"assets {owner[port]} and {asset_id} share port {port}; each needs its own")
        owner[port] = asset_id
    return ports


def _second_of_year(start: datetime) -> float:
    return (start - datetime(start.year, 1, 1, tzinfo=UTC)).total_seconds()
