"""Without a reachable database a service does not limp along: it ends and names where it looked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.local.ports import free_ports

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "ingest gateway": ["services.ingest", "gateway"],
    "ingest writer": ["services.ingest", "writer"],
    "controller": ["services.controller"],
    "escalation": ["services.escalation"],
    "provisioning": ["services.provisioning"],
    "api": ["services.api"],
}


def closed_port() -> int:
    """A port on which nobody listens: it was free a moment ago."""
    [port] = free_ports(1)
    return port


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_service_ends_and_names_host_and_port(command: list[str], tmp_path: Path) -> None:  # D-005, T-056
    port = closed_port()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
            "DATABASE_URL": f"postgresql://nobody:none@127.0.0.1:{port}/nowhere",
            "KAFKA_BOOTSTRAP": f"127.0.0.1:{port}",
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(port),
            "OVERWATT_HOME": str(tmp_path),
            "ASSETS_PATH": "",
            "API_PORT": "0",
            "CONTROLLER_PORT": "0",
            "PROVISIONING_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert f"127.0.0.1:{port}/nowhere" in done.stderr
    assert "DATABASE_URL" in done.stderr
