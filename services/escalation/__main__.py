"""`python -m services.escalation [run | rule add|list | channel add|list]`; see `--help`."""

import argparse
import asyncio
import sys
from functools import partial

from overwatt.topics import REGISTRY
from services.escalation import cli
from services.escalation.deliver import Deliverer
from services.escalation.directory import Directory
from services.escalation.engine import Engine
from services.escalation.evaluator import Evaluator
from services.escalation.events import Events
from services.escalation.guard import Policy
from services.escalation.heartbeat import Heartbeats
from services.escalation.notifiers.webhook import webhook
from services.escalation.rule_book import RuleBook, keep_fresh
from services.escalation.settings import Settings
from services.escalation.stream import Stream
from services.runtime import bus
from services.runtime.errors import Invalid, Unavailable
from services.runtime.log import setup_logging
from services.runtime.postgres import connect_pool, is_reachable
from services.runtime.service import event_check, run, run_until_stopped
from services.runtime.settings import load_settings


async def serve(settings: Settings, policy: Policy) -> None:
    """The service. Engine and deliveries need PostgreSQL alone and start without Kafka."""
    async with (
        connect_pool(settings.database_url, name="escalation", max_size=8) as pool,
        webhook(policy, settings.worker_timeout_seconds) as notifier,
    ):
        alerts_wake, pages_wake, registry_loaded = asyncio.Event(), asyncio.Event(), asyncio.Event()
        directory, book, events = Directory(), RuleBook(), Events()
        stale_s = settings.heartbeat_stale_seconds
        evaluator = Evaluator(directory, book, Heartbeats(stale_s))
        stream = Stream(evaluator, pool, events, alerts_wake.set, stale_s)
        engine = Engine(pool, alerts_wake, pages_wake.set)
        deliverer = Deliverer(
            pool,
            notifier,
            pages_wake,
            retries=settings.retries,
            lease_s=settings.lease_s,
            concurrency=settings.worker_concurrency,
        )

        async def judge() -> None:
            # What nobody has a rule or a name for would be skipped for ever.
            await asyncio.gather(registry_loaded.wait(), book.loaded.wait())
            async with asyncio.TaskGroup() as group:
                group.create_task(stream.read_telemetry(settings.kafka_bootstrap), name="telemetry")
                group.create_task(stream.read_status(settings.kafka_bootstrap), name="status")
                group.create_task(stream.judge_silence(), name="silence")

        await run_until_stopped(
            "escalation",
            settings,
            {
                "engine": engine.run(),
                "deliveries": deliverer.run(),
                "rules": keep_fresh(book, pool, settings.database_url, stream.reconsider),
                "registry": bus.follow(
                    settings.kafka_bootstrap, REGISTRY, apply=directory.apply, loaded=registry_loaded
                ),
                "stream": judge(),
                "events": events.send(settings.kafka_bootstrap),
            },
            checks={
                "PostgreSQL": partial(is_reachable, pool),
                "registry": event_check(registry_loaded, "reading the registry from Kafka"),
            },
        )


async def write(settings: Settings, policy: Policy, wanted: argparse.Namespace) -> None:
    """One command of the command line."""
    async with connect_pool(settings.database_url, name="escalation-cli", max_size=1) as pool:
        await cli.act(pool, wanted, policy)


def main() -> None:
    """Serve, or do one command and leave."""
    wanted = cli.read(sys.argv[1:])
    settings = load_settings(Settings)
    policy = settings.policy()
    if wanted.thing == "run":
        run("escalation", settings, lambda: serve(settings, policy))
        return
    setup_logging("escalation", "warning")
    try:
        asyncio.run(write(settings, policy, wanted))
    except (Invalid, Unavailable) as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
