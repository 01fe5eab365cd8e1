"""SunSpec registers of one device, laid out by pysunspec2's own model files.

    base    53 75 6E 53   "SunS"
    base+2  model header (ID, L) and its points, one model after the other
    ...     FF FF 00 00   the end

A point that nobody fills reads as not implemented. Values are given in the point's unit and stored with
the scale factor that the image holds at that moment, so value and factor always belong together.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sunspec2 import mb
from sunspec2.device import get_model_def

BASE_ADDRESS: Final = 40000
MARKER: Final = (0x5375, 0x6E53)
END: Final = (0xFFFF, 0)
HEADROOM: Final = 1.25
"""Range above the nameplate that a scale factor leaves."""
INT16_MAX: Final = 32767

Name = tuple[int, str]
"""A point: model and name, e.g. (701, "W")."""


class IllegalAddress(Exception):
    """A write that touches something that is not there, not writable, or only half of a point."""


class IllegalValue(Exception):
    """A write of a value that the point does not know."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a point stands and how it is coded."""

    model: int
    name: str
    address: int
    size: int
    type: str
    scale: str | int | None
    symbols: frozenset[int]
    access: str


def scale_for(largest: float, *, finest: int = 0) -> int:
    """The smallest scale factor with which a 16-bit point holds this value and a quarter more.

    60 MW needs 4: the register counts in steps of 10 kW, and no 16-bit point can do better.
    """
    scale = finest
    while largest * HEADROOM / 10.0**scale > INT16_MAX:
        scale += 1
    return scale


class RegisterMap:
    """The image of one device."""

    def __init__(self, models: Iterable[int], base: int = BASE_ADDRESS) -> None:
        self.base = base
        self.image: list[int] = list(MARKER)
        self.points: dict[Name, Point] = {}
        self._writable: dict[int, Point] = {}
        for model in models:
            self._append(model)
        self.image += END

    def put(self, model: int, /, **values: float | str | None) -> None:
        """Sets points of a model; None is "not implemented", as is what does not fit into the point."""
        points = [(self.points[model, name], value) for name, value in values.items()]
        # Factors first: the values beside them are stored with the new ones.
        for point, value in sorted(points, key=lambda pair: pair[0].type != "sunssf"):
            self._store(point, self._encode(point, value))

    def value(self, model: int, name: str) -> float | None:
        """A number in its unit, or None where nothing is implemented."""
        point = self.points[model, name]
        raw = self._raw(point)
        if raw is None:
            return None
        return raw * 10.0 ** self._scale(point) if point.scale is not None else raw

    def allow_writes(self, model: int, *names: str) -> None:
        """Opens points that the device acts on; every other write is refused."""
        for name in names:
            point = self.points[model, name]
            if point.access != "RW":
                raise ValueError(f"model {model} says that {name} cannot be written")
            self._writable.update((point.address + offset, point) for offset in range(point.size))

    def write(self, address: int, registers: Sequence[int]) -> frozenset[Name]:
        """Stores what a client wrote, all or nothing, and says which points that were."""
        written = list(self._points_of(address, len(registers)))
        for point in written:
            start = point.address - address
            self._check_symbol(point, registers[start : start + point.size])
        offset = address - self.base
        self.image[offset : offset + len(registers)] = registers
        return frozenset((point.model, point.name) for point in written)

    def image_without(self, names: Iterable[Name]) -> list[int]:
        """A copy in which some points read as not implemented."""
        image = list(self.image)
        for name in names:
            point = self.points[name]
            start = point.address - self.base
            image[start : start + point.size] = _not_implemented(point)
        return image

    def _append(self, model: int) -> None:
        start = len(self.image)
        for spec in _flatten(get_model_def(model)["group"]):
            point = Point(
                model=model,
                name=spec["name"],
                address=self.base + len(self.image),
                size=spec["size"],
                type=spec["type"],
                scale=spec.get("sf"),
                symbols=frozenset(symbol["value"] for symbol in spec.get("symbols", ())),
                access=spec.get("access", "R"),
            )
            # Sub-groups repeat names; none of them is filled here, so the first one keeps the name.
            self.points.setdefault((model, point.name), point)
            self.image += _not_implemented(point)
        self.put(model, ID=model, L=len(self.image) - start - 2)

    def _points_of(self, address: int, count: int) -> Iterator[Point]:
        end = address + count
        while address < end:
            point = self._writable.get(address)
            if point is None or point.address != address or address + point.size > end:
                raise IllegalAddress(address)
            yield point
            address += point.size

    def _check_symbol(self, point: Point, registers: Sequence[int]) -> None:
        if point.type.startswith("enum") and point.symbols and registers[-1] not in point.symbols:
            raise IllegalValue(f"{point.name} of model {point.model} has no value {registers[-1]}")

    def _raw(self, point: Point) -> int | None:
        start = point.address - self.base
        registers = self.image[start : start + point.size]
        info = mb.point_type_info[point.type]
        raw: int = info.data_to(struct.pack(f">{point.size}H", *registers))
        return raw if info.is_impl(raw) else None

    def _scale(self, point: Point) -> int:
        if isinstance(point.scale, str):
            return self._raw(self.points[point.model, point.scale]) or 0
        return point.scale or 0

    def _encode(self, point: Point, value: float | str | None) -> list[int]:
        if value is None:
            return _not_implemented(point)
        info = mb.point_type_info[point.type]
        if isinstance(value, str):
            data: bytes = info.to_data(value[: 2 * point.size], 2 * point.size)
            return list(struct.unpack(f">{point.size}H", data))
        raw = round(value / 10.0 ** self._scale(point))
        if point.type.startswith("acc"):
            raw %= 1 << 16 * point.size  # accumulators roll over
        try:
            return list(struct.unpack(f">{point.size}H", info.to_data(raw)))
        except struct.error:
            return _not_implemented(point)

    def _store(self, point: Point, registers: list[int]) -> None:
        start = point.address - self.base
        self.image[start : start + point.size] = registers


def _flatten(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from group["points"]
    for child in group.get("groups", ()):
        yield from _flatten(child)


def _not_implemented(point: Point) -> list[int]:
    data: bytes = mb.create_unimpl_value(point.type, 2 * point.size)
    return list(struct.unpack(f">{point.size}H", data))
