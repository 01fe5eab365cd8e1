"""An agent as a process of its own, for tests; what it said is in its log, what it holds in its spool."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ASSETS = """
sites:
  - id: {site}
    name: Battery park
    assets:
      - {{id: {site}-1, capacity_mwhr: 120, max_mw: 60, ramp_rate_mw_per_min: 6000}}
      - {{id: {site}-2, capacity_mwhr: 40, max_mw: 20, ramp_rate_mw_per_min: 6000}}
      - {{id: {site}-3, capacity_mwhr: 40, max_mw: 20, ramp_rate_mw_per_min: 6000}}
"""


class AgentProcess:
    """`python -m edge_agent` with its log and its spool."""

    def __init__(
        self,
        folder: Path,
        site: str,
        address: tuple[str, int],
        *,
        program: Sequence[str] = ("-m", "edge_agent"),
        **env: str,
    ) -> None:
        self.site = site
        self.program = program
        self.spool = folder / "spool.sqlite"
        self.log_path = folder / "agent.log"
        assets = folder / "assets.yaml"
        if not assets.exists():
            assets.write_text(ASSETS.format(site=site))
        self._env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
            "SITE_ID": site,
            "ASSETS_PATH": str(assets),
            "HEADEND_GRPC": f"http://{address[0]}:{address[1]}",
            "SPOOL_PATH": str(self.spool),
            "TELEMETRY_INTERVAL_MS": "100",
            "CLOCK_TRUSTED": "1",
        } | env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            command = [sys.executable, *self.program]
            self._process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log, cwd=ROOT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        return self.events(event)

    def events(self, *events: str) -> list[dict[str, Any]]:
        """Log lines of some events; every line of the log must be JSON."""
        if not self.log_path.exists():
            return []
        whole = [line for line in self.log_path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [entry for line in whole if (entry := json.loads(line))["event"] in events]

    def change(self, **env: str) -> None:
        """For the next start."""
        self._env |= env

    def spooled(self) -> set[tuple[int, int]]:
        """Epoch and seq of what stands in the spool; the agent must have ended."""
        with closing(sqlite3.connect(self.spool)) as db:
            return set(db.execute("SELECT epoch, seq FROM sample JOIN run USING (run)"))

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        code, self._process = self._process.wait(15), None
        return code


@contextmanager
def running(agent: AgentProcess) -> Iterator[AgentProcess]:
    agent.start()
    try:
        yield agent
    finally:
        agent.kill()
