"""The telemetry promise under fault: each part is killed under the demo's load, and nothing is missing.

kill -9 of the writer, the gateway, an agent, Mosquitto, Kafka and PostgreSQL, one after the other, while
two agents read seven devices. Afterwards every sample that the agents ever spooled is in the database
exactly once and with its values. The checker is first shown to notice what it is there to notice.
"""

import asyncio
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import asyncpg

from scripts.chaos import ledger
from scripts.demo import hardware
from scripts.local import process
from scripts.local.ports import Ports, free_ports
from scripts.local.stack import Stack

KILLED: Final = ("ingest-writer", "ingest-gateway", "mosquitto", "kafka", "postgres")
OUTAGE_S: Final = 2.0
RECOVERY_S: Final = 120.0
ROWS_BETWEEN_FAULTS: Final = 40


def test_the_checker_notices_a_lost_a_doubled_a_changed_and_a_foreign_row() -> None:
    a = ("bess", 1, 0, frozenset({("active_power_w", 1.0)}))
    b = ("bess", 2, 0, frozenset({("active_power_w", 2.0)}))
    other = ("bess", 2, 0, frozenset({("active_power_w", 3.0)}))

    assert ledger.compare([a, b], [a, b]).is_clean
    assert ledger.compare([a, b], [a]).lost == [("bess", 2)]
    assert ledger.compare([a, b], [a, b, b]).doubled == [("bess", 2)]
    assert ledger.compare([a, b], [a, other]).changed == [("bess", 2)]
    assert ledger.compare([a], [a, b]).foreign == [("bess", 2)]


async def test_killing_each_part_loses_and_doubles_nothing(home: Path) -> None:
    assets = home / "assets.yaml"
    sites = hardware.write_assets(assets, free_ports(hardware.asset_count()))
    spools = {site: home / f"{site}.sqlite" for site in sites}
    for spool in spools.values():
        ledger.arm(spool)

    with ExitStack() as on_exit:
        stack = on_exit.enter_context(
            Stack(home, Ports.free(), service_environment={"ASSETS_PATH": str(assets)})
        )
        await asyncio.to_thread(stack.up)
        url = stack.env()["DATABASE_URL"]
        with hardware.fleet(stack, assets):
            agents = {site: _start_agent(stack, site, assets, spools[site]) for site in sites}
            for agent in agents.values():
                on_exit.callback(process.end, agent, signal.SIGKILL)
            await _grown(url, ROWS_BETWEEN_FAULTS)

            for part in KILLED:
                await asyncio.to_thread(stack.kill_part, part)
                await asyncio.sleep(OUTAGE_S)  # the fault itself, not a wait for something
                await asyncio.to_thread(stack.start_part, part)
                await _grown(url, ROWS_BETWEEN_FAULTS)

            for site, agent in agents.items():
                await asyncio.to_thread(process.end, agent, signal.SIGKILL)
                agents[site] = _start_agent(stack, site, assets, spools[site])
                on_exit.callback(process.end, agents[site], signal.SIGKILL)
            await _grown(url, ROWS_BETWEEN_FAULTS)

        # The hardware is silent now: the agents have nothing new to spool and drain what they hold.
        for agent in agents.values():
            await asyncio.to_thread(process.end, agent, signal.SIGKILL)
        spooled = [sample for spool in spools.values() for sample in ledger.read(spool)]
        agents = {site: _start_agent(stack, site, assets, spools[site]) for site in sites}
        for agent in agents.values():
            on_exit.callback(process.end, agent, signal.SIGKILL)
        await _complete(url, spooled)

        findings = ledger.compare(spooled, await _stored(url))
        assert findings.is_clean, findings
        assert len(spooled) > ROWS_BETWEEN_FAULTS * len(KILLED)

        # The same checker on the same data notices one row that is taken away by hand.
        removed = await _remove_one(url)
        assert ledger.compare(spooled, await _stored(url)).lost == [removed]


def _start_agent(stack: Stack, site: str, assets: Path, spool: Path) -> process.Process:
    return hardware.start(
        stack, f"agent-{site}", ["edge_agent"], hardware.agent_environment(site, assets, spool)
    )


async def _rows(url: str) -> int:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return int(await connection.fetchval("select count(*) from telemetry"))
    finally:
        await connection.close()


async def _grown(url: str, by: int) -> None:
    """Return once `by` rows have come since now; the platform has recovered."""
    before = await _rows(url)
    async with asyncio.timeout(RECOVERY_S):
        while await _rows(url) < before + by:
            await asyncio.sleep(0.2)


async def _complete(url: str, spooled: list[ledger.Sample]) -> None:
    """Return once all that was spooled is there, or when it has had its time; the checker judges."""
    deadline = asyncio.get_running_loop().time() + RECOVERY_S
    while asyncio.get_running_loop().time() < deadline:
        if not ledger.compare(spooled, await _stored(url)).lost:
            return
        await asyncio.sleep(0.5)


async def _stored(url: str) -> list[ledger.Sample]:
    connection = await asyncpg.connect(url)
    try:
        return await ledger.stored(connection)
    finally:
        await connection.close()


async def _remove_one(url: str) -> tuple[str, int]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            """delete from telemetry t using device d where d.device_key = t.device_key
               and (t.device_key, t.ts) = (select device_key, ts from telemetry order by ts limit 1)
               returning d.device_id, (extract(epoch from t.ts) * 1000000)::bigint"""
        )
    finally:
        await connection.close()
    assert row
    return row[0], row[1]
