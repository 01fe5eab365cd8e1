"""`make chaos`, as a person runs it, and what it has to say at the end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from scripts.local.part import ROOT

WITHIN_S: Final = 420.0


def chaos(out: Path, *arguments: str) -> dict[str, Any]:
    """A run whose promise held; else what it said is the failure."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.chaos", "--at-once", "3", "--out", str(out), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    result: dict[str, Any] = json.loads((out / "chaos.json").read_text())
    found = result["verdict"]
    assert (found["lost"], found["doubled"], found["changed"], found["foreign"]) == (0, 0, 0, 0)
    assert found["samples"] > 500
    assert found["bad_buried"] == found["bad_injected"] > 0
    assert found["conflicts"] >= found["thrice"] > 0
    assert result["wrong"] == []
    assert (out / "chaos.svg").read_text().startswith("<?xml")
    return result
