"""Pictures of benchmarks and of chaos."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.plots import Mark, Panel, draw

PANELS = [
    Panel("Rate", "points/s", {"stored": [(0, 1e6), (1, 2e6)], "sent": [(0, 1e6), (1, 3e6)]}),
    Panel("Lag", "s", {"lag": [(0.5, 0.1), (1.5, 0.2)]}),
]


def test_a_picture_says_its_titles_series_and_marks_as_text(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "chaos.svg"
    draw(path, "Chaos", PANELS, [Mark(1.0, "kill kafka")])
    text = "".join(ElementTree.parse(path).getroot().itertext())
    for words in ("Chaos", "Rate", "points/s", "stored", "sent", "Lag", "kill kafka", "seconds since"):
        assert words in text


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    draw(tmp_path / "a.svg", "Same", PANELS)
    draw(tmp_path / "b.svg", "Same", PANELS)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw(tmp_path / "c.svg", "Nothing", [])
