"""`make chaos`, as a person runs it, and what it has to say at the end."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from scripts.local.part import ROOT

WITHIN_S: Final = 720.0


def chaos(out: Path, *arguments: str) -> dict[str, Any]:
    """A run whose promise held; else what it said is the failure."""
    run = subprocess.Popen(
        [sys.executable, "-m", "scripts.chaos", "--at-once", "3", "--out", str(out), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ending = threading.Timer(WITHIN_S, run.terminate)  # it ends what it has started
    ending.start()
    said, _ = run.communicate()
    ending.cancel()
    assert run.returncode == 0, said[-9000:]
    result: dict[str, Any] = json.loads((out / "chaos.json").read_text())
    found = result["verdict"]
    assert (found["lost"], found["doubled"], found["changed"], found["foreign"]) == (0, 0, 0, 0)
    assert found["samples"] > 500
    assert found["bad_buried"] == found["bad_injected"] > 0
    assert found["conflicts"] >= found["thrice"] > 0
    assert result["wrong"] == []
    assert (out / "chaos.svg").read_text().startswith("<?xml")
    return result
