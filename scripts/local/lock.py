"""One command at a time per home directory: a file lock, which the kernel drops when its holder dies."""

import fcntl
import os
from pathlib import Path
from typing import Final

from scripts.local.part import ROOT
from scripts.local.problem import Problem

ENDING: Final = ("make stop", "make reset")
"""A second platform is no help to whoever types one of these."""


class HomeLock:
    """Names its holder, for whoever comes second."""

    def __init__(self, home: Path, command: str) -> None:
        """`command` is what the holder was started with."""
        self._home = home
        self._command = command
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take it, or raise with who has it."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Problem(
                f"cannot write to {self._home} ({error.strerror}): "
                "set OVERWATT_HOME to a directory of your own"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode().strip() or "another command"
            os.close(handle)
            second = f", or run a second platform beside it: {beside(self._home, self._command)}"
            raise Problem(
                f"{self._home} is in use by {holder}: end that first (Ctrl-C in its terminal)"
                f"{'' if self._command in ENDING else second}"
            ) from None
        os.truncate(handle, 0)
        os.write(handle, f"`{self._command}` (pid {os.getpid()})".encode())
        self._handle = handle

    def release(self) -> None:
        """Let others have it; may be repeated."""
        if self._handle is not None:
            os.truncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def beside(home: Path, command: str) -> str:
    """What to type for a second platform: a home of its own, every port moved up."""
    other = home.with_name(home.name + "2")
    shown = other.relative_to(ROOT) if other.is_relative_to(ROOT) else other
    return f"OVERWATT_HOME={shown} PORT_OFFSET=1000 {command}"
