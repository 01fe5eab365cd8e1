"""Real agents on the driver `replay`, each with an armed spool, and what happens to boxes and their disks."""

import asyncio
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.chaos import ledger
from scripts.demo import hardware
from scripts.local import process
from scripts.local.stack import Stack

TYPES: Final = ("battery", "pv", "meter", "load")
INTERVAL_MS: Final = 200
SKEW_S: Final = {"behind 3 h": -10_800, "ahead 1 h": 3_600, "behind 1 y": -365 * 86_400, "no clock": 10_800}


def write_assets(path: Path, agents: int, seed: int, until_s: float | None = None) -> None:
    """A site for each agent with an asset of each type; `until_s`: none of them measures any more then."""
    end = {} if until_s is None else {"until": until_s}
    sites: list[dict[str, Any]] = [
        {
            "id": f"site-{number}",
            "name": f"Site {number}",
            "assets": [
                {
                    "id": f"site-{number}-{kind}",
                    "name": kind,
                    "type": kind,
                    "driver": "replay",
                    "seed": seed,
                    **end,
                }
                for kind in TYPES
            ],
        }
        for number in range(1, agents + 1)
    ]
    path.write_text(yaml.safe_dump({"sites": sites}))


@dataclass
class Agent:
    """One box: its process, its spool, and the spools it has lost or that were copied from it."""

    stack: Stack
    site: str
    assets: Path
    spool: Path
    port: int
    running: process.Process | None = None
    copies: list[Path] = field(default_factory=list)
    retired: list[ledger.Sample] = field(default_factory=list)
    """ledgers of wiped disks"""
    destroyed: set[ledger.Key] = field(default_factory=set)
    """what had not been acknowledged when the disk was wiped"""

    def start(
        self, *, skew: str = "", spool: Path | None = None, assets: Path | None = None
    ) -> process.Process:
        """Its process, or a second one on another spool."""
        name = f"agent-{self.site}" if spool is None else f"agent-{self.site}-copy"
        arguments = ["scripts.chaos.skewed", str(SKEW_S[skew])] if skew else ["edge_agent"]
        environment = hardware.agent_environment(self.site, assets or self.assets, spool or self.spool) | {
            "TELEMETRY_INTERVAL_MS": str(INTERVAL_MS),
            "MQTT_PORT": str(self.port),
            "CLOCK_TRUSTED": "0" if skew == "no clock" else "1",
            "LOG_LEVEL": "warning",
        }
        started = hardware.start(self.stack, name, arguments, environment)
        if spool is None:
            self.running = started
        return started

    async def end(self, signum: signal.Signals = signal.SIGKILL) -> None:
        """Its process."""
        if self.running:
            await asyncio.to_thread(process.end, self.running, signum)

    async def wipe(self) -> None:
        """A new, empty disk; what the old one's ledger says is kept. The process must have ended."""
        samples, left = await asyncio.to_thread(
            lambda: (ledger.read(self.spool), ledger.left_in_spool(self.spool))
        )
        self.retired += samples
        self.destroyed.update(left)
        for suffix in ("", "-wal", "-shm"):
            self.spool.with_name(self.spool.name + suffix).unlink(missing_ok=True)
        await asyncio.to_thread(ledger.arm, self.spool)

    def copy(self) -> Path:
        """Its disk a second time; the process must have ended."""
        copy = self.spool.with_name(f"{self.spool.stem}-{len(self.copies) + 1}.copy")
        for suffix in ("", "-wal"):
            source = self.spool.with_name(self.spool.name + suffix)
            if source.exists():
                shutil.copy(source, copy.with_name(copy.name + suffix))
        self.copies.append(copy)
        return copy

    def spooled(self) -> list[ledger.Sample]:
        """All that it ever committed to any disk; all its processes must have ended."""
        found = [*self.retired, *(sample for spool in self.spools for sample in ledger.read(spool))]
        return list({(sample[0], sample[1]): sample for sample in found}.values())

    def held(self) -> set[ledger.Key]:
        """What its spools still hold."""
        return {key for spool in self.spools for key in ledger.left_in_spool(spool)}

    @property
    def spools(self) -> list[Path]:
        """Its disks, copies too."""
        return [self.spool, *self.copies]
