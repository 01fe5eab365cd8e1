"""The fleet as a program: `python -m edge_agent.fleet`."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from pymodbus.client import AsyncModbusTcpClient

from scripts.local.ports import free_ports

ROOT = Path(__file__).parents[2]


def an_assets_file(folder: Path, ports: list[int]) -> Path:
    battery = {"type": "battery", "capacity_mwhr": 40, "max_mw": 20, "driver": "sunspec"}
    assets = [
        {"id": "first", "port": ports[0], **battery},
        {"id": "here", **battery, "driver": "simulated"},
        {"id": "second", "port": ports[1], "type": "load", "annual_kwh": 5000, "driver": "sunspec"},
    ]
    path = folder / "assets.yaml"
    path.write_text(yaml.safe_dump({"sites": [{"id": "site-a", "assets": assets}]}))
    return path


@asynccontextmanager
async def running(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edge_agent.fleet",
        "--cache-dir",
        str(folder / "years"),
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def lines_until_ready(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while "fleet ready" not in lines:
        line = await process.stdout.readline()
        assert line, f"the fleet ended: {lines}"
        lines.append(line.decode().rstrip())
    return lines


async def test_it_says_where_each_device_listens_and_stops_when_told(tmp_path: Path) -> None:
    ports = free_ports(2)

    async with running(tmp_path, "--assets", str(an_assets_file(tmp_path, ports))) as process:
        *devices, _ready = await lines_until_ready(process)
        async with AsyncModbusTcpClient("127.0.0.1", port=ports[0]) as client:
            marker = await client.read_holding_registers(40000, count=2, device_id=1)
        process.send_signal(signal.SIGTERM)
        code = await process.wait()

    said = [json.loads(line) for line in devices]
    assert [(line["asset"], line["kind"], line["host"], line["port"]) for line in said] == [
        ("first", "battery", "127.0.0.1", ports[0]),
        ("second", "load", "127.0.0.1", ports[1]),
    ]
    assert "BDEW standard load profile G0 of " in said[1]["follows"]
    assert marker.registers == [0x5375, 0x6E53]
    assert code == 0


async def test_a_taken_port_is_named_with_its_asset(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], *free_ports(1)]
        async with running(tmp_path, "--assets", str(an_assets_file(tmp_path, ports))) as process:
            _, error = await process.communicate()

    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{ports[0]} for asset first" in error.decode()
    assert "Traceback" not in error.decode()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--assets", "missing.yaml"], "cannot read the assets file missing.yaml"),
        (["--assets", "x", "--speed", "0"], "0 is no speed"),
        (["--assets", "x", "--base-port", "0"], "0 is no port"),
        (["--assets", "x", "--start", "noon"], "--start"),
        ([], "--assets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_settings_that_make_no_sense_are_refused_in_words(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    async with running(tmp_path, *arguments) as process:
        _, error = await process.communicate()

    assert process.returncode != 0
    assert complaint in error.decode()
    assert "Traceback" not in error.decode()
