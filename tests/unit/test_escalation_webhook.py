"""The POST itself, against a receiver that misbehaves in every known way."""

import asyncio
import ipaddress
from datetime import UTC, datetime
from uuid import UUID

import httpcore2
import pytest

from services.escalation import cli
from services.escalation.guard import Policy
from services.escalation.model import Delivery
from services.escalation.notifiers import Answer, GaveUp, Retry, Sent
from services.escalation.notifiers.connect import PinnedBackend, Resolve, resolve
from services.escalation.notifiers.webhook import parse_retry_after, webhook
from services.escalation.signing import new_secret
from tests.fakes.webhook_sink import DRIP, FLOOD, HANG, webhook_sink

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
SECRET = new_secret()


def policy(port: int) -> Policy:
    return Policy((LOOPBACK,), frozenset({443, 8443, port}), in_production=False)


def a_delivery(url: str, attempts: int = 0) -> Delivery:
    return Delivery(
        delivery_id=UUID(int=7),
        tenant_id="tenant-a",
        alert_id=UUID(int=8),
        channel_id=UUID(int=9),
        payload=b'{"type":"alert.opened"}',
        attempts=attempts,
        lease_token=UUID(int=10),
        config={"url": url, "secrets": [SECRET]},
    )


async def post(*answers: int | str, timeout_s: float = 5) -> tuple[Answer, int]:
    """What the notifier says of a receiver that answers so, and how many requests that took."""
    async with webhook_sink(*answers) as sink, webhook(policy(sink.port), timeout_s) as notifier:
        return await notifier.send(a_delivery(sink.url)), len(sink.received)


async def test_a_page_is_one_signed_post_of_the_stored_bytes() -> None:
    async with webhook_sink() as sink, webhook(policy(sink.port), 5) as notifier:
        assert await notifier.send(a_delivery(sink.url, attempts=2)) == Sent(204)
        [got] = sink.received

    assert got.body == b'{"type":"alert.opened"}'
    assert got.verified(SECRET) == {"type": "alert.opened"}
    assert got.headers["webhook-id"] == got.headers["idempotency-key"] == str(UUID(int=7))
    assert got.headers["webhook-attempt"] == "3"


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_only_2xx_is_success(status: int) -> None:
    assert await post(status) == (Sent(status), 1)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_any_other_status_is_tried_again(status: int) -> None:
    assert await post(status) == (Retry(f"http_{status}", None, status), 1)


async def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    moved = "HTTP/1.1 307 Moved\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"

    assert await post(moved) == (Retry("redirect", None, 307), 1)


async def test_gone_gives_up_and_disables_the_channel() -> None:
    assert await post(410) == (GaveUp("gone", 410, disable=True), 1)


async def test_retry_after_is_passed_on() -> None:
    busy = "HTTP/1.1 429 Busy\r\nretry-after: 90\r\ncontent-length: 0\r\n\r\n"

    assert await post(busy) == (Retry("http_429", 90.0, 429), 1)


def test_retry_after_may_be_a_date_and_nonsense_is_ignored() -> None:
    now = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)

    assert parse_retry_after("Sun, 29 Mar 2026 01:02:00 GMT", now) == 120
    assert parse_retry_after("Sun, 29 Mar 2026 00:00:00 GMT", now) == 0
    for nonsense in (None, "", "soon", "-5", "٣"):
        assert parse_retry_after(nonsense, now) is None


async def test_a_receiver_that_hangs_ends_the_attempt_at_the_deadline() -> None:  # P-051
    assert await post(HANG, timeout_s=0.2) == (Retry("timeout"), 1)


async def test_an_answer_that_drips_for_ever_ends_at_the_deadline_and_its_status_counts() -> None:
    assert await post(DRIP, timeout_s=0.5) == (Sent(200), 1)


async def test_an_answer_without_end_is_cut_long_before_the_deadline() -> None:
    async with asyncio.timeout(60):
        assert await post(FLOOD, timeout_s=86_400) == (Sent(200), 1)


async def test_what_is_no_http_is_tried_again() -> None:
    assert (await post("SSH-2.0-x\r\n\r\n"))[0] == Retry("protocol")


async def test_nobody_there_and_no_such_name_are_told_apart() -> None:
    async with webhook_sink() as sink:
        closed = sink.url, sink.port

    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with webhook(policy(closed[1]), 5) as notifier:
        assert await notifier.send(a_delivery(closed[0])) == Retry("connect")
    async with webhook(policy(443), 5, unknown) as notifier:
        assert await notifier.send(a_delivery("https://ok.example.org/")) == Retry("name_not_found")


async def test_a_disabled_channel_and_a_broken_secret_are_given_up() -> None:
    async with webhook(policy(443), 5) as notifier:
        assert await notifier.send(replaced(config=None)) == GaveUp("channel_disabled")
        broken = replaced(config={"url": "https://ok.example.org/", "secrets": ["whsec_?"]})
        assert await notifier.send(broken) == GaveUp("bad_channel")


def replaced(config: dict[str, object] | None) -> Delivery:
    values = a_delivery("https://ok.example.org/")
    return Delivery(
        values.delivery_id,
        values.tenant_id,
        values.alert_id,
        values.channel_id,
        values.payload,
        0,
        values.lease_token,
        config,
    )


async def test_an_environment_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment of a process is its own; there is no value to pass.
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert await post(204) == (Sent(204), 1)


def rebinding(*answers: str) -> tuple[Resolve, list[str]]:
    """A name server that changes its mind with every question, as one with a time to live of 0 can."""
    left, asked = list(answers), []

    async def ask(host: str, port: int) -> list[str]:
        asked.append(host)
        return [left.pop(0)]

    return ask, asked


async def test_a_name_that_turns_inwards_after_its_creation_is_blocked_at_connect() -> None:  # P-063
    async with webhook_sink() as sink:
        port = frozenset({sink.port})
        public_only = Policy(ports=port)
        ask, asked = rebinding("93.184.216.34", "127.0.0.1")
        url = f"https://rebind.example.org:{sink.port}/"
        await cli.check_target(url, public_only, ask)

        async with webhook(public_only, 5, ask) as notifier:
            answer = await notifier.send(a_delivery(url))

        assert answer == Retry("blocked")
        assert asked == ["rebind.example.org"] * 2
        assert sink.received == []


async def test_the_connection_goes_to_the_address_that_was_checked_under_the_name_that_was_asked() -> None:
    async with webhook_sink() as sink:
        ask, asked = rebinding("127.0.0.1", "127.0.0.2")
        backend = PinnedBackend(policy(sink.port), ask)
        async with httpcore2.AsyncConnectionPool(network_backend=backend) as pool:
            await pool.request("POST", f"http://rebind.example.org:{sink.port}/", content=b"{}")

        assert asked == ["rebind.example.org"]
        assert sink.received[0].headers["host"] == f"rebind.example.org:{sink.port}"


async def test_every_connection_is_checked_anew() -> None:
    async with webhook_sink() as sink:
        ask, asked = rebinding("127.0.0.1", "127.0.0.1", "10.0.0.1")
        async with webhook(policy(sink.port), 5, ask) as notifier:
            answers = [await notifier.send(a_delivery(sink.url)) for _ in range(3)]

        assert answers == [Sent(204), Sent(204), Retry("blocked")]
        assert len(asked) == 3


async def test_no_socket_of_this_machine_is_a_webhook() -> None:
    with pytest.raises(httpcore2.ConnectError):
        await PinnedBackend(Policy(), resolve).connect_unix_socket("/var/run/docker.sock")
