"""Small file systems under the parts that store, so that a disk can be full without filling the machine's.

They live in a mount namespace of this process and what it starts, and go with it. That needs root.
"""

import asyncio
import ctypes
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from scripts.local.part import own_user
from scripts.local.part import place as place_of

CLONE_NEWNS: Final = 0x0002_0000
SIZE_MB: Final = {"postgres": 768, "kafka": 512, "spools": 256}
BALLAST: Final = "ballast"
BLOCK: Final = bytes(1 << 20)


def mount(home: Path) -> Mapping[str, Path]:
    """The disks of this home by name; empty where this user or machine may not mount."""
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        return {}
    if _run("mount", "--make-rprivate", "/") != 0:
        return {}
    places = {
        "postgres": place_of(home, "postgres", own_user("postgres")),
        "kafka": place_of(home, "kafka", None),
        "spools": home / "spools",
    }
    for name, place in places.items():
        place.mkdir(parents=True, exist_ok=True)
        if _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB[name]}m,mode=755", "tmpfs", str(place)) != 0:
            return {}
    return places


def unmount(places: Mapping[str, Path]) -> None:
    """At the end, so that the home can be removed."""
    for place in places.values():
        _run("umount", "-l", str(place))


@asynccontextmanager
async def full(place: Path) -> AsyncIterator[None]:
    """Not a byte is free as long as the block runs."""
    ballast = place / BALLAST
    filling = asyncio.create_task(_keep_full(ballast))
    try:
        yield
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        ballast.unlink(missing_ok=True)


async def _keep_full(ballast: Path) -> None:
    """Whatever its owner frees meanwhile is taken, too."""
    while True:
        await asyncio.to_thread(_fill, ballast)
        await asyncio.sleep(0.2)


def _fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        size = len(BLOCK)
        while size:
            try:
                file.write(BLOCK[:size])
            except OSError:
                size //= 2


def _run(*command: str) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode
