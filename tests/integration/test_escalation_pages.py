"""From a sample on Kafka, or from silence, to a page at a receiver: real processes, Kafka and PostgreSQL."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from overwatt.topics import AGENT_STATUS, ALERT_EVENTS, REGISTRY, TELEMETRY, partition_of
from overwatt.v1 import agent_pb2
from scripts.local import services as local_services
from scripts.local.ports import Ports
from scripts.local.stack import Stack
from services.runtime import bus
from services.runtime.clock import to_us
from tests.conftest import _home as new_home
from tests.fakes.webhook_sink import HANG, webhook_sink
from tests.integration.escalation_site import Site, open_alerts


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A Kafka for these tests alone, since one of them takes it away."""
    for home in new_home():
        with Stack(home, Ports.free(), service_environment={"ASSETS_PATH": ""}) as running:
            running.start("kafka")
            local_services.create_topics(running.env()["KAFKA_BOOTSTRAP"])
            yield running


@pytest.fixture
def bootstrap(own: Stack) -> str:
    own.start("kafka")
    return own.env()["KAFKA_BOOTSTRAP"]


@pytest.fixture
async def site(role_url: Callable[[str], str], bootstrap: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with webhook_sink() as sink:
        yield Site(role_url("escalation"), bootstrap, sink, tmp_path)


async def test_a_breach_opens_one_alert_and_sends_one_signed_page_and_its_end_another(site: Site) -> None:
    # U-P01, P-027
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10", "--clear", "15", "--severity", "3")
    async with site.process():
        await site.sample(50)
        await site.sample(9)
        [page] = await site.pages(1)
        for value in (8, 7, 9, 12):
            await site.sample(value)
        await site.sample(16)
        closing = (await site.pages(2))[1]
        await site.until("select from deliveries having count(*) filter (where status = 'delivered') = 2")

    body = page.verified(site.secret)
    assert body["type"] == "alert.opened"
    assert body["data"]["device"] == site.device
    assert body["data"]["summary"] == f"{site.device}: soc_pct 9 % < 10 %"
    assert closing.verified(site.secret)["type"] == "alert.closed"
    assert closing.verified(site.secret)["data"]["alert_id"] == body["data"]["alert_id"]
    assert len(site.sink.received) == 2
    [alert] = await site.rows("select status, severity, next_escalation_at, box_id from alerts")
    assert tuple(alert) == ("CLOSED", 3, None, "box-1")
    [day] = await site.rows("select box_id, closed_at is not null from alerts_24h")
    assert tuple(day) == ("box-1", True)
    attempts = await site.rows("select n, status from delivery_attempts")
    assert [tuple(row) for row in attempts] == [(1, 204), (1, 204)]
    assert '"event": "escalation.tick"' in site.logs()  # P-026
    assert site.secret not in site.logs()  # P-064


async def test_what_is_read_again_after_a_crash_opens_nothing_and_a_new_breach_does(site: Site) -> None:
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10")
    async with site.process() as process:
        await site.sample(9)
        await site.sample(20)
        await site.until("select from alerts where status = 'CLOSED'")
        process.kill()
        await process.wait()
    async with site.process():
        await site.sample(9)
        await site.until("select from alerts where status = 'OPEN'")
        await site.until("select from alerts having count(*) = 2")
        await site.pages(1)

    assert len(await site.rows("select from alerts")) == 2


async def test_an_alert_that_was_open_before_a_restart_closes_after_it(site: Site) -> None:
    await site.register()
    await site.add_rule("--threshold", "10")
    async with site.process() as process:
        await site.sample(9)
        await site.until("select from alerts")
        process.kill()
        await process.wait()
    async with site.process():
        await site.sample(20)
        await site.until("select from alerts where status = 'CLOSED'")


async def test_a_rule_with_a_duration_goes_by_the_samples_own_time(site: Site) -> None:
    await site.register()
    await site.add_rule("--threshold", "10", "--for", "60")
    start_s = time.time() - 120
    async with site.process():
        await site.sample(9, at_s=start_s)
        await site.sample(9, at_s=start_s + 59)
        await site.sample(9, at_s=start_s + 30)  # late: it must neither count nor disturb
        await site.sample(9, at_s=start_s + 61)
        [alert] = await site.until("select details from alerts")

    assert json.loads(alert["details"])["at"].endswith("Z")
    assert len(await site.rows("select from alerts")) == 1


async def test_a_failing_receiver_gets_the_page_again_under_the_same_id(site: Site) -> None:
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10")
    site.sink.answers = [500, 429, 204]
    async with site.process():
        await site.sample(9)
        pages = await site.pages(3)
        await site.until("select from deliveries where status = 'delivered' and attempts = 3")

    assert len({page.headers["webhook-id"] for page in pages}) == 1
    assert [page.headers["webhook-attempt"] for page in pages] == ["1", "2", "3"]
    assert all(page.verified(site.secret) for page in pages)
    attempts = await site.rows("select n, status, error_class from delivery_attempts order by n")
    assert [tuple(row) for row in attempts] == [(1, 500, "http_500"), (2, 429, "http_429"), (3, 204, None)]


async def test_a_receiver_that_never_takes_it_gets_five_attempts_and_the_page_is_failed(site: Site) -> None:
    # P-049
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10")
    site.sink.answers = [500] * 9
    async with site.process(WORKER_BACKOFF_BASE_SECONDS="0.1"):
        await site.sample(9)
        await site.until("select from deliveries where status = 'failed' and attempts = 5")

    assert len(site.sink.received) == 5
    assert len(await site.rows("select from delivery_attempts")) == 5


async def test_a_receiver_that_is_gone_disables_its_channel(site: Site) -> None:
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10")
    site.sink.answers = [410]
    async with site.process():
        await site.sample(9)
        await site.until("select from deliveries where status = 'failed' and attempts = 1")
        await site.until("select from notification_channels where not enabled")


async def test_killed_between_claim_and_answer_the_page_is_sent_again_under_the_same_id(site: Site) -> None:
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10")
    site.sink.answers = [HANG]
    async with site.process(WORKER_TIMEOUT_SECONDS="5") as process:
        await site.sample(9)
        await site.pages(1)
        assert await site.rows("select from deliveries where status = 'leased'")
        process.kill()
        await process.wait()
    async with site.process(WORKER_TIMEOUT_SECONDS="5"):
        first, second = await site.pages(2)
        await site.until("select from deliveries where status = 'delivered'")

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert len(site.sink.received) == 2


async def test_two_replicas_send_each_page_once(site: Site) -> None:
    await site.add_channel()
    async with site.process(), site.process():
        await site.until(
            "select from pg_stat_activity where usename = 'escalation' having count(distinct client_port) > 2"
        )
        await open_alerts(site, 60)
        await site.pages(60)
        await site.until("select from deliveries having count(*) filter (where status = 'delivered') = 60")

    assert len({page.headers["webhook-id"] for page in site.sink.received}) == 60
    assert len(site.sink.received) == 60


async def test_a_page_goes_out_while_kafka_is_down(site: Site, own: Stack) -> None:
    await site.add_channel()
    await asyncio.to_thread(own.stop_part, "kafka")
    async with site.process():
        await open_alerts(site, 1)
        [page] = await site.pages(1)

    assert page.verified(site.secret)["type"] == "alert.opened"


async def test_it_outlives_kafka_and_its_database_connections(site: Site, own: Stack) -> None:
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10")
    async with site.process():
        await site.sample(50)
        await site.sample(9)
        await site.pages(1)
        await asyncio.to_thread(own.kill_part, "kafka")
        await open_alerts(site, 1)
        await site.pages(2)
        await asyncio.to_thread(own.start, "kafka")
        await site.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'escalation' "
            "and datname = current_database() and pid <> pg_backend_pid()"
        )
        await site.sample(20)
        closing = (await site.pages(3))[2]

    assert closing.verified(site.secret)["type"] == "alert.closed"


async def test_with_two_replicas_a_device_that_is_heard_by_either_is_not_silent(site: Site) -> None:
    await site.register()
    await site.command(*f"rule add --tenant {site.tenant} --kind no_heartbeat --severity 4".split())
    async with site.process(), site.process():
        listened_s = 0.0
        while listened_s < 8:
            # Its words go to all replicas, its samples to one; it never pauses as long as allowed (2 s).
            await site.status(agent_pb2.Status.ALIVE)
            listened_s += 0.5
            await asyncio.sleep(0.5)
        assert await site.rows("select from alerts") == []
        await site.until("select from alerts")

    assert len(await site.rows("select from alerts")) == 1


async def test_an_alert_that_closes_takes_its_unsent_page_with_it(site: Site) -> None:
    await site.register()
    await site.add_channel()
    await site.add_rule("--threshold", "10")
    site.sink.answers = [500]
    async with site.process(WORKER_BACKOFF_BASE_SECONDS="3600"):
        await site.sample(9)
        await site.until("select from deliveries where status = 'pending' and attempts = 1")
        await site.sample(20)
        _, closing = await site.pages(2)
        await site.until("select from deliveries where status = 'superseded'")

    assert closing.verified(site.secret)["type"] == "alert.closed"


async def test_a_channel_that_comes_after_the_alert_still_hears_of_it(site: Site) -> None:
    async with site.process():
        await open_alerts(site, 1)
        await site.until("select from alerts where next_escalation_at is null and escalation_level = 0")
        await site.add_channel()
        [page] = await site.pages(1)

    assert page.verified(site.secret)["type"] == "alert.opened"


async def test_silence_opens_an_alert_and_the_next_message_closes_it(site: Site) -> None:  # U-P01
    await site.register()
    await site.add_channel()
    await site.command(*f"rule add --tenant {site.tenant} --kind no_heartbeat --severity 4".split())
    async with site.process():
        await site.status(agent_pb2.Status.BIRTH)
        opened, *_ = await site.pages(1)
        await site.sample(50)
        closed = (await site.pages(2))[1]

    assert opened.verified(site.secret)["data"]["summary"] == f"{site.device}: no heartbeat for 2 s"
    assert closed.verified(site.secret)["type"] == "alert.closed"


async def test_an_agent_that_says_goodbye_is_not_alive_and_not_yet_silent(site: Site) -> None:
    await site.register()
    await site.command(*f"rule add --tenant {site.tenant} --kind no_heartbeat --severity 4".split())
    async with site.process():
        heard_at_us = await site.status(agent_pb2.Status.ALIVE, ago_s=1)
        await site.status(agent_pb2.Status.GONE)
        [alert] = await site.until("select last_seen_at from alerts")

    # Two seconds after its own last word: neither at the broker's word nor two seconds after that.
    assert to_us(alert["last_seen_at"]) == heard_at_us + 2_000_000


async def test_a_rule_that_is_added_later_applies_to_who_is_silent_already(site: Site) -> None:
    await site.register()
    async with site.process():
        await site.status(agent_pb2.Status.ALIVE)
        await site.sample(50)
        await site.command(*f"rule add --tenant {site.tenant} --kind no_heartbeat --severity 4".split())
        await site.until("select from alerts")


async def test_what_happened_to_an_alert_is_told_on_kafka(site: Site) -> None:
    await site.register()
    await site.add_rule("--threshold", "10")
    async with site.process():
        await site.sample(9)
        await site.until("select from alerts")
        async with bus.consumer(site.bootstrap, [ALERT_EVENTS], group=None) as source:
            while True:
                event = json.loads((await asyncio.wait_for(source.getone(), 30)).value)
                if event["data"]["device"] == site.device:
                    break

    assert event["type"] == "alert.opened"


async def test_unreadable_records_disturb_nothing(site: Site) -> None:
    await site.register()
    await site.add_rule("--threshold", "10")
    async with site.process():
        await site.produce(TELEMETRY, b"\xff\xff nonsense", partition_of(site.tenant, site.device, 4))
        await site.produce(AGENT_STATUS, b"\xff\xff nonsense")
        await site.produce(REGISTRY, b"\xff\xff nonsense")
        await site.register()
        await site.sample(9)
        await site.until("select from alerts")


async def test_lists_show_no_secret(site: Site) -> None:  # P-064
    await site.add_channel()
    await site.add_rule("--threshold", "10")

    channels = await site.command("channel", "list")

    assert site.secret.startswith("whsec_")
    assert site.secret not in channels
    assert "***" in channels
    assert "soc_pct < 10 %" in await site.command("rule", "list", "--tenant", site.tenant)
