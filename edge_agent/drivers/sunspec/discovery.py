"""Which models a device has: the marker `SunS` at one of three bases, then a chain of model headers."""

from dataclasses import dataclass
from typing import Final

from edge_agent.drivers.modbus import Connection, NoSuchRegisters
from edge_agent.drivers.sunspec.codec import END, MARKER, decode_text
from edge_agent.drivers.sunspec.points import MODELS, Point
from edge_agent.errors import Unavailable

BASES: Final = (40000, 0, 50000)
ATTEMPTS: Final = 2
"""A lost answer is no wrong base: ask again before moving on."""
MOST_MODELS: Final = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A model of the device."""

    base: int
    """address of its ID register"""
    length: int
    """registers behind ID and L"""

    def has(self, point: Point) -> bool:
        """Older revisions of a model are shorter."""
        ends = [point.offset + point.size]
        if isinstance(point.scale, str):
            ends.append(MODELS[point.model][point.scale].offset + 1)
        return max(ends) <= self.length + 2


@dataclass(frozen=True, slots=True)
class Map:
    """What a device said about itself."""

    base: int
    models: dict[int, Found]
    """of each model the first"""
    maker: str
    product: str
    version: str
    serial: str


async def discover(connection: Connection) -> Map:
    """Raises Unavailable when the device does not answer, or does not speak SunSpec."""
    base = await _base(connection)
    models: dict[int, Found] = {}
    address = base + 2
    for _ in range(MOST_MODELS):
        model, length = await connection.read(address, 2)
        if model == END:
            break
        models.setdefault(model, Found(address, length))
        address += 2 + length
    texts = await _texts(connection, models)
    return Map(base, models, texts["Mn"], texts["Md"], texts["Vr"], texts["SN"])


async def _base(connection: Connection) -> int:
    seen = []
    for base in BASES:
        for _ in range(ATTEMPTS):
            try:
                if not connection.is_open:
                    await connection.open()
                if await connection.read(base, 2) == MARKER:
                    return base
                seen.append(f"{base}: something else")
            except NoSuchRegisters:
                seen.append(f"{base}: nothing there")
            except Unavailable as error:
                if not connection.is_open and "cannot connect" in str(error):
                    raise
                seen.append(f"{base}: no answer")
                continue
            break
    raise Unavailable(f"{connection.address} does not show SunSpec's marker ({', '.join(seen)})")


async def _texts(connection: Connection, models: dict[int, Found]) -> dict[str, str]:
    names = ("Mn", "Md", "Vr", "SN")
    if 1 not in models:
        return dict.fromkeys(names, "")
    common = models[1].base
    registers = await connection.read(common, min(models[1].length + 2, 68))
    points = {name: MODELS[1][name] for name in names}
    return {
        name: decode_text(registers[point.offset : point.offset + point.size])
        for name, point in points.items()
    }
