"""The life of a process, seen from outside: health, readiness, metrics, a clean end, a loud one."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio
from services.runtime.errors import Unavailable
from services.runtime.service import run, run_until_stopped
from services.runtime.settings import RuntimeSettings

settings = RuntimeSettings()

async def work():
    try:
        {work}
    finally:
        print("finally", flush=True)

async def check():
    {check}

async def main():
    await run_until_stopped("probe", settings, {{"work": work()}}, checks={{"thing": check}})

run("probe", settings, main)
"""


@contextmanager
def process(
    *, work: str = "await asyncio.Event().wait()", check: str = "pass"
) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=work, check=check)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def started(running: subprocess.Popen[str]) -> str:
    """The base address of its health endpoint, from its own log."""
    assert running.stdout
    for line in running.stdout:
        event = json.loads(line)  # T-050: every line is JSON
        if event["event"] == "started":
            return str(event["health"]).removesuffix("/health/ready")
    raise AssertionError("the process ended without a line `started`")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_liveness_asks_no_dependency_and_readiness_names_the_one_that_is_missing() -> None:  # T-049, X16
    with process(check="raise Unavailable('no answer from db:5432')") as running:
        base = started(running)
        assert get(f"{base}/health") == (200, "Healthy")
        assert get(f"{base}/healthz") == (200, "Healthy")
        assert get(f"{base}/health/ready") == (503, "Unhealthy\nthing: no answer from db:5432")
        assert "process_cpu_seconds_total" in get(f"{base}/metrics")[1]


def test_readiness_says_healthy_when_all_is_there() -> None:
    with process() as running:
        assert get(f"{started(running)}/health/ready") == (200, "Healthy")


def test_a_signal_ends_the_process_cleanly_and_its_finally_blocks_run() -> None:
    with process() as running:
        started(running)
        running.send_signal(signal.SIGTERM)
        output, errors = running.communicate(timeout=20)
        assert running.returncode == 0, errors
        assert "finally" in output


def test_a_task_that_fails_ends_the_process_loudly() -> None:
    with process(work="raise RuntimeError('a bug')") as running:
        _, errors = running.communicate(timeout=20)
        assert running.returncode != 0
        assert "a bug" in errors
