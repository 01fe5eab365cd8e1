"""Registers to values. Pure, so that it can be tested without a device."""

from collections.abc import Sequence

from edge_agent.drivers.blueprint.points import FIRST, POINTS


def values_of(registers: Sequence[int]) -> dict[str, float]:
    """What the device measures; a value that it does not have is left out."""
    values = {}
    for point in POINTS:
        raw = registers[point.address - FIRST]
        signed = raw - 0x10000 if raw >= 0x8000 else raw
        if signed != point.absent:
            values[point.quantity] = signed * point.gain
    return values
