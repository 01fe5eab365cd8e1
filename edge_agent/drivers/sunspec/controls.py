"""What to write so that a device follows a power. Pure; the order is the safe one.

    704  revert timer, then mode and watts, last WSetEna
    124  revert timer, then both rates, last StorCtl_Mod: charge and discharge limit meet at one power;
         a negative rate forces the other direction, as vendors practise it
    123  revert timer, then the limit, last WMaxLim_Ena: a ceiling for PV

Values are encoded with the scale factors that the device just gave.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge_agent.drivers.sunspec.codec import Name, encode, ratings
from edge_agent.drivers.sunspec.points import MODELS
from edge_agent.errors import Invalid

WATTS: Final = 1
BOTH_LIMITS: Final = 3
_ENABLES: Final = {704: "WSetEna", 124: "StorCtl_Mod", 123: "WMaxLim_Ena"}


@dataclass(frozen=True, slots=True)
class Write:
    """Neighbouring registers of one model, written at once."""

    model: int
    offset: int
    registers: tuple[int, ...]


def control_of(models: Mapping[int, object], values: Mapping[Name, float]) -> int | None:
    """The model to write: 704 where it knows WSet, else 124 with ratings, else 123 with a rating."""
    rated_w, charge_w, discharge_w = ratings(values)
    if 704 in models and Name(704, "WSet") in values:
        return 704
    if 124 in models and charge_w and discharge_w:
        return 124
    return 123 if 123 in models and rated_w else None


def follow(
    models: Mapping[int, object],
    values: Mapping[Name, float],
    factors: Mapping[Name, int],
    *,
    power_w: float,
    revert_s: int,
) -> list[Write]:
    """Raises Invalid where the device has no control that could do it."""
    rated_w, charge_w, discharge_w = ratings(values)
    match control_of(models, values):
        case 704:
            return _by_704(factors, power_w, revert_s)
        case 124 if charge_w and discharge_w:
            return _by_124(factors, power_w, revert_s, charge_w, discharge_w)
        case 123 if rated_w:
            return _by_123(factors, power_w, revert_s, rated_w)
    raise Invalid("the device has no usable control: 704.WSet, 124 with ratings, or 123 with a rating")


def let_go(models: Mapping[int, object], values: Mapping[Name, float]) -> list[Write]:
    """The enable of the control that `follow` uses, and of no other: that one may be the owner's."""
    control = control_of(models, values)
    return [] if control is None else [_write(control, (_ENABLES[control], 0))]


def _by_704(factors: Mapping[Name, int], power_w: float, revert_s: int) -> list[Write]:
    factor = factors.get(Name(704, "WSet"), 0)
    return [
        _write(704, ("WSetEnaRvrt", 0), ("WSetRvrtTms", revert_s)),
        _write(704, ("WSetMod", WATTS), ("WSet", power_w), factor=factor),
        _write(704, ("WSetEna", 1)),
    ]


def _by_124(
    factors: Mapping[Name, int], power_w: float, revert_s: int, charge_w: float, discharge_w: float
) -> list[Write]:
    factor = factors.get(Name(124, "OutWRte"), 0)
    return [
        _write(124, ("InOutWRte_RvrtTms", revert_s)),
        # Each rate is a percentage of its own direction's rating, also where it forces the other one.
        _write(
            124,
            ("OutWRte", 100 * power_w / discharge_w),
            ("InWRte", -100 * power_w / charge_w),
            factor=factor,
        ),
        _write(124, ("StorCtl_Mod", BOTH_LIMITS)),
    ]


def _by_123(factors: Mapping[Name, int], power_w: float, revert_s: int, rated_w: float) -> list[Write]:
    factor = factors.get(Name(123, "WMaxLimPct"), 0)
    percent = min(max(100 * power_w / rated_w, 0.0), 100.0)
    return [
        _write(123, ("WMaxLimPct_RvrtTms", revert_s)),
        _write(123, ("WMaxLimPct", percent), factor=factor),
        _write(123, ("WMaxLim_Ena", 1)),
    ]


def _write(model: int, *points: tuple[str, float], factor: int = 0) -> Write:
    """Points must stand side by side; the factor is for those that have one."""
    registers: list[int] = []
    first = MODELS[model][points[0][0]]
    for name, value in points:
        point = MODELS[model][name]
        assert point.offset == first.offset + len(registers), f"{name} is no neighbour"
        registers += encode(point, value, factor if point.scale is not None else 0)
    return Write(model, first.offset, tuple(registers))
