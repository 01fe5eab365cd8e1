"""The load generator against the real path: what it counts is what is stored."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from scripts.load.fleet import Fleet, Plan
from scripts.load.shapes import SHAPES
from tests.integration.ingest.conftest import Platform, a_device


@contextlib.asynccontextmanager
async def sending(fleet: Fleet) -> AsyncIterator[Fleet]:
    await fleet.connect()
    task = asyncio.create_task(fleet.run())
    try:
        yield fleet
    finally:
        task.cancel()
        await asyncio.wait([task])
        fleet.close()


async def until(fleet: Fleet, rows: int) -> None:
    async with asyncio.timeout(60):
        while fleet.counts.settled_rows < rows:
            await asyncio.sleep(0.05)


async def test_what_agents_count_as_acknowledged_is_stored_also_over_outages_and_repetitions(
    platform_path: Platform, tenant: str
) -> None:
    agents = {f"a-{n}": [f"a-{n}-0", f"a-{n}-1"] for n in range(3)}
    devices = {name: a_device(tenant, name) for names in agents.values() for name in names}
    senders = [
        a_device(tenant, name, box=name, mode="observe", assets=names) for name, names in agents.items()
    ]
    await platform_path.know(*devices.values(), *senders)
    plan = Plan(
        host="127.0.0.1", port=platform_path.stack.ports.mosquitto, shape=SHAPES["small"], tenant=tenant,
        interval_s=0.05, repeated=0.2, outage_every_s=3, outage_s=0.5,
    )  # fmt: skip

    async with sending(Fleet(plan, agents)) as fleet:
        await until(fleet, 1_000)
        assert fleet.counts.lost_connections > 0
        assert fleet.counts.repeated_rows > 0

    stored = await platform_path.fetch(
        "select count(*) from telemetry where device_key = any($1)",
        [device.device_key for device in devices.values()],
    )
    assert stored[0][0] >= 1_000
    assert fleet.counts.refused_rows == 0
    assert all(delay.delay_s >= 0 for delay in fleet.delays)


async def test_a_fleet_at_full_speed_waits_for_what_is_not_acknowledged(
    platform_path: Platform, tenant: str
) -> None:
    device, agent = a_device(tenant, "d"), a_device(tenant, "a", box="a", mode="observe", assets=["d"])
    await platform_path.know(device, agent)
    plan = Plan(
        host="127.0.0.1",
        port=platform_path.stack.ports.mosquitto,
        shape=SHAPES["small"],
        tenant=tenant,
        window=5,
        start_us=1,  # older than retention: each is refused for good, and so settled
    )
    async with sending(Fleet(plan, {"a": ["d"]})) as fleet:
        async with asyncio.timeout(60):
            while fleet.counts.refused_rows < 100:
                assert fleet.waiting_rows <= 5 * plan.shape.rows
                await asyncio.sleep(0.02)
    assert list(fleet.counts.reasons) == ["TIME_TOO_OLD"]
