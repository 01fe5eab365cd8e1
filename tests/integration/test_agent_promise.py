"""The agent's side of the telemetry promise, with everything real: broker, gateway, Kafka, writer, database.

At any time each sample that an agent has committed to its spool is stored once, or still in the spool, or
declared as lost; so after a kill the ledger in the spool file, the file itself and the database must agree.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import yaml

from edge_agent.clock import kept_by_ntp
from edge_agent.model import Reading, Sample, Stamp
from edge_agent.spool import SpoolFile
from scripts.chaos import ledger
from scripts.local.ports import HOST, Ports
from scripts.local.stack import Stack
from tests.fakes.agent_cloud import cloud_for, until
from tests.fakes.lossy_link import lossy_link
from tests.integration.agent_rig import AgentProcess, running

SITES: Final = {"acks": 2, "outage": 2, "overflow": 20, "wiped": 2, "cloned": 2, "clock": 2}
"""Sites with their number of meters."""
WITHIN_S: Final = 40.0
SLOW_CLOCK: Final = ("-m", "scripts.chaos.skewed", "-3600")


class Box(AgentProcess):
    """An agent whose spool writes down all that was ever put in it."""

    def __init__(self, folder: Path, site: str, address: tuple[str, int], **more: Any) -> None:
        folder.mkdir()
        super().__init__(folder, site, address, **more)
        ledger.arm(self.spool)

    def preload(self, rows: int, *, ago_s: float) -> int:
        """Rows of an earlier run, a millisecond apart; answers its epoch."""
        file = SpoolFile(self.spool, max_bytes=10**9, boot="earlier")
        began_us = time.time_ns() // 1000 - round(ago_s * 1e6)
        samples = [
            Sample(f"{self.site}-1", Stamp(began_us + n * 1_000, 0), Reading({"active_power_w": float(n)}))
            for n in range(rows)
        ]
        with file.transaction():
            file.append(samples)
        file.close()
        return file.epoch


@dataclass
class Rig:
    """The platform, and what it has stored."""

    stack: Stack
    assets: Path
    folder: Path
    db: asyncpg.Connection

    @property
    def broker(self) -> tuple[str, int]:
        return HOST, self.stack.ports.mosquitto

    def box(self, site: str, name: str = "box", **more: Any) -> Box:
        more.setdefault("address", self.broker)
        return Box(self.folder / name, site, ASSETS_PATH=str(self.assets), **more)

    async def rows(self, site: str, where: str = "true", *arguments: Any) -> int:
        count: int = await self.db.fetchval(
            "select count(*) from telemetry t join device d using (device_key) "
            f"where d.device_id like '{site}-%' and {where}",
            *arguments,
        )
        return count

    async def until_rows(self, site: str, count: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while await self.rows(site) < count:
                await asyncio.sleep(0.1)

    async def until_more_rows(self, site: str, more: int = 10) -> None:
        await self.until_rows(site, await self.rows(site) + more)

    async def assert_kept(self, site: str, *boxes: Box) -> list[ledger.Sample]:
        """The promise; answers what was spooled. The agents must have ended."""
        spooled = [sample for box in boxes for sample in ledger.read(box.spool)]
        stored = [row for row in await ledger.stored(self.db) if row[0].startswith(f"{site}-")]
        findings = ledger.compare(spooled, stored)
        assert (findings.doubled, findings.changed, findings.foreign) == ([], [], [])
        assert set(findings.lost) <= {key for box in boxes for key in ledger.left_in_spool(box.spool)}
        return spooled

    @contextmanager
    def frozen(self, part: str) -> Iterator[None]:
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
    home = Path(tempfile.mkdtemp(prefix="overwatt-promise-", dir="/tmp"))
    home.chmod(0o755)
    series = home / "series.csv"
    series.write_text(
        "seconds,active_power_w,voltage_v\n" + "".join(f"{n / 10},{n},{230 + n}\n" for n in range(100))
    )
    sites = [
        {
            "id": site,
            "assets": [
                {"id": f"{site}-{n}", "type": "meter", "driver": "replay", "file": str(series)}
                for n in range(1, count + 1)
            ],
        }
        for site, count in SITES.items()
    ]
    (home / "assets.yaml").write_text(yaml.safe_dump({"sites": sites}))
    environment = {
        "ASSETS_PATH": str(home / "assets.yaml"),
        "TIMESCALE_FLUSH_INTERVAL_MS": "100",
        "INGEST_AGENT_RATE": "4000",
        "INGEST_AGENT_BURST": "4000",
    }
    with Stack(home, Ports.free(), service_environment=environment) as own:
        own.start("postgres", "kafka", "mosquitto")
        own.migrate()
        own.start("provisioning", "ingest-gateway", "ingest-writer")
        yield own
    own.remove_data()
    shutil.rmtree(home)


@pytest.fixture
async def rig(stack: Stack, tmp_path: Path) -> AsyncIterator[Rig]:
    db = await asyncpg.connect(stack.env()["DATABASE_URL"])
    yield Rig(stack, stack.home / "assets.yaml", tmp_path, db)
    await db.close()


async def test_acknowledgements_lost_while_the_connection_stands_cost_repeats_and_no_row(rig: Rig) -> None:
    async with lossy_link(rig.broker) as link:
        box = rig.box("acks", address=link.address, WINDOW_S="1")
        link.drops = {"ack"}
        with running(box):
            await until(lambda: box.lines("no answer"))
            assert link.dropped
            assert await rig.rows("acks") > 10
            link.drops.clear()
            await rig.until_more_rows("acks")

    assert len(box.lines("connected")) == 1
    (epoch,) = {epoch for epoch, _ in box.spooled()} or {0}
    assert (epoch, 1) not in box.spooled()  # acknowledged again when it came again
    await rig.assert_kept("acks", box)


async def test_a_writers_outage_stays_in_the_spool_and_live_data_go_before_the_backlog(rig: Rig) -> None:
    """The window closes, the oldest batch alone probes, and one answer opens it again."""
    box = rig.box("outage", WINDOW_S="1", LOG_LEVEL="debug")
    box.preload(10_000, ago_s=600)
    began = time.time()
    with running(box):
        with rig.frozen("ingest-writer"):
            await until(lambda: box.lines("no answer"))
            sent = len(box.lines("sent"))
            await until(lambda: len(box.lines("sent")) > sent, what="a probe")
        thawed = time.time()
        live = "ts > to_timestamp($1)"
        async with asyncio.timeout(WITHIN_S):
            while not await rig.rows("outage", live, thawed):
                await asyncio.sleep(0.02)
        drained = await rig.rows("outage", "ts < to_timestamp($1)", began)
        await rig.until_rows("outage", 10_000)

    assert drained < 10_000
    after = box.events("no answer", "sent")
    closed = next(n for n, each in enumerate(after) if each["event"] == "no answer")
    probe = after[closed + 1]
    assert (probe["live"], probe["rows"]) == (False, 400)
    assert any(line["reason"] == "RATE_LIMITED" for line in box.lines("samples refused"))
    await rig.assert_kept("outage", box)


async def test_what_a_full_spool_gave_up_and_what_is_stored_add_up_to_what_was_spooled(rig: Rig) -> None:
    """Also where the spool gave up what was already on its way, and was stored after all."""
    box = rig.box("overflow", SPOOL_MAX_MB="1")
    # The ledger would fill the file: here it keeps the highest number of each run alone.
    with closing(sqlite3.connect(box.spool)) as db:
        db.executescript(
            """DROP TRIGGER written_down; DROP TRIGGER dated; DROP TABLE ledger;
               CREATE TABLE highest (run INTEGER PRIMARY KEY, seq INTEGER);
               CREATE TRIGGER written_down AFTER INSERT ON sample
               BEGIN INSERT OR REPLACE INTO highest VALUES (NEW.run, NEW.seq); END;"""
        )
    box.preload(30_000, ago_s=600)
    async with cloud_for(rig.broker, "default", "overflow") as watcher:
        watcher.tells_time = False
        with rig.frozen("ingest-writer"):
            with running(box):
                await until(lambda: len(watcher.samples) > 2_400, timeout_s=WITHIN_S)
            sent = {(each.epoch, each.seq) for each in watcher.samples}
    await rig.until_rows("overflow", len(sent))
    box.change(TELEMETRY_INTERVAL_MS="3600000")
    with closing(sqlite3.connect(box.spool)) as db:
        lost = db.execute("SELECT epoch, first_seq, last_seq FROM evicted JOIN run USING (run)").fetchall()
    gave_up = {(epoch, seq) for epoch, first, last in lost for seq in range(first, last + 1)}
    assert gave_up - sent, "the spool had to give up what was never sent"
    assert gave_up & sent, "and what was on its way"

    async def adds_up() -> bool:
        declared = await rig.db.fetchval(
            "select coalesce(sum(rows), 0) from declared_loss where device_id = 'overflow'"
        )
        return bool(await rig.rows("overflow") + declared == spooled)

    with closing(sqlite3.connect(box.spool)) as db:
        (spooled,) = db.execute("SELECT sum(seq) FROM highest").fetchone()
    spooled += SITES["overflow"]  # one more of each: what a start reads
    with running(box):
        async with asyncio.timeout(WITHIN_S):
            while not await adds_up():
                await asyncio.sleep(0.2)


async def test_a_wiped_spool_is_no_repeat_of_what_was_there(rig: Rig) -> None:
    """Its numbers begin at 1 again, under another epoch; the writer forgets the old one."""
    first = rig.box("wiped", "before")
    with running(first):
        await rig.until_rows("wiped", 20)
    kept = await rig.rows("wiped")
    second = rig.box("wiped", "after")  # the same box with an empty disk

    with running(second):
        await rig.until_rows("wiped", kept + 20)

    await rig.assert_kept("wiped", first, second)
    query = "select epoch from ingest_committed where device_id = 'wiped'"
    epochs = {row["epoch"] for row in await rig.db.fetch(query)}
    assert len(epochs) == 1
    assert epochs.isdisjoint(epoch for epoch, _ in first.spooled())


async def test_two_boxes_with_a_copy_of_one_disk_store_what_they_share_once(rig: Rig) -> None:
    """One identity, so they put each other out of the broker; both get through."""
    first = rig.box("cloned", "one")
    with rig.frozen("ingest-writer"), running(first):
        async with cloud_for(rig.broker, "default", "cloned") as watcher:
            await until(lambda: len(watcher.samples) > 20)
    shared = ledger.left_in_spool(first.spool)  # reading it also brings the log into the file
    second = rig.box("cloned", "other")
    shutil.copy(first.spool, second.spool)

    with running(first), running(second):
        await until(lambda: min(len(box.lines("connected")) for box in (first, second)) > 1)
        await rig.until_more_rows("cloned", 40)

    spooled = await rig.assert_kept("cloned", first, second)
    assert len(spooled) - len(set(spooled)) >= len(shared) > 0


@pytest.mark.skipif(kept_by_ntp(), reason="the clock of this machine is kept by NTP")
async def test_what_a_box_measured_with_a_wrong_clock_gets_its_time_when_the_clock_is_right(rig: Rig) -> None:
    began = time.time()
    wrong = rig.box("clock", "box", program=SLOW_CLOCK, CLOCK_TRUSTED="0")
    with running(wrong):
        await until(lambda: wrong.lines("connected") and wrong.lines("device answers"))
        await asyncio.sleep(2)
    measured = wrong.spooled()
    assert measured
    assert await rig.rows("clock") == 0

    wrong.program = ("-m", "edge_agent")  # somebody has set it
    with running(wrong):
        await rig.until_rows("clock", len(measured) + 10)

    spooled = await rig.assert_kept("clock", wrong)
    assert all(began * 1e6 < ts_us < time.time() * 1e6 for _, ts_us, _, _ in spooled)
