"""The canonical quantities: name, unit, sign and kind, defined once.

The database's columns, the rollups and the drivers are generated from or checked against QUANTITIES.
Numbers go over the wire and never change their meaning; a retired one is not used again.

Signs: a battery's, PV plant's or any DER's power is positive when it discharges or generates; grid power
is positive on import; a load's on consumption, so that p_grid + p_der = p_load. Energy is two rising
counters, never one signed one: export counts what the positive DER direction delivered (a meter: what it
fed into the grid), import what was taken in. SoC is 0 to 100 % of usable energy.
"""

import enum
from dataclasses import dataclass
from typing import Final


class Kind(enum.Enum):
    """How values are rolled up."""

    GAUGE = "gauge"
    """sum, count, min, max, last"""
    COUNTER = "counter"
    """first and last; resets stand in a table of their own"""
    STATE = "state"
    """last"""


class Quality(enum.IntEnum):
    """What the source knew about a sample."""

    GOOD = 0
    UNCERTAIN = 1
    """usable, but the device said that it may be stale or estimated"""
    BAD = 2
    """kept for the record, left out of rollups"""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One canonical quantity: a column of `telemetry`."""

    number: int
    name: str
    unit: str
    kind: Kind
    meaning: str


QUANTITIES: Final = (
    Quantity(1, "active_power_w", "W", Kind.GAUGE, "DER + discharge; grid + import; load + consumption"),
    Quantity(2, "reactive_power_var", "var", Kind.GAUGE, "+ injected by a DER"),
    Quantity(3, "apparent_power_va", "VA", Kind.GAUGE, "never negative"),
    Quantity(4, "power_factor", "1", Kind.GAUGE, "-1 to 1"),
    Quantity(5, "voltage_v", "V", Kind.GAUGE, "AC, phase to neutral, mean of the phases"),
    Quantity(6, "current_a", "A", Kind.GAUGE, "AC, sum of the phases"),
    Quantity(7, "frequency_hz", "Hz", Kind.GAUGE, "of the grid"),
    Quantity(8, "soc_pct", "%", Kind.GAUGE, "state of charge, 0 to 100 of usable energy"),
    Quantity(9, "soh_pct", "%", Kind.GAUGE, "state of health, 0 to 100"),
    Quantity(10, "temp_c", "°C", Kind.GAUGE, "of the device, or of the air for a sensor"),
    Quantity(11, "dc_power_w", "W", Kind.GAUGE, "+ towards the grid"),
    Quantity(12, "dc_voltage_v", "V", Kind.GAUGE, "DC bus or string mean"),
    Quantity(13, "dc_current_a", "A", Kind.GAUGE, "+ towards the grid"),
    Quantity(14, "power_setpoint_w", "W", Kind.GAUGE, "what the device was told; sign as active_power_w"),
    Quantity(15, "max_charge_w", "W", Kind.GAUGE, "what the device could take now, >= 0"),
    Quantity(16, "max_discharge_w", "W", Kind.GAUGE, "what the device could give now, >= 0"),
    Quantity(17, "energy_available_wh", "Wh", Kind.GAUGE, "usable energy stored now"),
    Quantity(18, "irradiance_w_per_m2", "W/m²", Kind.GAUGE, "in the plane of the array"),
    Quantity(
        19, "energy_import_wh", "Wh", Kind.COUNTER, "taken in: import from the grid, charge, consumption"
    ),
    Quantity(20, "energy_export_wh", "Wh", Kind.COUNTER, "given: export to the grid, discharge, generation"),
    Quantity(21, "charge_cycles", "1", Kind.COUNTER, "full equivalent cycles"),
    Quantity(
        22, "operating_state", "1", Kind.STATE, "SunSpec St: 1 off, 2 sleeping, 4 running, 7 fault, 8 standby"
    ),
    Quantity(23, "fault_code", "1", Kind.STATE, "as the device gives it, 0 for none"),
    Quantity(24, "control_mode", "1", Kind.STATE, "0 own default, 1 follows a setpoint"),
)
BY_NAME: Final = {quantity.name: quantity for quantity in QUANTITIES}
BY_NUMBER: Final = {quantity.number: quantity for quantity in QUANTITIES}
COLUMNS: Final = tuple(quantity.name for quantity in QUANTITIES)

MAX_METRIC_NAME: Final = 64
"""Characters of any other metric's name: `[a-z][a-z0-9_]*`."""
