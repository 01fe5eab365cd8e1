"""Webhooks: one signed POST of the stored bytes, within a total deadline.

httpcore2's pool is used directly: it follows no redirect, reads no environment (proxy, .netrc), unpacks
nothing and takes the guarded way of connecting. Only 2xx is success. What is reported of a failure is its
class, never the receiver's words or an address, so that nobody can scan a network through us.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore2

from services.escalation.guard import Blocked, Policy, check_url
from services.escalation.model import Delivery
from services.escalation.notifiers import Answer, GaveUp, Retry, Sent
from services.escalation.notifiers.connect import NameNotFound, PinnedBackend, Resolve, resolve
from services.escalation.signing import headers
from services.runtime.errors import Invalid

USER_AGENT: Final = "overwatt-webhook/1"
MAX_ANSWER_BYTES: Final = 65_536
GONE: Final = 410


class Webhook:
    """The notifier of channels of kind webhook: config {"url": …, "secrets": ["whsec_…", …]}."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool, policy: Policy, timeout_s: float) -> None:
        self._pool = pool
        self._policy = policy
        self._timeout_s = timeout_s

    async def send(self, delivery: Delivery) -> Answer:
        """POST once."""
        if delivery.config is None:
            return GaveUp("channel_disabled")
        try:
            url = check_url(str(delivery.config.get("url", "")), self._policy).geturl()
            head = _head(delivery, delivery.config)
        except Blocked:
            return Retry("blocked")
        except Invalid:
            return GaveUp("bad_channel")
        status: int | None = None
        retry_after: str | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._pool.stream(
                    "POST", url, headers=list(head.items()), content=delivery.payload
                ) as response:
                    status = response.status
                    retry_after = _header(response, b"retry-after")
                    await _drain(response)
        except (TimeoutError, httpcore2.TimeoutException):
            return answer(status, retry_after) if status else Retry("timeout")
        except Blocked:
            return Retry("blocked")
        except NameNotFound:
            return Retry("name_not_found")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
            return answer(status, retry_after) if status else Retry(_class_of(error))
        return answer(status, retry_after)


@asynccontextmanager
async def webhook(policy: Policy, timeout_s: float, resolver: Resolve = resolve) -> AsyncIterator[Webhook]:
    """A notifier with its connections; each page connects, and so is checked, anew."""
    async with httpcore2.AsyncConnectionPool(
        network_backend=PinnedBackend(policy, resolver),
        max_connections=100,
        max_keepalive_connections=0,
        retries=0,
    ) as pool:
        yield Webhook(pool, policy, timeout_s)


def answer(status: int, retry_after: str | None) -> Answer:
    """What an HTTP status means: 2xx arrived, 410 wants no more, all others are tried again."""
    if 200 <= status < 300:
        return Sent(status)
    if status == GONE:
        return GaveUp("gone", status, disable=True)
    reason = "redirect" if 300 <= status < 400 else f"http_{status}"
    return Retry(reason, parse_retry_after(retry_after, datetime.now(UTC)), status)


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After asks for, given as a number or as a date; None if it says nothing usable."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds(), 0.0)


def _head(delivery: Delivery, config: object) -> dict[str, str]:
    assert isinstance(config, dict)
    active = [str(secret) for secret in config.get("secrets", [])][:2]
    delivery_id = str(delivery.delivery_id)
    return {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "user-agent": USER_AGENT,
        "idempotency-key": delivery_id,
        "webhook-attempt": str(delivery.attempts + 1),
        **headers(delivery_id, int(time.time()), delivery.payload, active),
    }


def _header(response: httpcore2.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


async def _drain(response: httpcore2.Response) -> None:
    taken = 0
    async for part in response.aiter_stream():
        taken += len(part)
        if taken > MAX_ANSWER_BYTES:
            return


def _class_of(error: Exception) -> str:
    if isinstance(error, httpcore2.ConnectError):
        return "tls" if "SSL" in str(error) or "certificate" in str(error) else "connect"
    return "protocol" if isinstance(error, httpcore2.ProtocolError) else "network"
