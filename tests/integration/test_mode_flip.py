"""A flip to observe against dispatches: nothing is published under the old mode after it, nothing is written.

Everything is real: PostgreSQL, Kafka, Mosquitto, provisioning, gateway, controller, an agent as a process,
and a battery behind Modbus with a tap on the line. The instant of a flip is the database's
(`mode_changed_at`, taken under the lock), so is that of a `publish_log` row.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx2
import pytest
import yaml

from edge_agent.fleet.fleet import running_fleet
from overwatt import topics
from overwatt.inventory import parse_inventory
from overwatt.v1.agent_pb2 import Command, Status
from scripts.local.ports import HOST, Ports
from scripts.local.stack import Stack
from services.runtime.bus import producer
from tests.fakes.agent_cloud import cloud_for, until
from tests.fakes.modbus_tap import Tap, tapped

ROOT: Final = Path(__file__).parents[2]
SITE: Final = "flip-site"
KEY: Final = {"X-Admin-Key": "change-me-now"}
GRACE_S: Final = 1.0
"""The floor: no register write later than this."""
DEADMAN_S: Final = 9
"""A held setpoint is written again three times as often."""


@dataclass(frozen=True, slots=True)
class Flip:
    """As provisioning answered it."""

    mode: str
    epoch: int
    at: datetime


@dataclass
class Rig:
    """One box with one battery, and everything that can reach it."""

    stack: Stack
    tap: Tap
    db: asyncpg.Connection
    http: httpx2.AsyncClient
    folder: Path
    flips: list[Flip] = field(default_factory=list)
    flip_took_s: list[float] = field(default_factory=list)
    agent: "subprocess.Popen[bytes] | None" = None

    async def flip(self, mode: str) -> Flip:
        began_s = time.monotonic()
        answer = await self.http.post(
            f"http://{HOST}:{self.stack.ports.provisioning}/api/admin/boxes/default/{SITE}/mode",
            json={"mode": mode},
            headers=KEY,
        )
        assert answer.status_code == 200, answer.text
        self.flip_took_s.append(time.monotonic() - began_s)
        box = answer.json()
        flip = Flip(box["mode"], box["mode_epoch"], datetime.fromisoformat(box["mode_changed_at"]))
        self.flips.append(flip)
        return flip

    async def dispatch(self, mw: float, *, ttl_s: float = 60) -> httpx2.Response:
        return await self.http.post(
            f"http://{HOST}:{self.stack.ports.controller}/internal/dispatch",
            json={"asset_id": "flip-bess", "mw": mw, "ttl_s": ttl_s},
            headers={"X-Tenant": "default", "X-User": "u", "X-Request-Id": "r"},
        )

    async def state(self, accepted: httpx2.Response) -> str:
        assert accepted.status_code == 200, accepted.text
        state: str = await self.db.fetchval(
            "select state from dispatch where dispatch_id = $1", accepted.json()["dispatch_id"]
        )
        return state

    async def until_state(self, accepted: httpx2.Response, *states: str) -> None:
        async with asyncio.timeout(30):
            while await self.state(accepted) not in states:
                await asyncio.sleep(0.02)

    async def until_ready(self) -> None:
        """Active, and a dispatch goes all the way."""
        await self.flip("active")
        seen: list[tuple[str, str]] = []
        try:
            async with asyncio.timeout(60):
                while not seen or seen[-1][1] != "verified":
                    accepted = await self.dispatch(round(random.uniform(0.1, 0.9), 3), ttl_s=5)
                    seen.append((accepted.text, "accepted"))
                    while seen[-1][1] in ("accepted", "applied"):
                        seen[-1] = (accepted.text, await self.state(accepted))
                        await asyncio.sleep(0.05)
        except TimeoutError:
            log = (self.folder / "agent.log").read_text()[-3_000:]
            raise AssertionError(
                f"no dispatch was verified: {seen[-3:]}; the agent's log ends: {log}"
            ) from None

    async def published_too_late(self) -> list[asyncpg.Record]:
        """Rows of an older mode that were published after a flip, in the database's order."""
        rows = await self.db.fetch("select * from publish_log where box_id = $1 order by id", SITE)
        assert rows
        return [
            row
            for row in rows
            for flip in self.flips
            if row["published_at"] > flip.at and row["mode_epoch"] < flip.epoch
        ]

    def written_too_late(self) -> list[tuple[Flip, float]]:
        """Register writes while the box was observed, and by how much they were later than the flip."""
        ends = [flip.at.timestamp() for flip in self.flips[1:]] + [time.time()]
        return [
            (flip, round(write[0] - flip.at.timestamp(), 3))
            for flip, end in zip(self.flips, ends, strict=True)
            if flip.mode == "observe"
            for write in self.tap.between(flip.at.timestamp() + GRACE_S, end)
        ]

    # --- the agent

    def start_agent(self) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
            "SITE_ID": SITE,
            "ASSETS_PATH": str(self.folder / "assets.yaml"),
            "HEADEND_GRPC": f"{HOST}:{self.stack.ports.mosquitto}",
            "SPOOL_PATH": str(self.folder / "spool.sqlite"),
            "TELEMETRY_INTERVAL_MS": "500",
            "CLOCK_TRUSTED": "1",
            "DEADMAN_S": str(DEADMAN_S),
        }
        with (self.folder / "agent.log").open("ab") as log:
            command = [sys.executable, "-m", "edge_agent"]
            self.agent = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)

    def kill_agent(self) -> None:
        if self.agent:
            self.agent.kill()
            self.agent.wait(10)
            self.agent = None

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = (self.folder / "agent.log").read_text().splitlines(keepends=True)
        return [
            entry for line in lines if line.endswith("\n") and (entry := json.loads(line))["event"] == event
        ]

    async def until_published(self, accepted: httpx2.Response, times: int) -> None:
        """The gateway has put a command of this dispatch on its socket so often."""
        query = "select count(*) from publish_log l join command c using (command_id) where dispatch_id = $1"
        async with asyncio.timeout(30):
            while await self.db.fetchval(query, accepted.json()["dispatch_id"]) < times:
                await asyncio.sleep(0.02)

    async def heard(self, flip: Flip) -> dict[str, Any]:
        """The agent's log line on this mode."""

        def line() -> dict[str, Any] | None:
            return next((each for each in self.logged("config") if each["mode_epoch"] == flip.epoch), None)

        found: dict[str, Any] = await until(line, what=f"the agent hears of {flip}")
        return found

    @contextmanager
    def frozen(self, part: str) -> Iterator[None]:
        """As a machine that hangs: it holds its connections and does nothing."""
        pid = self.stack.pid(part)
        assert pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """What these tests freeze is theirs alone."""
    home = Path(tempfile.mkdtemp(prefix="overwatt-flip-", dir="/tmp"))
    home.chmod(0o755)
    asset = {"id": "flip-bess", "capacity_mwhr": 10, "max_mw": 1, "ramp_rate_mw_per_min": 6000}
    (home / "assets.yaml").write_text(yaml.safe_dump({"sites": [{"id": SITE, "assets": [asset]}]}))
    with Stack(home, Ports.free(), service_environment={"ASSETS_PATH": str(home / "assets.yaml")}) as own:
        own.start("postgres", "kafka", "mosquitto")
        own.migrate()
        own.start("provisioning", "ingest-gateway", "controller")
        yield own
    own.remove_data()
    shutil.rmtree(home)


@pytest.fixture
async def rig(stack: Stack, tmp_path: Path) -> AsyncIterator[Rig]:
    document = yaml.safe_load((stack.home / "assets.yaml").read_text())
    (asset,) = document["sites"][0]["assets"]
    asset |= {"driver": "sunspec"}
    db = await asyncpg.connect(stack.env()["DATABASE_URL"])
    async with (
        running_fleet(parse_inventory(document), free_ports=True, cache_dir=tmp_path) as fleet,
        tapped(fleet["flip-bess"].host, fleet["flip-bess"].port) as tap,
        httpx2.AsyncClient(timeout=30) as http,
    ):
        asset |= {"host": HOST, "port": tap.port, "unit": fleet["flip-bess"].unit}
        (tmp_path / "assets.yaml").write_text(yaml.safe_dump(document))
        await db.execute("delete from publish_log")
        made = Rig(stack, tap, db, http, tmp_path)
        made.start_agent()
        try:
            await made.until_ready()
            yield made
        finally:
            made.kill_agent()
            await db.close()


async def test_flips_that_race_dispatches_200_times_let_nothing_of_the_old_mode_through(rig: Rig) -> None:
    """H-029, H-030: also with an agent that is killed and comes back in the middle."""
    for number in range(200):
        answers = await asyncio.gather(
            rig.dispatch(round(random.uniform(-1, 1), 3)),
            later(random.uniform(0, 0.03), rig.flip("observe")),
            rig.dispatch(round(random.uniform(-1, 1), 3)),
        )
        assert {answers[0].status_code, answers[2].status_code} <= {200, 409}
        if number % 40 == 39:
            rig.kill_agent()
            rig.start_agent()
        if number % 20 == 19:  # long enough for a late write to be seen
            await asyncio.sleep(GRACE_S * 2)
        await rig.flip("active")

    await rig.until_ready()
    took_s = sorted(rig.flip_took_s)
    print(f"flips took {took_s[len(took_s) // 2]:.3f} s (median), {took_s[-1]:.3f} s (longest)")
    assert len([flip for flip in rig.flips if flip.mode == "observe"]) == 200
    assert await rig.published_too_late() == []
    assert rig.written_too_late() == []


async def test_a_thousand_queued_commands_do_not_hold_up_a_flip_and_stop_at_it(rig: Rig) -> None:
    commands = [a_command(number) for number in range(1_000)]
    async with producer(rig.stack.env()["KAFKA_BOOTSTRAP"], name="test") as bus:
        sent = [
            await bus.enqueue(topics.COMMANDS, f"default/{SITE}", command.SerializeToString())
            for command in commands
        ]
        await bus.settle(sent)
    ids = [command.id for command in commands]
    published = "select count(*) from publish_log where command_id = any($1::uuid[])"
    async with asyncio.timeout(30):
        while not await rig.db.fetchval(published, ids):
            await asyncio.sleep(0.001)

    flip = await rig.flip("observe")

    count = await rig.db.fetchval(published, ids)
    print(f"the flip took {rig.flip_took_s[-1]:.3f} s, {count} of 1000 commands went before it")
    assert 0 < count < 1_000  # it did not have to wait for all of them
    await rig.heard(flip)
    await asyncio.sleep(GRACE_S * 2)
    assert await rig.db.fetchval(published, ids) == count
    assert await rig.published_too_late() == []
    assert rig.written_too_late() == []


@pytest.mark.parametrize("is_running", [False, True])
async def test_what_a_frozen_broker_kept_is_not_begun_when_it_thaws(rig: Rig, is_running: bool) -> None:
    """The bytes were on the socket before the flip, so they do reach the agent: late."""
    if not is_running:
        await rig.heard(await rig.flip("observe"))
        await rig.heard(await rig.flip("active"))
    begun = len(rig.logged("split"))
    with rig.frozen("mosquitto"):
        accepted = await rig.dispatch(0.7)
        await rig.until_published(accepted, 2)
        flip = await rig.flip("observe")
        await asyncio.sleep(DEADMAN_S / 2 if is_running else GRACE_S * 2)
        assert rig.written_too_late() == []  # nor is anything refreshed
    heard = await rig.heard(flip)

    await rig.until_state(accepted, "rejected")
    await asyncio.sleep(GRACE_S * 2)
    assert await rig.published_too_late() == []
    assert len(rig.logged("split")) == begun, rig.logged("reply")
    heard_at = datetime.fromisoformat(heard["at"]).timestamp()
    late = [at for at, _, _ in rig.tap.between(flip.at.timestamp() + GRACE_S, time.time())]
    if is_running:  # what ran before the freeze: given back once the agent knows, and nothing else
        assert (
            len([line for line in rig.logged("released") if line["reason"].startswith("MODE_OBSERVE")]) == 1
        )
        assert rig.logged("setpoint not refreshed")
        assert heard_at - GRACE_S < min(late)
        assert max(late) < heard_at + GRACE_S
    else:
        assert late == []


async def test_an_agent_that_starts_while_the_broker_is_frozen_does_not_begin_with_what_it_kept(
    rig: Rig,
) -> None:
    """It has no earlier message to compare with."""
    with rig.frozen("mosquitto"):
        accepted = await rig.dispatch(0.7)
        await rig.until_published(accepted, 2)
        flip = await rig.flip("observe")
        rig.kill_agent()
        (rig.folder / "agent.log").unlink()
        rig.start_agent()
        await until(lambda: (rig.folder / "agent.log").exists() and rig.logged("device answers"))
        await asyncio.sleep(GRACE_S * 4)
    await rig.heard(flip)

    await rig.until_state(accepted, "rejected")
    await asyncio.sleep(GRACE_S * 2)
    assert rig.logged("split") == []
    assert rig.written_too_late() == []


async def test_a_new_agent_that_heard_nothing_but_what_a_frozen_broker_kept_begins_nothing(rig: Rig) -> None:
    """Its registration is answered into the frozen broker, and the command comes right behind that answer.

    So the answer is as late as the command: it must not make the command seem prompt.
    """
    begun = len(rig.logged("split"))
    rig.kill_agent()
    with rig.frozen("ingest-gateway"):
        async with cloud_for((HOST, rig.stack.ports.mosquitto), "default", SITE) as watcher:
            watcher.tells_time = False
            await until(lambda: watcher.kinds()[-1:] == [Status.GONE])
            rig.start_agent()
            await until(lambda: watcher.kinds()[-1] == Status.BIRTH, what="the registration is in the broker")
        with rig.frozen("mosquitto"):
            os.kill(rig.stack.pid("ingest-gateway") or 0, signal.SIGCONT)
            accepted = await rig.dispatch(0.7)
            await rig.until_published(accepted, 1)
            flip = await rig.flip("observe")
            await asyncio.sleep(GRACE_S * 1.8)  # within what a trusted clock may be off
    await rig.heard(flip)

    await rig.until_state(accepted, "rejected")
    await asyncio.sleep(GRACE_S * 2)
    assert len(rig.logged("split")) == begun
    assert rig.logged("command held up")
    assert rig.written_too_late() == []


async def test_a_new_agent_knows_how_late_a_command_is_before_its_first_one_comes(rig: Rig) -> None:
    """The answer to its registration is there first, so that no dispatch has to be repeated for it."""
    rig.kill_agent()
    (rig.folder / "agent.log").unlink()
    rig.start_agent()
    await until(lambda: (rig.folder / "agent.log").exists() and rig.logged("device answers"))

    await rig.until_state(await rig.dispatch(0.3), "verified")

    assert rig.logged("command held up") == []


async def test_an_order_of_before_is_not_carried_out_after_a_pause_of_the_customer(rig: Rig) -> None:
    """Observe ends what was ordered, also what still waits for its agent."""
    rig.kill_agent()
    async with asyncio.timeout(30):
        while await rig.db.fetchval("select true from agent_session where disconnected_at is null"):
            await asyncio.sleep(0.05)
    accepted = await rig.dispatch(0.6)
    await rig.flip("observe")
    await rig.flip("active")

    rig.start_agent()

    await rig.until_state(accepted, "rejected", "applied", "verified")
    row = await rig.db.fetchrow(
        "select state, reason from dispatch where dispatch_id = $1", accepted.json()["dispatch_id"]
    )
    assert row
    assert (row["state"], (row["reason"] or "").partition(":")[0]) == ("rejected", "MODE_EPOCH_OLD")


async def test_a_slow_device_is_not_written_later_than_a_second_after_the_agent_heard(rig: Rig) -> None:
    rig.tap.delay_s = 0.12
    await rig.dispatch(-0.4)
    await until(lambda: len(rig.logged("split")) > 1, what="it is being carried out")

    flip = await rig.flip("observe")

    heard_at = datetime.fromisoformat((await rig.heard(flip))["at"]).timestamp()
    await asyncio.sleep(GRACE_S * 3)
    assert [at - heard_at for at, _, _ in rig.tap.between(heard_at + GRACE_S, time.time())] == []


async def later(after_s: float, work: Any) -> Any:
    await asyncio.sleep(after_s)
    return await work


def a_command(number: int) -> Command:
    now_us = time.time_ns() // 1000
    return Command(
        id=str(uuid4()),
        dispatch_id=str(uuid4()),
        tenant="default",
        device=SITE,
        asset="flip-bess",
        power_mw=number / 1_000,
        issued_at_us=now_us,
        expires_at_us=now_us + 60_000_000,
        capability="battery",
    )
