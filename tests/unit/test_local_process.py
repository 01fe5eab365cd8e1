"""Processes that outlive who started them, and pids that somebody else may have by now."""

import os
import signal
import sys
from pathlib import Path

from scripts.local.process import Process, end, read_pid, spawn, wait_until, working_in, write_pid

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""
WITH_A_CHILD = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
print(subprocess.Popen(sleep, start_new_session=True).pid, flush=True)
time.sleep(60)
"""


def start(program: str, folder: Path) -> Process:
    return spawn(
        [sys.executable, "-c", program],
        environment=os.environ,
        directory=folder,
        log_file=folder / "log" / "x.log",
    )


def said(folder: Path) -> str:
    log = folder / "log" / "x.log"
    assert wait_until(lambda: log.read_text().endswith("\n"), 10)
    return log.read_text().strip()


def test_a_process_is_known_again_by_its_file_and_ends_when_told(tmp_path: Path) -> None:
    started = start("import time; time.sleep(60)", tmp_path)
    write_pid(tmp_path / "run" / "x.pid", started)

    found = read_pid(tmp_path / "run" / "x.pid")
    assert found == started
    assert found.is_alive
    assert working_in(tmp_path) == [started.pid]

    end(found, signal.SIGTERM)
    assert not found.is_alive
    assert working_in(tmp_path) == []


def test_a_pid_that_was_given_to_another_process_is_not_ours(tmp_path: Path) -> None:
    foreign = start("import time; time.sleep(60)", tmp_path)
    ours = Process(foreign.pid, foreign.started_ticks - 1)

    end(ours, signal.SIGKILL)

    assert not ours.is_alive
    assert foreign.is_alive
    end(foreign, signal.SIGKILL)


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    process = start(STUBBORN, tmp_path)
    assert said(tmp_path) == "up"

    end(process, signal.SIGTERM, timeout_s=0.3)

    assert not process.is_alive


def test_no_child_stays_when_its_parent_is_killed_even_in_a_session_of_its_own(tmp_path: Path) -> None:
    process = start(WITH_A_CHILD, tmp_path)
    child = int(said(tmp_path))

    end(process, signal.SIGKILL, timeout_s=0.3)

    assert working_in(tmp_path) == []
    assert not wait_until(lambda: Path(f"/proc/{child}/cwd").exists(), 0)


def test_a_damaged_pid_file_is_no_process(tmp_path: Path) -> None:
    (tmp_path / "x.pid").write_text("12")

    assert read_pid(tmp_path / "x.pid") is None
    assert read_pid(tmp_path / "missing.pid") is None
