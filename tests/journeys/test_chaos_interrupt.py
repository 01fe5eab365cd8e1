"""Ctrl-C ends a chaos run in the middle of its faults, and with it everything that it had started."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from scripts.local.part import ROOT
from tests.terminal import as_from_a_terminal


def processes_of(marker: str) -> list[str]:
    """Those that have it in their environment: this run and all that it started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if marker.encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_an_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    marker = str(tmp_path / "out")
    run = subprocess.Popen(
        [sys.executable, "-m", "scripts.chaos", "--groups", "kill", "--out", marker],
        cwd=ROOT,
        env={**os.environ, "CHAOS_RUN": marker},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=as_from_a_terminal,
    )
    try:
        assert run.stderr
        said = ""
        while "[  1/40]" not in said:
            said = run.stderr.readline()
            assert said, "it ended before its first fault"
        assert processes_of(marker)
        run.send_signal(signal.SIGINT)
        _, rest = run.communicate(timeout=90)
    finally:
        run.kill()

    assert run.returncode == 1
    assert "interrupted: everything was ended" in rest
    assert processes_of(marker) == []
    assert not Path(marker).exists()
