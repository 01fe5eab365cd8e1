"""A SunSpec device over Modbus TCP: finds its models, reads them, and writes its controls."""

import json
from typing import Final

from edge_agent.drivers import REVERT_S, Wanted, always, number, text, whole
from edge_agent.drivers.modbus import Connection, NoSuchRegisters
from edge_agent.drivers.sunspec import codec, controls
from edge_agent.drivers.sunspec.codec import Name, Span
from edge_agent.drivers.sunspec.discovery import Map, discover
from edge_agent.drivers.sunspec.points import MODELS, Point, wanted
from edge_agent.errors import Invalid, Unavailable
from edge_agent.model import Reading
from overwatt.inventory import Asset

DEFAULT_PORT: Final = 502
TIMEOUT_S: Final = 3.0


class SunSpecDriver:
    """One device. After a lost connection it looks for the models anew: firmware may have changed."""

    def __init__(self, asset: Asset) -> None:
        self._connection = Connection(
            text(asset, "host"),
            whole(asset, "port", DEFAULT_PORT),
            whole(asset, "unit", 1),
            number(asset, "timeout_s", TIMEOUT_S),
        )
        self._map: Map | None = None

    async def read(self) -> Reading:
        device = await self._ready()
        values = await self._values(device, wanted(device.models))
        found = codec.quantities(values)
        if not found:
            raise Unavailable(
                f"{self._connection.address} measures nothing that is known: its models are "
                f"{', '.join(map(str, device.models))}"
            )
        return Reading(found)

    async def set_power(self, power_w: float, is_wanted: Wanted = always, revert_s: int = REVERT_S) -> None:
        device = await self._ready()
        values = await self._values(device, codec.wanted_control_points(device.models))
        factors = await self._factors(device)
        writes = controls.follow(device.models, values, factors, power_w=power_w, revert_s=revert_s)
        await self._write(device, writes, is_wanted)

    async def release(self) -> None:
        device = await self._ready()
        values = await self._values(device, codec.wanted_control_points(device.models))
        await self._write(device, controls.let_go(device.models, values))

    async def close(self) -> None:
        self._connection.close()

    async def map(self) -> Map:
        """Who the device is and which models it has; raises Unavailable."""
        return await self._ready()

    async def _ready(self) -> Map:
        if self._map is None or not self._connection.is_open:
            self._connection.close()
            await self._connection.open()
            self._map = None
            self._map = await discover(self._connection)
        return self._map

    async def _values(self, device: Map, points: list[Point]) -> dict[Name, float]:
        points = [point for point in points if device.models[point.model].has(point)]
        bases = {model: found.base for model, found in device.models.items()}
        images: dict[Span, list[int]] = {}
        for span in codec.spans(points, bases):
            try:
                images[span] = await self._connection.read(*span)
            except NoSuchRegisters as error:
                self._connection.close()  # the map is not what it was
                raise Unavailable(str(error)) from error
        return codec.values_of(points, bases, images)

    async def _factors(self, device: Map) -> dict[Name, int]:
        """The scale factors of what may be written, as the device has them now."""
        writable = (Name(704, "WSet"), Name(124, "OutWRte"), Name(123, "WMaxLimPct"))
        points = {
            name: MODELS[name.model][str(MODELS[name.model][name.name].scale)]
            for name in writable
            if name.model in device.models
        }
        values = await self._values(device, list(points.values()))
        found = {name: values.get(Name(name.model, point.name)) for name, point in points.items()}
        return {name: int(value) for name, value in found.items() if value is not None}

    async def _write(self, device: Map, writes: list[controls.Write], is_wanted: Wanted = always) -> None:
        """In this order, the enable last; then all of it must stand there."""
        for write in writes:
            if not is_wanted():
                raise Unavailable(f"{self._connection.address}: the power is not wanted any more")
            address = device.models[write.model].base + write.offset
            try:
                await self._connection.write(address, write.registers)
            except NoSuchRegisters as error:
                raise Invalid(str(error)) from error
        for write in writes:
            address = device.models[write.model].base + write.offset
            registers = await self._connection.read(address, len(write.registers))
            if tuple(registers) != write.registers:
                raise Unavailable(
                    f"{self._connection.address} confirmed a write to model {write.model} and did not keep "
                    f"it: registers from {address} hold {registers}, not {list(write.registers)}"
                )


async def describe(asset: Asset) -> str:
    """What a device says about itself, for people; raises Unavailable or Invalid."""
    driver = SunSpecDriver(asset)
    try:
        device, reading = await driver.map(), await driver.read()
    finally:
        await driver.close()
    about = {
        "maker": device.maker,
        "product": device.product,
        "version": device.version,
        "serial": device.serial,
        "base_address": device.base,
        "models": ", ".join(map(str, sorted(device.models))),
        "reading": dict(reading.values),
    }
    return json.dumps(about, indent=2, ensure_ascii=False)
