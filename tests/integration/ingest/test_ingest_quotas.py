"""Quotas on the real path: a mad meter harms nobody, and an agent that drains an outage loses nothing."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.model import Reading, Sample, Stamp
from edge_agent.spool import SpoolFile
from tests.integration.ingest.conftest import Platform, Wire, a_device, a_platform, now_us
from tests.integration.test_agent_process import AgentProcess, running

BACKLOG = 6_000
ASSETS = "sites: [{{id: {site}, assets: [{{id: {site}-1, type: meter, driver: replay}}]}}]"
ROWS = "select count(*) from telemetry where device_key = $1"
REFUSED = """
select sum(count) from rejection where tenant_id = $1 and device_id = $2 and reason = 'RATE_LIMITED'"""


@pytest.fixture(scope="module")
def components() -> Iterator[Platform]:
    with a_platform(
        INGEST_DEVICE_RATE="2", INGEST_DEVICE_BURST="10", INGEST_AGENT_RATE="1000", INGEST_AGENT_BURST="500"
    ) as platform:
        yield platform


async def test_a_mad_meter_is_rejected_in_numbers_while_the_others_stay_whole_and_fresh(
    platform_path: Platform, tenant: str
) -> None:  # U-P05
    path = platform_path
    mad = a_device(tenant, "mad", type="meter")
    good = [a_device(tenant, f"good-{number}", type="meter") for number in range(3)]
    await path.know(mad, *good)
    started_us = now_us()

    with path.device(tenant, "mad") as wire:
        with flooding(wire, started_us) as flood:
            refused = await asyncio.to_thread(wire.message, "ack", lambda body: b"RATE_LIMITED" in body)
            assert b'"final":false' in refused
            for number in range(1, 21):
                for each in good:
                    with path.device(tenant, each.device) as meter:
                        meter.send({"metrics": {"temp_c": number}, "ts": now_us() / 1e6, "seq": number})
                        answer = await asyncio.to_thread(meter.answer, number)
                        assert answer["committed"] == [[number, number]]
            assert flood.is_alive()  # all of that was committed under the flood
        sent = flood.sent
        await asyncio.to_thread(wire.answer, sent)

    # A gateway that ends tells the numbers of the running minute.
    await asyncio.to_thread(path.stack.stop_part, "ingest-gateway")
    stored = (await path.fetch(ROWS, mad.device_key))[0][0]
    await path.until(REFUSED, tenant, "mad", is_true=lambda count: count == sent - stored)
    kept = "select count(*) from rejection where tenant_id = $1 and payload is not null"
    assert 10 <= (await path.fetch(kept, tenant))[0][0] <= 20  # ten a minute, of two minutes at most
    for each in good:
        assert (await path.fetch(ROWS, each.device_key))[0][0] == 20
        assert (await path.fetch(REFUSED, tenant, each.device))[0][0] is None


async def test_an_agent_that_drains_an_outage_is_held_back_and_loses_nothing(
    platform_path: Platform, tenant: str, tmp_path: Path
) -> None:
    path, site = platform_path, f"site-{tenant}"
    agent, meter = a_device(tenant, site, type="agent", assets=[f"{site}-1"]), a_device(tenant, f"{site}-1")
    await path.know(agent, meter)
    began_us = now_us()
    fill(tmp_path / "spool.sqlite", f"{site}-1", began_us)
    (tmp_path / "assets.yaml").write_text(ASSETS.format(site=site))
    process = AgentProcess(
        tmp_path, site, ("127.0.0.1", path.stack.ports.mosquitto), TENANT_ID=tenant, DEVICE_ID=site
    )

    live = "select count(*) from telemetry where device_key = $1 and ts > to_timestamp($2)"
    old = "select count(*) from telemetry where device_key = $1 and ts <= to_timestamp($2)"
    with running(process):
        await path.until(live, meter.device_key, began_us / 1e6)
        drained = (await path.fetch(old, meter.device_key, began_us / 1e6))[0][0]
        assert drained < BACKLOG  # what is fresh does not wait behind what is old
        await path.until(old, meter.device_key, began_us / 1e6, is_true=lambda count: count == BACKLOG)
        await path.until(REFUSED, tenant, site)
        process.stop()

    values = "select count(distinct temp_c) from telemetry where device_key = $1 and ts <= to_timestamp($2)"
    assert (await path.fetch(values, meter.device_key, began_us / 1e6))[0][0] == BACKLOG


class Flood(threading.Thread):
    """Sends 623 messages a second, which once took a peer down for five hours."""

    def __init__(self, wire: Wire, started_us: int) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self.is_enough = threading.Event()
        self._wire = wire
        self._started_us = started_us

    def run(self) -> None:
        while not self.is_enough.wait(0.1):
            for _ in range(62):
                self.sent += 1
                ts = (self._started_us + self.sent) / 1e6
                self._wire.post({"metrics": {"temp_c": self.sent}, "ts": ts, "seq": self.sent})


@contextmanager
def flooding(wire: Wire, started_us: int) -> Iterator[Flood]:
    flood = Flood(wire, started_us)
    flood.start()
    try:
        yield flood
    finally:
        flood.is_enough.set()
        flood.join()


def fill(spool: Path, asset: str, end_us: int) -> None:
    """A spool with a sample every 100 ms of the time before."""
    file = SpoolFile(spool, max_bytes=10**9, boot="b")
    with file.transaction():
        file.append(
            Sample(asset, Stamp(end_us - 100_000 * number, 0), Reading({"temp_c": float(number)}))
            for number in range(BACKLOG, 0, -1)
        )
    file.close()
