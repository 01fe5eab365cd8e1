"""Ingest by HTTP while parts are away: 503 and not a word of `accepted`; the same again is stored once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.integration.ingest.conftest import Platform, until_metric
from tests.integration.ingest.http_rig import Door, Meter, a_client, counts, sample


@pytest.fixture
async def door(platform_path: Platform) -> AsyncIterator[Door]:
    await asyncio.to_thread(platform_path.stack.start, "ingest-http")
    async with a_client(platform_path) as http:
        yield Door(platform_path, http)


@pytest.fixture
async def meter(door: Door, tenant: str) -> Meter:
    return await door.meter(tenant, "meter-1")


@pytest.mark.parametrize("part", ["ingest-writer", "kafka", "postgres"])
async def test_without_a_commit_it_says_503_and_the_retry_is_stored_once(
    door: Door, meter: Meter, part: str
) -> None:  # U-P06
    stack = door.path.stack
    assert counts(await door.send(meter, sample(1, ago_s=5))) == (202, 1, 0)
    body = [sample(2, ago_s=1), sample(3)]

    await asyncio.to_thread(stack.kill_part, part, signal.SIGKILL)
    away = await door.send(meter, body)
    await asyncio.to_thread(stack.start, part)
    answers = [away]
    async with asyncio.timeout(60):
        while answers[-1].status_code == 503:
            assert int(answers[-1].headers["Retry-After"]) > 0
            answers.append(await door.send(meter, body))

    assert away.status_code == 503
    assert counts(answers[-1]) == (202, 2, 0)
    assert await door.temperatures(meter) == [1, 2, 3]


async def test_who_comes_again_hears_of_what_was_handed_over_before(door: Door, meter: Meter) -> None:
    # else a batch that takes the writer longer than 10 s would never be answered (T-085)
    ports, writer = door.path.stack.ports, door.path.stack.pid("ingest-writer")
    assert writer
    untimed = {"metrics": {"temp_c": 7}}

    os.kill(writer, signal.SIGSTOP)
    try:
        away = await door.send(meter, untimed)
        os.kill(writer, signal.SIGCONT)
        await until_metric(ports.ingest_http_health, "ingest_http_waiting", 0)
        os.kill(writer, signal.SIGSTOP)
        again = await door.send(meter, untimed)
    finally:
        os.kill(writer, signal.SIGCONT)
    once_more = await door.send(meter, untimed)

    assert away.status_code == 503
    assert counts(again) == counts(once_more) == (202, 1, 0)
    assert await door.temperatures(meter) == [7, 7]


async def test_a_door_that_was_killed_loses_nothing_that_it_accepted(door: Door, meter: Meter) -> None:
    sent = [sample(n, ago_s=100 - n) for n in range(40)]

    async def send(body: Any) -> bool:
        try:
            return (await door.send(meter, body)).status_code == 202
        except httpx2.TransportError:
            return False

    sending = [asyncio.create_task(send(body)) for body in sent]
    await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(door.path.stack.kill_part, "ingest-http", signal.SIGKILL)
    accepted = [n for n, task in enumerate(sending) if await task]
    stored = await door.temperatures(meter)
    await asyncio.to_thread(door.path.stack.start, "ingest-http")
    answer = await door.batch(meter, *sent)

    assert set(accepted) <= set(stored)
    assert counts(answer) == (202, 40, 0)
    assert await door.temperatures(meter) == list(range(40))
