"""The edge of the demo: simulated hardware on Modbus TCP, and one agent a site that reads it."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.local import process
from scripts.local.part import ROOT
from scripts.local.ports import HOST, holder, is_free
from scripts.local.problem import Problem
from scripts.local.stack import Stack

TEMPLATE: Final = Path(__file__).with_name("assets.yaml")
READY_TIMEOUT_S: Final = 60.0
FLEET: Final = "fleet"


def write_assets(path: Path, ports: Sequence[int]) -> dict[str, list[str]]:
    """Write the demo's assets file with a port for each asset; site ids with their asset ids."""
    document: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())
    assets = [asset for site in document["sites"] for asset in site["assets"]]
    for asset, port in zip(assets, ports, strict=True):
        asset |= {"host": HOST, "port": port}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return {site["id"]: [asset["id"] for asset in site["assets"]] for site in document["sites"]}


def asset_count() -> int:
    """How many ports `write_assets` wants."""
    return sum(len(site["assets"]) for site in yaml.safe_load(TEMPLATE.read_text())["sites"])


def require_free(ports: Sequence[int], command: str) -> None:
    """Raise with who has one of the hardware's ports and what to type instead."""
    for port in ports:
        if not is_free(port):
            raise Problem(
                f"port {port} (FLEET_PORT and following) is taken by {holder(port) or 'another program'}: "
                f"stop it, or choose others, e.g. FLEET_PORT={port + 100} {command}"
            )


def start(
    stack: Stack, name: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> process.Process:
    """A process of ours beside the stack's parts; `make stop` finds it too, should the demo be killed."""
    started = process.spawn(
        [sys.executable, "-m", *arguments],
        environment={**os.environ, **stack.env(), **environment},
        directory=ROOT,
        log_file=stack.log_file(name),
    )
    process.write_pid(stack.home / "run" / f"{name}.pid", started)
    return started


@contextmanager
def running(
    stack: Stack, name: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> Iterator[process.Process]:
    """The same, ended on leaving."""
    started = start(stack, name, arguments, environment)
    try:
        yield started
    finally:
        process.end(started, signal.SIGTERM)
        (stack.home / "run" / f"{name}.pid").unlink(missing_ok=True)


@contextmanager
def fleet(stack: Stack, assets: Path, *, speed: float = 1.0) -> Iterator[None]:
    """The hardware, once it answers."""
    log = stack.log_file(FLEET)
    begin = log.stat().st_size if log.exists() else 0
    arguments = ["edge_agent.fleet", "--assets", str(assets), "--host", HOST, "--speed", f"{speed:g}"]
    with running(stack, FLEET, arguments, {}) as started:

        def answered() -> bool:
            with log.open() as lines:
                lines.seek(begin)
                return "fleet ready" in lines.read()

        process.wait_until(lambda: answered() or not started.is_alive, READY_TIMEOUT_S)
        if not answered():
            raise Problem(f"the simulated hardware did not start: {_last_line(log)} (log: {log})")
        yield


def agent_environment(
    site_id: str, assets: Path, spool: Path, identity: Path | None = None
) -> dict[str, str]:
    """Variables of the agent of one site: enrolled, or on the loopback port, which comes from the stack."""
    return {
        **({"IDENTITY_DIR": str(identity)} if identity else {}),
        "SITE_ID": site_id,
        "ASSETS_PATH": str(assets),
        "SPOOL_PATH": str(spool),
        "TELEMETRY_INTERVAL_MS": "1000",
    }


@contextmanager
def agent(
    stack: Stack, site_id: str, assets: Path, identity: Path | None = None
) -> Iterator[process.Process]:
    """The gateway agent of one site; with an identity it speaks mutual TLS."""
    spool = stack.home / "data" / "agents" / f"{site_id}.sqlite"
    spool.parent.mkdir(parents=True, exist_ok=True)
    with running(
        stack, f"agent-{site_id}", ["edge_agent"], agent_environment(site_id, assets, spool, identity)
    ) as started:
        yield started


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it wrote nothing"
