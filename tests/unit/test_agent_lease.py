"""Leave to write a held setpoint again."""

import asyncio
import time

from edge_agent.lease import Lease


async def test_it_ends_so_long_after_the_question_not_after_the_answer() -> None:
    lease = Lease(lambda: asyncio.sleep(0.1), good_for_s=10)
    asked_s = time.monotonic()
    renewal = asyncio.create_task(lease.renew())
    await asyncio.sleep(0.2)
    answered_s = time.monotonic()

    lease.answered()

    ends_s = await renewal
    assert ends_s is not None
    assert asked_s <= ends_s - 10 < answered_s


async def test_without_an_answer_there_is_none_and_an_older_answer_does_not_count() -> None:
    lease = Lease(lambda: asyncio.sleep(0), good_for_s=0.05)
    lease.answered()

    assert await lease.renew() is None


async def test_many_at_once_share_one_question() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1

    lease = Lease(ask, good_for_s=10)
    renewals = [asyncio.create_task(lease.renew()) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    lease.answered()

    assert len(set(await asyncio.gather(*renewals))) == 1
    assert asked == 1
