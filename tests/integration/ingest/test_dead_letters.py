"""`python -m services.ingest dead-letters` on a real platform: list, explain, replay, and replay again."""

import asyncio
import json
import os
import subprocess
import sys

from tests.integration.ingest.conftest import Platform, a_batch, a_device, now_us

ROWS = "select count(*) from telemetry where device_key = $1"
LETTERS = "select count(*) from rejection where tenant_id = $1"


async def command(path: Platform, *arguments: str) -> tuple[int, str]:
    """Exit code and what it said."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.ingest", "dead-letters", *arguments],
        env={**os.environ, **path.stack.service_env("ingest-writer")},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


async def listed(path: Platform, *filters: str) -> list[dict[str, object]]:
    code, said = await command(path, "list", "--json", *filters)
    assert code == 0, said
    return [json.loads(line) for line in said.splitlines()]


async def test_a_stranger_is_listed_explained_and_stored_once_when_it_is_registered(
    platform_path: Platform, tenant: str
) -> None:
    path = platform_path
    three_hours_ago = now_us() / 1e6 - 10_800
    with path.device(tenant, "sensor-001") as wire:
        wire.send({"metrics": {"temp_c": 21.5}})
        wire.send({"metrics": {"temp_c": 20.5}, "ts": three_hours_ago})
        wire.send({"metrics": {"temp_c": "warm"}})
        await path.until(LETTERS, tenant, is_true=lambda count: count == 3)

    found = await listed(path, "--tenant", tenant, "--since", "1h")
    assert [each["reason"] for each in found] == ["DEVICE_UNKNOWN"] * 3
    assert await listed(path, "--tenant", tenant, "--device", "another") == []
    code, said = await command(path, "explain", str(found[2]["id"]))
    assert code == 0
    assert "Register the device" in said
    assert '"temp_c": "warm"' in said

    ids = [str(each["id"]) for each in found]
    code, said = await command(path, "replay", *ids)
    assert code == 1
    assert said.count("still refused: DEVICE_UNKNOWN") == 3

    sensor = a_device(tenant, "sensor-001")
    await path.know(sensor)
    for _ in range(2):  # a sample without a time keeps that of its arrival, so twice is once
        code, said = await command(path, "replay", "--tenant", tenant, "--since", "1h")
        assert code == 1
        assert said.count("stored 1 of 1") == 2
        assert "metrics.temp_c is 'warm'; it must be a number" in said
        assert said.rstrip().endswith("2 of 3 stored whole")
        assert (await path.fetch(ROWS, sensor.device_key))[0][0] == 2


async def test_an_agents_block_is_stored_once_its_asset_is_assigned_and_a_conflict_stays_one(
    platform_path: Platform, tenant: str
) -> None:
    path = platform_path
    agent, meter = a_device(tenant, "site-1", type="agent"), a_device(tenant, "meter-1")
    await path.know(agent, meter)
    at = now_us()
    with path.device(tenant, "site-1") as wire, path.device(tenant, "meter-1") as simple:
        wire.send(a_batch(epoch=5, first_seq=1, times_us=[at, at + 1], power=[1.0, 2.0], asset="meter-1"))
        wire.refused("ASSET_NOT_ALLOWED")
        simple.send({"metrics": {"temp_c": 1}, "ts": at / 1e6 - 60, "seq": 1})
        await asyncio.to_thread(simple.answer, 1)
        simple.send({"metrics": {"temp_c": 2}, "ts": at / 1e6 - 60, "seq": 2})
        await asyncio.to_thread(simple.answer, 2)
    agent.assets.append("meter-1")
    await path.know(agent)

    code, said = await command(path, "replay", "--tenant", tenant, "--reason", "ASSET_NOT_ALLOWED")
    assert (code, "stored 2 of 2" in said) == (0, True), said
    code, said = await command(path, "replay", "--tenant", tenant, "--reason", "CONFLICTING_SAMPLE")
    assert code == 1
    assert "stored 0 of 1 samples; CONFLICTING_SAMPLE" in said

    assert (await path.fetch(ROWS, meter.device_key))[0][0] == 3


async def test_it_says_what_is_wrong_with_a_command(platform_path: Platform) -> None:
    path = platform_path
    for arguments, said in (
        (("replay",), "say which"),
        (("explain", "999999999"), "there is no dead letter 999999999"),
        (("list", "--since", "yesterday"), "30m, 12h, 7d"),
    ):
        code, answer = await command(path, *arguments)
        assert code == 2
        assert said in answer
    code, answer = await command(path, "--help")
    assert code == 0
    assert "examples:" in answer
