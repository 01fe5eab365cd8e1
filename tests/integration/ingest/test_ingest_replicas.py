"""Two gateways and two writers on one platform: they share, and one may die. Nothing is lost or doubled."""

import asyncio
import json
import signal
from collections.abc import Iterator

import pytest

from overwatt.topics import COMMANDS
from overwatt.v1.agent_pb2 import Command
from tests.integration.ingest.conftest import (
    Platform,
    Spool,
    a_device,
    a_platform,
    metric,
    now_us,
    until_metric,
)
from tests.integration.ingest.test_ingest_faults import another, assert_exactly_once
from tests.integration.ingest.test_ingest_path import a_box, a_command

GATEWAYS, WRITERS = ("ingest-gateway", "ingest-gateway-1"), ("ingest-writer", "ingest-writer-1")
BATCHES, ROWS_EACH, AGENTS = 40, 25, 6
TEMPS = "select count(*) n, count(distinct temp_c) different from telemetry where device_key = $1"


@pytest.fixture(scope="module")
def components() -> Iterator[Platform]:
    with a_platform(GATEWAY_COUNT="2") as platform:
        yield platform


@pytest.fixture
def replicas(components: Platform) -> Platform:
    """Two of each run, whatever an earlier test has killed."""
    components.stack.start("kafka", "postgres", "mosquitto")
    components.stack.start(*WRITERS, *GATEWAYS)
    return components


async def spools_of(path: Platform, tenant: str) -> list[int]:
    """Agents enough for every partition; answers their keys."""
    agents = [a_device(tenant, f"site-{number}", type="agent") for number in range(AGENTS)]
    await path.know(*agents)
    return [agent.device_key for agent in agents]


async def send_all(path: Platform, tenant: str, kill: tuple[str, ...] = ()) -> None:
    """Every agent's samples, until all are acknowledged; in their middle these parts are killed."""
    wires = [path.device(tenant, f"site-{number}") for number in range(AGENTS)]
    for wire in wires:
        wire.__enter__()
    try:
        spools = [Spool(wire, epoch=5, batches=BATCHES, rows=ROWS_EACH) for wire in wires]
        await asyncio.gather(*(spool.send(BATCHES // 4) for spool in spools))
        await asyncio.to_thread(wires[0].committed, 5, 1, ROWS_EACH)
        sending = asyncio.gather(*(spool.send() for spool in spools))
        for part in kill:
            await asyncio.to_thread(path.stack.kill_part, part, signal.SIGKILL)
        await sending
        await asyncio.gather(*(spool.until_empty() for spool in spools))
    finally:
        for wire in wires:
            wire.__exit__()


async def test_two_of_each_share_the_work(replicas: Platform, tenant: str) -> None:
    ports, path = replicas.stack.ports, replicas
    keys = await spools_of(path, tenant)

    await send_all(path, tenant)

    for key in keys:
        await assert_exactly_once(path, key, BATCHES * ROWS_EACH)
    for port in (ports.gateway_health, ports.gateway_1_health):
        assert await metric(port, "ingest_messages_total") > AGENTS * BATCHES / 4
    for port in (ports.writer_health, ports.writer_1_health):
        assert await metric(port, "ingest_rows_written_total") > 0


@pytest.mark.parametrize("part", ["ingest-gateway", "ingest-gateway-1", "ingest-writer"])
async def test_one_is_killed_and_the_other_does_its_work(replicas: Platform, tenant: str, part: str) -> None:
    path = replicas
    keys = await spools_of(path, tenant)

    await send_all(path, tenant, kill=(part,))

    assert path.stack.pid(part) is None
    for key in keys:
        await assert_exactly_once(path, key, BATCHES * ROWS_EACH)


async def test_what_waits_for_a_dead_gateway_is_taken_by_the_other_until_its_owner_is_back(
    replicas: Platform, tenant: str
) -> None:
    path, sensor = replicas, a_device(tenant, "sensor-001")
    await path.know(sensor)
    alive = path.stack.ports.gateway_health
    refused = await metric(alive, "ingest_rejections_total")
    await asyncio.to_thread(path.stack.kill_part, "ingest-gateway-1", signal.SIGKILL)

    # Half of these wait in the session of the dead one. A simple device sends each of them once.
    with path.device(tenant, "sensor-001") as wire:
        for number in range(20):
            wire.send({"metrics": {"temp_c": number}, "ts": now_us() / 1e6 - number})
    await path.until(TEMPS, sensor.device_key, is_true=lambda count: count == 20)
    assert await metric(alive, "ingest_adopted_sessions") == 1

    await asyncio.to_thread(path.stack.start, "ingest-gateway-1")
    await until_metric(alive, "ingest_adopted_sessions", 0)
    await until_metric(path.stack.ports.gateway_1_health, "ingest_mqtt_connected", 1)
    with path.device(tenant, "sensor-001") as wire:
        for number in range(20, 40):
            wire.send({"metrics": {"temp_c": number}, "ts": now_us() / 1e6 - number})
    await path.until(TEMPS, sensor.device_key, is_true=lambda count: count == 40)
    assert (await path.fetch(TEMPS, sensor.device_key))[0]["different"] == 40
    assert await metric(alive, "ingest_rejections_total") == refused  # beats are no messages


async def test_commands_acks_and_configurations_are_published_once_also_by_the_one_that_took_over(
    replicas: Platform, tenant: str
) -> None:
    path = replicas
    await a_box(path, tenant, "active")
    sensor = a_device(tenant, "sensor-001", box="box-1", mode="observe")
    await path.know(sensor)

    with path.device(tenant, "site-1") as site, path.device(tenant, "sensor-001") as wire:
        for seq, lead in ((1, "ingest-gateway"), (2, "ingest-gateway-1")):
            command = a_command(tenant)
            await path.produce(COMMANDS, f"{tenant}/site-1", command.SerializeToString())
            wire.send({"metrics": {"temp_c": seq}, "seq": seq})
            await asyncio.to_thread(wire.answer, seq)
            await asyncio.to_thread(site.message, "cmd", lambda body, id=command.id: id.encode() in body)
            assert path.stack.pid(lead)
            if seq == 1:
                await asyncio.to_thread(path.stack.kill_part, "ingest-gateway", signal.SIGKILL)
                await until_metric(path.stack.ports.gateway_1_health, "ingest_adopted_sessions", 1)
        # Once more round both ways, so that a second copy of anything would have arrived before.
        wire.send({"metrics": {"temp_c": 3}, "seq": 3})
        await asyncio.to_thread(wire.answer, 3)
        commands = [Command.FromString(body).id for channel, body in site.got if channel == "cmd"]
        answered = [json.loads(body)["committed"] for channel, body in wire.got if channel == "ack"]

    assert len(commands) == len(set(commands)) == 2
    assert answered == [[[1, 1]], [[2, 2]], [[3, 3]]]


async def test_one_gateway_after_two_empties_the_other_session_and_ends_it(
    replicas: Platform, tenant: str
) -> None:
    path, sensor = replicas, a_device(tenant, "sensor-001")
    await path.know(sensor)
    for gateway in GATEWAYS:
        await asyncio.to_thread(path.stack.stop_part, gateway)

    with path.device(tenant, "sensor-001") as wire:
        for number in range(10):  # half of them wait in a session that will have no gateway
            wire.send({"metrics": {"temp_c": number}, "ts": now_us() / 1e6 - number})
        async with another(path, "gateway", "ingest-gateway", GATEWAY_COUNT="1") as (_, health):
            await path.until(TEMPS, sensor.device_key, is_true=lambda count: count == 10)
            await until_metric(health, "ingest_adopted_sessions", 0)
            for number in range(10, 20):
                wire.send({"metrics": {"temp_c": number}, "ts": now_us() / 1e6 - number})
            await path.until(TEMPS, sensor.device_key, is_true=lambda count: count == 20)
