"""A year of equidistant values, read at any second, and kept on disk because it takes seconds to compute."""

import contextlib
import math
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

REVISION: Final = 1
"""Raise it when a computation changes, so that nobody reads the old one's files."""


@dataclass(frozen=True, slots=True)
class YearSeries:
    """Means over equal intervals from 1 January 00:00 on; the year repeats."""

    values: NDArray[np.float64]
    step_s: float

    def at(self, year_s: float) -> float:
        """The value at a second of the year, on the straight line between the middles of two intervals."""
        position = year_s / self.step_s - 0.5
        left = math.floor(position)
        weight = position - left
        count = len(self.values)
        return float(self.values[left % count] * (1 - weight) + self.values[(left + 1) % count] * weight)

    def peak(self) -> float:
        """The largest value of the year."""
        return float(self.values.max())


def default_cache_dir() -> Path:
    """Where other programs of this user cache, too."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "overwatt" / "fleet"


def cached(name: str, cache_dir: Path, compute: Callable[[], YearSeries]) -> YearSeries:
    """The stored series, else the computed one, which is stored for the next start."""
    path = cache_dir / f"{name}-r{REVISION}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with np.load(path, allow_pickle=False) as stored:
            return YearSeries(stored["values"], float(stored["step_s"]))
    series = compute()
    # Without a place to write, the next start is slower and nothing else.
    with contextlib.suppress(OSError):
        _store(path, series)
    return series


def _store(path: Path, series: YearSeries) -> None:
    """Written beside and renamed: two fleets that start together never read half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        np.savez(file, values=series.values, step_s=series.step_s)
    Path(file.name).replace(path)
