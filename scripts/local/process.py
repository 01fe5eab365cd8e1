"""A process that outlives who started it, and is never mistaken for another one.

Its file holds the pid and the kernel's start time: a pid that was given to somebody else since does not
match, so nothing foreign is ever signalled.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

POLL_S: Final = 0.05
STOP_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was started."""

    pid: int
    started_ticks: int
    """Field 22 of /proc/<pid>/stat: clock ticks since boot."""

    @property
    def is_alive(self) -> bool:
        """False also for a zombie; one of our own is reaped."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _started_ticks(self.pid) == self.started_ticks

    @property
    def started_at(self) -> datetime:
        """When it was started."""
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
        age_s = uptime_s - self.started_ticks / os.sysconf("SC_CLK_TCK")
        return datetime.fromtimestamp(time.time() - age_s, UTC)


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log_file: Path,
    user: str | None = None,
) -> Process:
    """Start it in a session of its own, output to the end of the log file; as `user` if that is given."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    # It is waited for by pid, also by a later process that is not its parent.
    child.returncode = 0
    return Process(child.pid, _started_ticks(child.pid) or 0)


def end(process: Process, first: signal.Signals, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Signal it, wait for it and for all that it had started; what is still there after that is killed."""
    family = [process, *descendants(process.pid)]
    with suppress(ProcessLookupError):
        if process.is_alive:
            os.kill(process.pid, first)
    if not _gone(family, timeout_s):
        for each in family:
            with suppress(ProcessLookupError):
                if each.is_alive:
                    os.kill(each.pid, signal.SIGKILL)
        _gone(family, STOP_TIMEOUT_S)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def working_in(directory: Path) -> list[int]:
    """Processes whose working directory this is, as far as this user may see them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(path / "cwd") == str(directory.resolve()):
                found.append(int(path.name))
    return found


def write_pid(file: Path, process: Process) -> None:
    """Remember it for later commands."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{process.pid} {process.started_ticks}\n")


def read_pid(file: Path) -> Process | None:
    """What was remembered, alive or not."""
    try:
        pid, ticks = file.read_text().split()
        return Process(int(pid), int(ticks))
    except (OSError, ValueError):
        return None


def _gone(family: Sequence[Process], timeout_s: float) -> bool:
    return wait_until(lambda: not any(each.is_alive for each in family), timeout_s)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on; the name before it may contain anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []


def _started_ticks(pid: int) -> int | None:
    """None when it is gone. A zombie whose other threads still end holds its files and ports: not gone."""
    fields = _stat(pid)
    if not fields or (fields[0] in "ZX" and int(fields[17]) <= 1):
        return None
    return int(fields[19])


def descendants(pid: int) -> list[Process]:
    """Children and theirs. PostgreSQL gives each backend a session of its own, so a group is not enough."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(path.name)):
            parents.setdefault(int(fields[1]), []).append(int(path.name))
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            waiting.append(child)
            if ticks := _started_ticks(child):
                found.append(Process(child, ticks))
    return found
