"""What can only be seen while it happens: memory, disk and lag, second by second, and unforeseen deaths."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from scripts.chaos.disks import BALLAST
from scripts.chaos.plan import PARTS, SERVICES
from scripts.chaos.world import World

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MEGA: Final = 1e6
NO_DATABASE: Final = "cannot reach PostgreSQL"
Points = list[tuple[float, float]]


class Watch:
    """Series by part, against seconds since the start."""

    def __init__(self, world: World, busy: Collection[str]) -> None:
        """`busy`: parts that a fault has its hands on just now."""
        self._world = world
        self._busy = busy
        self._began_s = asyncio.get_running_loop().time()
        self.memory_mb: dict[str, Points] = defaultdict(list)
        self.spools_mb: Points = []
        self.lag_records: Points = []
        self.restarts = 0
        self.deaths: list[str] = []

    def now_s(self) -> float:
        """Since the start."""
        return asyncio.get_running_loop().time() - self._began_s

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look every second, as long as the block runs."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            yield
            task.cancel()

    async def _run(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(1)

    async def _look(self) -> None:
        at_s = self.now_s()
        for part in PARTS:
            pids = await asyncio.to_thread(self._world.pids, part)
            if pids:
                self.memory_mb[part].append((at_s, sum(_resident(pid) for pid in pids) / MEGA))
            elif part in SERVICES and part not in self._busy and not self._world.stack.pid(part):
                await self._revive(part)
        self.spools_mb.append((at_s, _size(self._world.home / "spools") / MEGA))
        lag = await asyncio.to_thread(
            self._world.metric, self._world.stack.ports.writer_health, "ingest_lag_records"
        )
        if lag is not None:
            self.lag_records.append((at_s, lag))

    async def _revive(self, part: str) -> None:
        told = [line for line in self._world.stack.deaths() if line.startswith(part)]
        # A service that finds no database at its start ends with that sentence, to be started again.
        self.restarts += sum(NO_DATABASE in line for line in told)
        self.deaths += [line for line in told if NO_DATABASE not in line]
        await self._world.revive(part)


def _resident(pid: int) -> int:
    """Bytes that are its own: PostgreSQL's processes share a cache."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE


def _size(directory: Path) -> int:
    total = 0
    for path in directory.iterdir():
        try:
            total += path.stat().st_size if path.name != BALLAST else 0
        except OSError:
            continue
    return total
