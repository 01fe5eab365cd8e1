"""SunSpec's registers to values and back. Pure.

A "not implemented" sentinel is absent, never a number; so is a value whose scale factor is not
implemented or out of range, and an accumulator of zero. Words are big-endian, the high word first.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from edge_agent.drivers.sunspec.points import CONTROLS, MODELS, RATINGS, SOURCES, Point, Source
from edge_agent.errors import Invalid

MOST_REGISTERS: Final = 125
"""that one request may read"""
MARKER: Final = [0x5375, 0x6E53]
END: Final = 0xFFFF

_FORMATS: Final = {
    "int16": ">h", "sunssf": ">h", "uint16": ">H", "enum16": ">H", "bitfield16": ">H", "acc16": ">H",
    "count": ">H", "pad": ">H",
    "int32": ">i", "uint32": ">I", "enum32": ">I", "bitfield32": ">I", "acc32": ">I",
    "int64": ">q", "uint64": ">Q", "bitfield64": ">Q", "acc64": ">Q",
    "float32": ">f", "float64": ">d",
}  # fmt: skip
_SENTINELS: Final = {
    "int16": -0x8000, "sunssf": -0x8000, "uint16": 0xFFFF, "enum16": 0xFFFF, "bitfield16": 0xFFFF,
    "count": 0xFFFF,
    "int32": -0x8000_0000, "uint32": 0xFFFF_FFFF, "enum32": 0xFFFF_FFFF, "bitfield32": 0xFFFF_FFFF,
    "int64": -0x8000_0000_0000_0000, "uint64": 0xFFFF_FFFF_FFFF_FFFF, "bitfield64": 0xFFFF_FFFF_FFFF_FFFF,
    "acc16": 0, "acc32": 0, "acc64": 0,
}  # fmt: skip


class Span(NamedTuple):
    """Registers to read in one request."""

    address: int
    length: int


class Name(NamedTuple):
    """A point: model and name."""

    model: int
    name: str


def decode_text(registers: Sequence[int]) -> str:
    raw = struct.pack(f">{len(registers)}H", *registers)
    return raw.split(b"\0")[0].decode("utf-8", "replace").strip()


def decode(registers: Sequence[int], kind: str) -> float | None:
    """The raw number of a point, without its scale; None where it is not implemented."""
    (value,) = struct.unpack(_FORMATS[kind], struct.pack(f">{len(registers)}H", *registers))
    if value == _SENTINELS.get(kind) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, int | float) else None


def encode(point: Point, value: float, factor: int = 0) -> list[int]:
    """Registers for a value in the point's unit; raises Invalid where it does not fit."""
    raw: float = value if point.type.startswith("float") else round(value / 10.0**factor)
    try:
        packed = struct.pack(_FORMATS[point.type], raw)
    except (struct.error, OverflowError):
        packed = b""
    if not packed or raw == _SENTINELS.get(point.type):
        raise Invalid(
            f"model {point.model} point {point.name}: {value:g} does not fit into {point.type} "
            f"with scale factor {factor}"
        )
    return list(struct.unpack(f">{len(packed) // 2}H", packed))


def spans(points: Iterable[Point], bases: Mapping[int, int]) -> list[Span]:
    """Few requests for these points, each point in one request with its scale factor.

    Devices change factors while they run, so a value is only worth something with the factor beside it.
    """
    reach = sorted(_reach(point, bases[point.model]) for point in points)
    merged: list[tuple[int, int]] = []
    for first, last in reach:
        if merged and max(last, merged[-1][1]) - merged[-1][0] < MOST_REGISTERS:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return [Span(first, last - first + 1) for first, last in merged]


def values_of(
    points: Iterable[Point], bases: Mapping[int, int], images: Mapping[Span, Sequence[int]]
) -> dict[Name, float]:
    """Scaled values of the points that the device implements."""
    values = {}
    for point in points:
        base = bases[point.model]
        first, last = _reach(point, base)
        for span, registers in images.items():
            if span.address <= first and last < span.address + len(registers):
                value = _scaled(point, registers, span.address - base)
                if value is not None:
                    values[Name(point.model, point.name)] = value
                break
    return values


def quantities(values: Mapping[Name, float]) -> dict[str, float]:
    """Our quantities from what was read."""
    found = {}
    for quantity, sources in SOURCES.items():
        for source in sources:
            value = _value(source, values)
            if value is not None:
                found[quantity] = value
                break
    return found | _told(values)


def ratings(values: Mapping[Name, float]) -> tuple[float | None, float | None, float | None]:
    """Watts that 100 % means: of power, of charging, of discharging."""
    power_w = _first(values, Name(702, "WMax"), Name(702, "WMaxRtg"), Name(120, "WRtg"))
    charge_w = _first(values, Name(124, "WChaMax"), Name(702, "WChaRteMax"), Name(120, "MaxChaRte"))
    discharge_w = _first(values, Name(702, "WDisChaRteMax"), Name(120, "MaxDisChaRte"), Name(124, "WChaMax"))
    return power_w, charge_w, discharge_w


def wanted_control_points(models: Mapping[int, object]) -> list[Point]:
    """All that has to be known before a setpoint is written."""
    return [
        MODELS[model][name]
        for table in (CONTROLS, RATINGS)
        for model, names in table.items()
        if model in models
        for name in names
    ]


def _told(values: Mapping[Name, float]) -> dict[str, float]:
    """power_setpoint_w and control_mode: what the controls say, 704 before 124 before 123."""
    power_w, _, discharge_w = ratings(values)
    enabled = values.get(Name(704, "WSetEna"))
    if enabled is not None:
        percent = values.get(Name(704, "WSetPct"))
        setpoint_w = values.get(Name(704, "WSet"))
        if values.get(Name(704, "WSetMod")) == 0:
            setpoint_w = None if percent is None or power_w is None else percent / 100 * power_w
        return _setpoint(enabled == 1, setpoint_w)
    mode = values.get(Name(124, "StorCtl_Mod"))
    if mode is not None:
        percent = values.get(Name(124, "OutWRte"))
        known = percent is not None and discharge_w is not None and int(mode) == 3
        return _setpoint(mode > 0, percent / 100 * discharge_w if known else None)  # type: ignore[operator]
    limited = values.get(Name(123, "WMaxLim_Ena"))
    if limited is not None:
        percent = values.get(Name(123, "WMaxLimPct"))
        known = percent is not None and power_w is not None
        return _setpoint(limited == 1, percent / 100 * power_w if known else None)  # type: ignore[operator]
    return {}


def _setpoint(is_told: bool, setpoint_w: float | None) -> dict[str, float]:
    told = {"control_mode": float(is_told)}
    if is_told and setpoint_w is not None:
        told["power_setpoint_w"] = setpoint_w
    return told


def _value(source: Source, values: Mapping[Name, float]) -> float | None:
    parts = [values[name] for each in source.names if (name := Name(source.model, each)) in values]
    if not parts:
        return None
    return sum(parts) / len(parts) * source.factor + source.offset


def _first(values: Mapping[Name, float], *names: Name) -> float | None:
    return next((values[name] for name in names if values.get(name)), None)


def _reach(point: Point, base: int) -> tuple[int, int]:
    """First and last address of a point and its scale factor."""
    first, last = base + point.offset, base + point.offset + point.size - 1
    if isinstance(point.scale, str):
        factor = base + MODELS[point.model][point.scale].offset
        first, last = min(first, factor), max(last, factor)
    return first, last


def _scaled(point: Point, registers: Sequence[int], shift: int) -> float | None:
    """`registers` begin `shift` behind the model's ID register."""
    start = point.offset - shift
    raw = decode(registers[start : start + point.size], point.type)
    if raw is None or point.scale is None:
        return raw
    factor: float | None = point.scale if isinstance(point.scale, int) else None
    if isinstance(point.scale, str):
        at = MODELS[point.model][point.scale].offset - shift
        factor = decode(registers[at : at + 1], "sunssf")
    if factor is None or not -10 <= factor <= 10:
        return None
    return float(raw * 10.0**factor)
