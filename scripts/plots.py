"""Pictures of a run: panels below each other over one axis of seconds, with what happened marked in all.

The same figures give the same file, byte by byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

STYLE: Final[Any] = {
    "svg.hashsalt": "overwatt",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 9,
}
WIDTH_IN: Final = 9.0
PANEL_IN: Final = 1.9


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share a unit: by name, (seconds since the start, value) each."""

    title: str
    unit: str
    series: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened."""

    at_s: float
    label: str


def draw(path: Path, title: str, panels: Sequence[Panel], marks: Sequence[Mark] = ()) -> None:
    """Write an SVG; its directory is made. Raises ValueError without a panel."""
    if not panels:
        raise ValueError("panels is empty; a picture needs at least one")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, PANEL_IN * len(panels) + 0.8), layout="constrained")
        figure.suptitle(title)
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(rows, panels, strict=True):
            for name, points in panel.series.items():
                axes.plot([at for at, _ in points], [value for _, value in points], label=name, linewidth=1.1)
            axes.set_title(panel.title, loc="left", fontsize=9)
            axes.set_ylabel(panel.unit)
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
            axes.ticklabel_format(axis="y", style="plain", useOffset=False)
            if len(panel.series) > 1:
                axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
            for mark in marks:
                axes.axvline(mark.at_s, color="tab:red", linewidth=0.7, linestyle=":")
        for mark in marks:
            rows[0].annotate(
                mark.label,
                (mark.at_s, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right",
                fontsize=6,
                color="tab:red",
            )
        rows[-1].set_xlabel("seconds since the start")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
