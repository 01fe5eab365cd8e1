"""Runbook D's demo script, on real processes: an agent connects, is dispatched to, and is restarted.

The sample inventory (D-041) is one site of three batteries, 120/40/40 MWh; one gateway agent speaks for it.
"""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scripts.demo import hardware
from scripts.local import process
from scripts.local.part import ROOT
from scripts.local.ports import Ports
from scripts.local.stack import Stack

ASSETS: Final = ROOT / "assets_test.yaml"
PATIENCE_S: Final = 60.0


class Runbook:
    """A platform that knows the sample inventory, and the agent that the operator starts."""

    def __init__(self, stack: Stack, home: Path, on_exit: ExitStack) -> None:
        site = yaml.safe_load(ASSETS.read_text())["sites"][0]
        by_capacity = sorted(site["assets"], key=lambda asset: -asset["capacity_mwhr"])
        self.site_id: str = str(site["id"])
        self.assets: list[str] = [str(asset["id"]) for asset in by_capacity]
        self._stack = stack
        self._spool = home / "spool.sqlite"
        self._on_exit = on_exit
        self._agent: process.Process | None = None

    def start_agent(self) -> None:
        """As the operator does: the same environment every time (D-033)."""
        self._agent = hardware.start(
            self._stack,
            "agent",
            ["edge_agent"],
            hardware.agent_environment(self.site_id, ASSETS, self._spool),
        )
        self._on_exit.callback(process.end, self._agent, signal.SIGKILL)

    def stop_agent(self) -> None:
        """kill -9: an agent that leaves without a word."""
        assert self._agent
        process.end(self._agent, signal.SIGKILL)

    def get(self, path: str) -> Any:
        status, answer = self.call("GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def dispatch(self, **body: object) -> tuple[int, Any]:
        return self.call("POST", "/dispatch", json.dumps(body))

    def call(self, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        request = urllib.request.Request(
            self._stack.env()["API_URL"] + path,
            None if body is None else body.encode(),
            {"content-type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def power_mw(self, asset_id: str) -> float | None:
        """The asset's latest measured power."""
        status, answer = self.call("GET", f"/telemetry/{asset_id}")
        assert status == 200, answer
        watts = answer["values"].get("active_power_w")
        return None if watts is None else watts / 1e6

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_S:g} s"
            time.sleep(0.1)

    def measures(self, *expected_mw: float) -> Callable[[], bool]:
        """Whether the assets, largest first, are measured at these powers."""

        def condition() -> bool:
            powers = [self.power_mw(asset) for asset in self.assets]
            return all(
                power is not None and abs(power - expected) < 0.05
                for power, expected in zip(powers, expected_mw, strict=True)
            )

        return condition


@pytest.fixture(scope="module")
def runbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runbook]:
    from tests.conftest import _home

    for home in _home():
        with ExitStack() as on_exit:
            stack = on_exit.enter_context(
                Stack(home, Ports.free(), service_environment={"ASSETS_PATH": str(ASSETS)})
            )
            stack.up()
            yield Runbook(stack, home, on_exit)


def test_the_demo_script_from_an_empty_list_to_one_open_session(runbook: Runbook) -> None:
    # D-017, D-023: the inventory is there before any agent.
    inventory = runbook.get("/assets")
    assert {asset["asset_id"] for asset in inventory} >= set(runbook.assets)
    assert {"site_id", "capacity_mwhr", "min_mw", "max_mw"} <= set(inventory[0])
    assert runbook.get("/agents") == []  # D-018

    # D-020, D-038: one agent, all assets of the site, each with telemetry of its own (U-D02).
    runbook.start_agent()
    runbook.wait("the agent's session", lambda: len(runbook.get("/agents")) == 1)
    (agent,) = runbook.get("/agents")
    assert agent["connected"] is True
    assert agent["site_id"] == runbook.site_id  # D-021
    assert sorted(asset["asset_id"] for asset in agent["assets"]) == sorted(runbook.assets)
    runbook.wait("telemetry of each asset", runbook.measures(0, 0, 0))

    # D-024: per asset.
    status, _ = runbook.dispatch(asset_id=runbook.assets[0], mw=5)
    assert status == 200
    runbook.wait("5 MW at one asset only", runbook.measures(5, 0, 0))

    # D-025, D-026, U-D01: per site, by capacity.
    status, answer = runbook.dispatch(site_id=runbook.site_id, mw=12)
    assert status == 200
    shares = {share["asset_id"]: share["mw"] for share in answer["allocations"]}
    assert [shares[asset] for asset in runbook.assets] == pytest.approx([7.2, 2.4, 2.4])
    runbook.wait("7.2/2.4/2.4 MW", runbook.measures(7.2, 2.4, 2.4))
    runbook.wait("a verified dispatch", lambda: runbook.get("/dispatch/history")[0]["state"] == "verified")

    # D-027: both ids means the asset.
    status, answer = runbook.dispatch(asset_id=runbook.assets[1], site_id=runbook.site_id, mw=-3)
    assert status == 200
    runbook.wait(
        "-3 MW at that asset", lambda: runbook.power_mw(runbook.assets[1]) == pytest.approx(-3, abs=0.05)
    )
    assert runbook.power_mw(runbook.assets[0]) == pytest.approx(7.2, abs=0.05)

    # D-021, D-031, D-033: the session's time changes only on reconnect, and three restarts leave one open.
    first = runbook.get("/agents")[0]["connected_at"]
    assert runbook.get("/agents")[0]["connected_at"] == first
    for _ in range(3):
        runbook.stop_agent()
        runbook.start_agent()
        previous = first
        runbook.wait(
            "a newer session",
            lambda previous=previous: (
                [a["connected_at"] > previous for a in runbook.get("/agents")] == [True]
            ),
        )
        first = runbook.get("/agents")[0]["connected_at"]
    (agent,) = runbook.get("/agents")
    assert agent["connected"] is True
    assert sum(session["disconnected_at"] is None for session in agent["sessions"]) == 1
    assert len(agent["sessions"]) >= 4


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"mw": 5}', 422),
        ('{"asset_id": "no-such-asset", "mw": 5}', 404),
        ('{"site_id": "no-such-site", "mw": 5}', 404),
        ('{"site_id": "SITE", "mw": NaN}', 422),
        ('{"site_id": "SITE", "mw": Infinity}', 422),
        ('{"site_id": "SITE", "mw": -Infinity}', 422),
        ('{"site_id": "SITE", "mw": "5"}', 422),
        ('{"site_id": "SITE", "mw": true}', 422),
        ('{"site_id": "SITE"}', 422),
        ('{"site_id": "SITE", "mw": 1e400}', 422),
        ("not json", 422),
    ],
)
def test_a_dispatch_that_cannot_be_meant_is_refused_with_a_reason(
    runbook: Runbook, body: str, expected: int
) -> None:  # D-035
    status, answer = runbook.call("POST", "/dispatch", body.replace("SITE", runbook.site_id))
    assert status == expected
    assert answer["detail"]
