"""Where SunSpec's points stand, and which of them are our quantities.

The maps come from models.json, made by `generate` from pysunspec2's model files. SunSpec's DER watts are
positive on generation and discharge, a meter's on import: our signs, so no value is turned round.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Point:
    """A value in a model."""

    model: int
    name: str
    offset: int
    """from the model's ID register"""
    size: int
    type: str
    scale: str | int | None
    """name of the point that holds the factor, or the factor"""


def _load() -> dict[int, dict[str, Point]]:
    text = (files(__package__) / "models.json").read_text(encoding="utf-8")
    return {
        int(model): {name: Point(int(model), name, *parts) for name, parts in points.items()}
        for model, points in json.loads(text).items()
    }


MODELS: Final[Mapping[int, Mapping[str, Point]]] = _load()

PERCENT: Final = 0.01


@dataclass(frozen=True, slots=True)
class Source:
    """One way to a quantity: the mean of these points, times a factor, plus an offset."""

    model: int
    names: tuple[str, ...]
    factor: float = 1.0
    offset: float = 0.0


def _from(model: int, *names: str, factor: float = 1.0, offset: float = 0.0) -> Source:
    return Source(model, names, factor, offset)


# The first source that the device has and that holds a value wins.
SOURCES: Final[Mapping[str, tuple[Source, ...]]] = {
    "active_power_w": (_from(701, "W"), _from(103, "W"), _from(203, "W")),
    "reactive_power_var": (_from(701, "Var"), _from(103, "VAr"), _from(203, "VAR")),
    "apparent_power_va": (_from(701, "VA"), _from(103, "VA"), _from(203, "VA")),
    # 1xx and 2xx give per cent, 701 a fraction.
    "power_factor": (_from(701, "PF"), _from(103, "PF", factor=PERCENT), _from(203, "PF", factor=PERCENT)),
    "voltage_v": (
        _from(701, "LNV"),
        _from(103, "PhVphA", "PhVphB", "PhVphC"),
        _from(203, "PhV"),
        _from(203, "PhVphA", "PhVphB", "PhVphC"),
    ),
    "current_a": (_from(701, "A"), _from(103, "A"), _from(203, "A")),
    "frequency_hz": (_from(701, "Hz"), _from(103, "Hz"), _from(203, "Hz")),
    "soc_pct": (_from(713, "SoC"), _from(802, "SoC"), _from(124, "ChaState")),
    "soh_pct": (_from(713, "SoH"), _from(802, "SoH")),
    "temp_c": (_from(701, "TmpCab"), _from(103, "TmpCab"), _from(701, "TmpSnk"), _from(103, "TmpSnk")),
    "dc_power_w": (_from(103, "DCW"), _from(802, "W")),
    "dc_voltage_v": (_from(103, "DCV"), _from(802, "V")),
    "dc_current_a": (_from(103, "DCA"), _from(802, "A")),
    "max_charge_w": (
        _from(702, "WChaRteMax"),
        _from(702, "WChaRteMaxRtg"),
        _from(802, "WChaRteMax"),
        _from(120, "MaxChaRte"),
        _from(124, "WChaMax"),
    ),
    "max_discharge_w": (
        _from(702, "WDisChaRteMax"),
        _from(702, "WDisChaRteMaxRtg"),
        _from(802, "WDisChaRteMax"),
        _from(120, "MaxDisChaRte"),
    ),
    "energy_available_wh": (_from(713, "WHAvail"),),
    "energy_import_wh": (_from(701, "TotWhAbs"), _from(203, "TotWhImp")),
    "energy_export_wh": (_from(701, "TotWhInj"), _from(103, "WH"), _from(203, "TotWhExp")),
    "charge_cycles": (_from(802, "NCyc"),),
    # 701 counts the same states from 0 that 103 counts from 1.
    "operating_state": (_from(103, "St"), _from(701, "InvSt", offset=1)),
    "fault_code": (_from(701, "Alrm"), _from(103, "Evt1"), _from(203, "Evt")),
}

CONTROLS: Final[Mapping[int, tuple[str, ...]]] = {
    704: ("WSetEna", "WSetMod", "WSet", "WSetPct"),
    124: ("StorCtl_Mod", "OutWRte", "InWRte", "WChaMax"),
    123: ("WMaxLimPct", "WMaxLim_Ena"),
}
"""What has to be read to know what the device was told."""
RATINGS: Final[Mapping[int, tuple[str, ...]]] = {
    702: ("WMax", "WMaxRtg", "WChaRteMax", "WDisChaRteMax"),
    120: ("WRtg", "MaxChaRte", "MaxDisChaRte"),
}
"""What percentages refer to."""


def wanted(models: Mapping[int, object]) -> list[Point]:
    """The points to read of a device that has these models, each once."""
    names: dict[tuple[int, str], Point] = {}
    for sources in SOURCES.values():
        for source in sources:
            if source.model in models:
                names |= {(source.model, name): MODELS[source.model][name] for name in source.names}
    for table in (CONTROLS, RATINGS):
        for model, points in table.items():
            if model in models:
                names |= {(model, name): MODELS[model][name] for name in points}
    return list(names.values())
