"""A box comes in with one command, speaks mutual TLS, and keeps its certificate fresh."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from edge_agent.identity import BoxIdentity, load
from overwatt.v1.agent_pb2 import Status
from tests.fakes.agent_cloud import Cloud, cloud_for, until
from tests.fakes.enrol_door import EMAIL, TOKEN, Door, new_authority, open_door
from tests.integration.tls_broker import TlsBroker

ROOT = Path(__file__).parents[2]
ASSETS = [{"id": "bess-1", "max_mw": 1.0, "capacity_mwhr": 2.0, "ramp_rate_mw_per_min": 6000}]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with open_door(Door(new_authority(), tmp_path, assets=ASSETS)) as listening:
        yield listening


@pytest.fixture
async def broker(door: Door, home: Path) -> AsyncIterator[TlsBroker]:
    own = TlsBroker(home, door.authority)
    await own.start()
    door.mqtt_port = own.tls_port
    yield own
    own.stop()


class Box:
    """A machine with nothing on it but the agent."""

    def __init__(self, folder: Path) -> None:
        self.identity = folder / "identity"
        self.log = folder / "agent.log"
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
            "IDENTITY_DIR": str(self.identity),
            "SPOOL_PATH": str(folder / "spool.sqlite"),
            "TELEMETRY_INTERVAL_MS": "100",
            "CLOCK_TRUSTED": "1",
        }

    def do(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "edge_agent", *arguments]
        return subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, check=False)

    def enroll(self, link: str, email: str = EMAIL) -> "subprocess.CompletedProcess[str]":
        return self.do("enroll", link, "--email", email)

    def run(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "edge_agent"]
            return subprocess.Popen(command, env=self.env, cwd=ROOT, stdout=log, stderr=log)

    def who(self) -> BoxIdentity:
        return load(self.identity)

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates((self.identity / "certificate.pem").read_bytes())[0]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
async def running(box: Box, broker: TlsBroker) -> AsyncIterator[Any]:
    """`async with running() as cloud`: the agent of the enrolled box, and what the cloud hears of it."""
    processes = []

    def start() -> "subprocess.Popen[bytes]":
        processes.append(box.run())
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.wait(15)


@pytest.fixture
async def cloud(broker: TlsBroker) -> AsyncIterator[Cloud]:
    async with cloud_for(broker.plain, "acme", "box-1") as heard:
        yield heard


async def test_one_command_brings_a_box_in_and_the_agent_needs_no_other_setting(
    door: Door, broker: TlsBroker, box: Box, cloud: Cloud, running: Any
) -> None:
    done = await asyncio.to_thread(box.enroll, door.link)

    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    assert steps == ["key", "server", "identity", "certificate", "written", "broker", "done"]
    assert TOKEN not in done.stdout
    files = {path.name: path.stat().st_mode & 0o777 for path in box.identity.iterdir()}
    assert {"key.pem", "certificate.pem", "chain.pem", "root.pem", "box.json", "assets.yaml"} <= set(files)
    assert set(files.values()) == {0o600}
    running()
    await until(lambda: len(cloud.of("bess-1")) > 3)
    assert (cloud.statuses[0].kind, cloud.statuses[0].site_name) == (Status.BIRTH, "The attic")


async def test_a_server_with_another_root_is_told_nothing(door: Door, box: Box) -> None:
    link = door.link.replace(door.authority.fingerprint, "ab" * 32)

    done = await asyncio.to_thread(box.enroll, link)

    assert done.returncode == 1
    assert "Nothing secret was sent" in done.stderr
    assert door.asked == []
    assert not (box.identity / "box.json").exists()


async def test_a_lost_answer_costs_nothing_the_same_command_gets_the_same_certificate(
    door: Door, broker: TlsBroker, box: Box
) -> None:
    door.loses_answers = 1
    lost = await asyncio.to_thread(box.enroll, door.link)
    assert lost.returncode == 1
    assert "no answer from localhost" in lost.stderr

    done = await asyncio.to_thread(box.enroll, door.link)
    again = await asyncio.to_thread(box.enroll, door.link)

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert "the one of the try before" in done.stdout
    assert len(door.issued) == 1


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (410, "the link is unknown, used, expired or withdrawn; ask the operator for a new enrolment link"),
        (403, f"the link was not made for {EMAIL} (as it is)"),
        (409, "this box may not come in now (as it is)"),
        (422, "the server does not understand what this box sends (as it is)"),
        (429, "too many tries; run the same command again in 60 s"),
        (500, "the server answers 500 (as it is); run the same command later"),
    ],
)
async def test_a_refusal_says_what_to_do_in_one_line(door: Door, box: Box, status: int, says: str) -> None:
    door.refuses_with = (status, {"detail": "as it is"})

    done = await asyncio.to_thread(box.enroll, door.link)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {says}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("ahead", "says"), [(-900, "days 0 h ahead"), (900, "days 0 h behind")])
async def test_a_clock_that_is_off_by_more_than_the_certificate_allows_is_named_with_the_difference(
    tmp_path: Path, box: Box, ahead: int, says: str
) -> None:
    own = Door(new_authority(), tmp_path, clock_ahead=timedelta(days=ahead, seconds=-60 if ahead < 0 else 60))
    with open_door(own) as door:
        done = await asyncio.to_thread(box.enroll, door.link)

    assert done.returncode == 1
    assert f"{abs(ahead)} {says}" in done.stderr
    assert f"the clock of this box says {datetime.now(UTC):%Y-%m-%d}" in done.stderr
    assert door.asked == []


async def test_a_running_agent_renews_at_two_thirds_of_the_life_and_comes_back_with_the_new_certificate(
    door: Door, broker: TlsBroker, box: Box, cloud: Cloud, running: Any
) -> None:
    door.life = timedelta(seconds=12)
    assert (await asyncio.to_thread(box.enroll, door.link)).returncode == 0
    first = box.who()
    door.life = timedelta(days=90)

    running()

    await until(lambda: box.who().serial != first.serial, what="a new certificate")
    births = await until(lambda: [s for s in cloud.statuses if s.kind == Status.BIRTH][1:], what="it is back")
    assert births[0].boot_id == cloud.statuses[0].boot_id  # the same run of the agent
    assert door.renewed_by == [first.serial]
    assert len(door.issued) == 2  # a key of its own
    assert box.certificate().not_valid_after_utc > datetime.now(UTC) + timedelta(days=80)
    await until(lambda: datetime.now(UTC) > first.not_after, what="the old one is over")
    broker.stop()
    await broker.start()
    async with cloud_for(broker.plain, "acme", "box-1") as later:
        await until(lambda: later.samples, what="it comes in with the new one")


async def test_an_expired_certificate_needs_a_new_link_and_the_agent_says_so(
    door: Door, broker: TlsBroker, box: Box, running: Any
) -> None:
    door.life = timedelta(seconds=3)
    await asyncio.to_thread(box.enroll, door.link)
    not_after = box.who().not_after
    await until(lambda: datetime.now(UTC) > not_after)

    renewal = await asyncio.to_thread(box.do, "renew")
    running()

    assert renewal.returncode == 1
    assert "expired on" in renewal.stderr
    assert "ask the operator for a new enrolment link" in renewal.stderr
    await until(lambda: "ask the operator for a new enrolment link" in box.log.read_text())
    await until(lambda: "is this box's certificate revoked or expired?" in box.log.read_text())


async def test_a_broker_of_another_authority_is_not_spoken_to(door: Door, box: Box, home: Path) -> None:
    stranger = TlsBroker(home / "other", new_authority())
    await stranger.start()
    try:
        door.mqtt_port = stranger.tls_port
        done = await asyncio.to_thread(box.enroll, door.link)
    finally:
        stranger.stop()

    assert done.returncode == 1
    assert "certificate verify failed" in done.stderr
    assert "The box has its identity" in done.stderr


async def test_renew_by_hand_keeps_the_identity_and_changes_key_and_certificate(
    door: Door, broker: TlsBroker, box: Box
) -> None:
    await asyncio.to_thread(box.enroll, door.link)
    first, key = box.who(), (box.identity / "key.pem").read_bytes()

    done = await asyncio.to_thread(box.do, "renew")

    assert done.returncode == 0, done.stderr
    after = box.who()
    assert (after.tenant, after.box) == (first.tenant, first.box)
    assert after.serial != first.serial
    assert (box.identity / "key.pem").read_bytes() != key
