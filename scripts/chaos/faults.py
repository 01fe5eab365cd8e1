"""How each fault is done, and undone again."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from scripts.chaos import disks, simple
from scripts.chaos.agents import Agent
from scripts.chaos.links import Trouble
from scripts.chaos.plan import AGENT, Fault
from scripts.chaos.world import QUEUE, World
from scripts.local import process

FLOOD_MESSAGES: Final = 5 * QUEUE
SLOW: Final = """
create or replace function chaos_slow() returns trigger language plpgsql as $$
begin perform pg_sleep(1); return null; end $$;
create or replace trigger chaos_slow before update on ingest_offset for each statement
execute function chaos_slow();
"""
FAST: Final = "drop trigger if exists chaos_slow on ingest_offset"


async def inflict(world: World, fault: Fault, chance: random.Random) -> None:
    """From its beginning until the parts run again; recovery goes on behind it."""
    match fault.group:
        case "kill" | "outage":
            await _kill(world, fault, chance)
        case "pause":
            async with world.stopped(lambda: world.pids(fault.target)):
                await asyncio.sleep(fault.lasts_s)
        case "link":
            with world.links[fault.target].spoiled(Trouble(fault.detail)):
                await asyncio.sleep(fault.lasts_s)
        case "disk":
            async with disks.full(world.disks[fault.target]):
                await asyncio.sleep(fault.lasts_s)
            await _after_full_disk(world, fault.target)
        case "slow":
            async with _slow(world):
                await asyncio.sleep(fault.lasts_s)
        case "clock":
            await _skew(chance.choice(world.agents), fault)
        case "repeat":
            await asyncio.to_thread(world.ear.repeat, chance)
        case "spool":
            await _spool(chance.choice(world.agents), fault)
        case "flood":
            async with world.stopped(lambda: world.pids("ingest-gateway")):
                await asyncio.to_thread(simple.flood, world.device_port, FLOOD_MESSAGES)
                await asyncio.sleep(fault.lasts_s)
        case _:
            raise ValueError(f"no such group of faults: {fault.group}")


async def _kill(world: World, fault: Fault, chance: random.Random) -> None:
    if fault.target == AGENT:
        agent = chance.choice(world.agents)
        await agent.end(signal.SIGKILL)
        await asyncio.sleep(fault.lasts_s)
        agent.start()
        return
    await world.kill(fault.target)
    await asyncio.sleep(fault.lasts_s)
    await world.revive(fault.target)


async def _after_full_disk(world: World, disk: str) -> None:
    """PostgreSQL and Kafka may have given up, as they say they do; an agent must not."""
    if disk != "spools":
        await world.kill(disk)
        await world.revive(disk)


@asynccontextmanager
async def _slow(world: World) -> AsyncIterator[None]:
    await world.execute(SLOW)
    try:
        yield
    finally:
        await world.execute(FAST)


async def _skew(agent: Agent, fault: Fault) -> None:
    await agent.end(signal.SIGTERM)
    agent.start(skew=fault.detail)
    await asyncio.sleep(fault.lasts_s)
    await agent.end(signal.SIGKILL)
    agent.start()


async def _spool(agent: Agent, fault: Fault) -> None:
    await agent.end(signal.SIGKILL)
    if fault.detail == "wiped":
        await agent.wipe()
        agent.start()
        return
    twin = agent.start(spool=agent.copy())
    agent.start()
    await asyncio.sleep(fault.lasts_s)
    await asyncio.to_thread(process.end, twin, signal.SIGKILL)
