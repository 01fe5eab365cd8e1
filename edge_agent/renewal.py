"""Keeps the certificate of a running agent fresh: at two thirds of its life, then hourly until it works."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from edge_agent.errors import Invalid, Unavailable
from edge_agent.identity import BoxIdentity, load
from edge_agent.log import Log

LOOK_EVERY_S: Final = 3600.0
RETRY_S: Final = 3600.0
SPREAD: Final = 0.05
"""Of the life: so many boxes enrolled on one day do not come back at one hour."""

log = Log(__name__)


def due_at(box: BoxIdentity, jitter: float) -> datetime:
    """When to renew; jitter is 0 to 1. Well before the end, and well after a renewal that just worked."""
    return box.issued_at + (box.not_after - box.issued_at) * (2 / 3 + SPREAD * jitter)


def retry_s(jitter: float) -> float:
    """Until the next try, after one that failed."""
    return RETRY_S * (0.75 + 0.5 * jitter)


async def keep_renewed(box: BoxIdentity, *, on_renewed: Callable[[], None]) -> None:
    """Forever; `on_renewed` also hears of a certificate that somebody else put there."""
    jitter = random.random()
    while True:
        wait_s = (due_at(box, jitter) - datetime.now(UTC)).total_seconds()
        if wait_s > 0:  # in short steps: the clock may be set meanwhile, and a person may renew by hand
            await asyncio.sleep(min(wait_s, LOOK_EVERY_S))
            found = await asyncio.to_thread(_load, box)
        else:
            found = await asyncio.to_thread(_renew, box)
            if found is box:
                await asyncio.sleep(retry_s(random.random()))
        if found.serial != box.serial:
            log.info("certificate renewed", serial=found.serial, not_after=found.not_after)
            on_renewed()
        box = found


def _load(box: BoxIdentity) -> BoxIdentity:
    try:
        return load(box.directory)
    except Invalid as error:
        log.error("identity not readable", error=str(error))
        return box


def _renew(box: BoxIdentity) -> BoxIdentity:
    """The same one when it did not work."""
    from edge_agent.enrolment import renew  # an hour in two months: a small box need not hold the library

    try:
        return renew(box.directory, say=lambda step, what: log.info("renewal", step=step, result=what))
    except (Invalid, Unavailable) as error:
        log.error("certificate not renewed", not_after=box.not_after, error=str(error))
        return box
