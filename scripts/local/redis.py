"""Redis: it keeps nothing on disk, because it holds only what can be rebuilt."""

import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Final

from scripts.local.part import Part, make_directory, own_user, place, write
from scripts.local.ports import HOST, Ports
from scripts.local.problem import Problem

SETTINGS: Final = """\
bind {host}
port {port}
dir {directory}
save ""
appendonly no
daemonize no
"""


def part(home: Path, ports: Ports) -> Part:
    """The server."""
    user = own_user("redis")
    directory = place(home, "redis", user)
    return Part(
        name="redis",
        ports={"redis": ports.redis},
        command=lambda: [binary(), str(directory / "redis.conf")],
        is_ready=partial(is_ready, ports.redis),
        directory=Path("/"),
        user=user,
        prepare=partial(prepare, directory, ports.redis, user),
    )


def binary() -> str:
    """Where the system keeps it."""
    if found := shutil.which("redis-server", path="/usr/bin:/usr/local/bin"):
        return found
    raise Problem("redis-server is not installed: run `make setup`")


def prepare(directory: Path, port: int, user: str | None) -> None:
    """Write its settings."""
    make_directory(directory, user)
    settings = SETTINGS.format(host=HOST, port=port, directory=directory)
    write(directory / "redis.conf", settings, user)


def is_ready(port: int) -> bool:
    """Whether it answers a PING."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
