"""A box from its link to its first stored sample and out again: real agent, real door, mutual TLS."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from edge_agent.identity import load
from scripts.local.ports import HOST
from scripts.local.stack import Stack
from tests.fakes.agent_cloud import until

ROOT: Final = Path(__file__).parents[2]
EMAIL: Final = "jane@example.org"
TENANT: Final = "incoming"


class Site:
    """A box that an administrator made, and the machine that stands for it."""

    def __init__(self, stack: Stack, http: httpx2.AsyncClient, db: asyncpg.Connection, folder: Path) -> None:
        self.box = f"box-{uuid4().hex[:8]}"
        self.db = db
        self.folder = folder
        self.identity = folder / "identity"
        self._http = http
        self._admin = f"http://{HOST}:{stack.ports.provisioning}/api/admin"
        self._agent: subprocess.Popen[bytes] | None = None
        self._env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
            "XDG_STATE_HOME": str(folder),
            "TELEMETRY_INTERVAL_MS": "200",
            "CLOCK_TRUSTED": "1",
        }

    async def ask(self, method: str, path: str, body: Any = None, *, may_fail: bool = False) -> Any:
        headers = {"X-Admin-Key": "change-me-now"}
        answer = await self._http.request(method, f"{self._admin}{path}", json=body, headers=headers)
        assert may_fail or answer.is_success, answer.text
        return answer.json()

    async def make(self) -> None:
        await self.ask("POST", "/tenants", {"tenant_id": TENANT}, may_fail=True)
        await self.ask(
            "POST", "/boxes", {"tenant_id": TENANT, "box_id": self.box, "site_name": "Jane's attic"}
        )
        asset = {"id": f"{self.box}-bess", "type": "battery", "capacity_mwhr": 0.01, "max_mw": 0.005}
        await self.ask("PUT", f"/boxes/{TENANT}/{self.box}/assets", {"assets": [asset]})

    async def link(self) -> str:
        issued = await self.ask("POST", f"/boxes/{TENANT}/{self.box}/enroll-tokens", {"email": EMAIL})
        url: str = issued["url"]
        return url

    async def do(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "edge_agent", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=self._env, cwd=ROOT, capture_output=True, text=True, check=False
        )

    async def enroll(self, link: str, email: str = EMAIL, *more: str) -> "subprocess.CompletedProcess[str]":
        return await self.do("enroll", link, "--email", email, "--identity", str(self.identity), *more)

    def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            env = self._env | {"IDENTITY_DIR": str(self.identity)}
            command = [sys.executable, "-m", "edge_agent"]
            self._agent = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._agent:
            self._agent.send_signal(signal.SIGTERM)
            self._agent.wait(15)

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    async def stored(self) -> int:
        count: int = await self.db.fetchval(
            "select count(*) from telemetry join device using (device_key)"
            " where tenant_id = $1 and device_id = $2",
            TENANT,
            f"{self.box}-bess",
        )
        return count

    async def until_stored(self, more_than: int) -> None:
        async with asyncio.timeout(40):
            while await self.stored() <= more_than:
                await asyncio.sleep(0.01)


@pytest.fixture
async def site(platform: Stack, tmp_path: Path) -> AsyncIterator[Site]:
    db = await asyncpg.connect(platform.env()["DATABASE_URL"])
    async with httpx2.AsyncClient(timeout=30) as http:
        made = Site(platform, http, db, tmp_path)
        await made.make()
        yield made
        made.stop()
    await db.close()


async def test_from_the_link_to_the_first_stored_sample(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    """H-012, H-013, H-014: one command, and the agent needs no other setting."""
    link = await site.link()
    began_s = time.monotonic()

    done = await site.enroll(link)

    assert done.returncode == 0, done.stderr
    enrolled_s = time.monotonic() - began_s
    site.start()
    await site.until_stored(0)
    record_property("enrol_command_s", round(enrolled_s, 2))
    record_property("token_to_first_row_s", round(time.monotonic() - began_s, 2))
    print(f"enrolled after {enrolled_s:.2f} s, first row after {time.monotonic() - began_s:.2f} s")
    box = await site.ask("GET", f"/boxes/{TENANT}/{site.box}")
    assert (box["mode"], box["site_name"]) == ("observe", "Jane's attic")
    assert box["enrolled_at"]
    assert load(site.identity).box == site.box


async def test_a_link_works_once_and_for_its_address_alone(site: Site, tmp_path: Path) -> None:
    link = await site.link()

    wrong = await site.enroll(link, "joe@example.org")
    right = await site.enroll(link)
    again = await site.enroll(link)
    site.identity = tmp_path / "thief"
    second = await site.enroll(link)

    assert "the link was not made for joe@example.org" in wrong.stderr
    assert (right.returncode, again.returncode) == (0, 0), right.stderr + again.stderr
    assert second.returncode == 1
    assert "unknown, used, expired or withdrawn" in second.stderr


async def test_a_renewed_certificate_is_let_in(site: Site) -> None:
    await site.enroll(await site.link())
    first = load(site.identity)

    done = await site.do("renew", "--identity", str(site.identity))

    assert done.returncode == 0, done.stderr
    assert load(site.identity).serial != first.serial
    site.start()
    await site.until_stored(0)


async def test_a_revoked_box_is_out_says_why_and_comes_back_with_a_new_link(site: Site) -> None:
    await site.enroll(await site.link())
    site.start()
    await site.until_stored(0)

    await site.ask("POST", f"/boxes/{TENANT}/{site.box}/revoke", {"reason": "test"})

    await until(lambda: '"event": "not connected"' in site.log(), what="it is cut off")
    await until(lambda: "revoked or expired" in site.log(), what="it is told why", timeout_s=40)
    refused = await site.do("renew", "--identity", str(site.identity))
    assert refused.returncode == 1
    assert "ask the operator for a new enrolment link" in refused.stderr
    before = await site.stored()

    back = await site.enroll(await site.link())

    assert back.returncode == 0, back.stderr
    await site.until_stored(before)  # the agent that ran on takes up the new certificate, history and all
