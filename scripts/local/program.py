"""Our own commands that do something and end, such as the migrations."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from scripts.local.part import ROOT
from scripts.local.problem import Problem

PYTHONPATH: Final = f"{ROOT}{os.pathsep}{ROOT / 'proto'}"


def run_module(module: str, *arguments: str, settings: Mapping[str, str] | None = None) -> list[str]:
    """`python -m module arguments`; the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, **(settings or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        raise Problem(f"python -m {module} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return lines
