"""One process of the platform: what it is called, how it starts, when it is ready, how it ends."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ELSEWHERE: Final = Path("/var/lib/overwatt")
"""For parts whose user cannot enter the home, such as the home of root."""


@dataclass(frozen=True, slots=True)
class Part:
    """Everything that the stack needs to know to run it."""

    name: str
    ports: Mapping[str, int]
    """Name in `Ports` to number; the first is the one that people know it by."""
    command: Callable[[], Sequence[str]]
    """Raises Problem when the program is not installed."""
    is_ready: Callable[[], bool]
    directory: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    prepare: Callable[[], None] = lambda: None
    """Render configuration, make the data directory; raises Problem when what is there cannot be used."""
    after_ready: Callable[[], None] = lambda: None


def own_user(name: str) -> str | None:
    """The system user that a server should run as: only root has to change, and PostgreSQL insists."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        return None


def place(home: Path, part: str, user: str | None) -> Path:
    """The directory for a part's configuration and data, which `user` can enter."""
    if user is None or can_enter(user, home):
        return home / "data" / part
    return elsewhere(home) / part


def elsewhere(home: Path) -> Path:
    """Where the data of this home lies when the servers' users cannot enter it."""
    return ELSEWHERE / sha256(str(home).encode()).hexdigest()[:12]


def can_enter(user: str, directory: Path) -> bool:
    """Asked of the kernel, as that user: parents count too."""
    test = subprocess.run(["/usr/bin/test", "-x", directory], user=user, group=user, extra_groups=[])
    return test.returncode == 0


def make_directory(directory: Path, user: str | None) -> None:
    """Make it, for the user alone."""
    for parent in reversed([directory, *directory.parents]):
        if not parent.exists():
            parent.mkdir(mode=0o755)
    give(directory, user)
    directory.chmod(0o700)


def write(path: Path, text: str, user: str | None) -> None:
    """A configuration file, for the user alone."""
    path.write_text(text)
    path.chmod(0o600)
    give(path, user)


def give(path: Path, user: str | None) -> None:
    """Hand it over, where that is needed."""
    if user:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


@contextmanager
def made_whole(directory: Path) -> Iterator[Path]:
    """A name to build a directory under; it takes its own name when it is complete, so none is half made."""
    building = directory.with_name(directory.name + ".new")
    shutil.rmtree(building, ignore_errors=True)
    yield building
    building.rename(directory)
