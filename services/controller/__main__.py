"""`python -m services.controller`."""

import asyncio
from typing import Final

from google.protobuf.message import DecodeError

from overwatt import topics
from overwatt.v1.telemetry_pb2 import Record as TelemetryRecord
from services.controller import metrics
from services.controller.desk import Desk
from services.controller.door import make_door
from services.controller.measured import Latest
from services.controller.outbox import Outbox
from services.controller.outcomes import Outcomes
from services.controller.presence import Presence
from services.controller.rounds import rounds
from services.controller.settings import Settings
from services.controller.store import commands as store
from services.runtime import clock
from services.runtime.bus import consume, consumer, producer
from services.runtime.http import bind, serve
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, connect_pool, is_reachable, transaction
from services.runtime.retry import until_available
from services.runtime.service import event_check, run, run_until_stopped
from services.runtime.settings import load_settings

log = get_logger("services.controller")

NAME: Final = "controller"
TICK_S: Final = 30.0


async def main(settings: Settings) -> None:
    """Wire the parts and run them."""
    kafka = settings.kafka_bootstrap
    listener = bind(settings.controller_host, settings.controller_port, variable="CONTROLLER_PORT")
    async with connect_pool(settings.database_url, name=NAME) as pool, producer(kafka, name=NAME) as out:
        to_send, to_expire, never = asyncio.Event(), asyncio.Event(), asyncio.Event()

        def on_accepted() -> None:
            to_send.set()
            to_expire.set()

        hears_status, hears_replies = asyncio.Event(), asyncio.Event()
        latest = Latest()
        presence = Presence(pool, watching_since=clock.now(), on_connect=to_send.set)
        outcomes = Outcomes(pool, saw=presence.saw, on_answer=to_send.set)
        outbox = Outbox(pool, out)
        desk = Desk(pool, latest, on_accepted=on_accepted)
        await run_until_stopped(
            NAME,
            settings,
            {
                "door": serve(make_door(desk), listener),
                "status": consume(
                    kafka,
                    [topics.AGENT_STATUS],
                    group=settings.controller_group,
                    handle=presence.take,
                    ready=hears_status,
                ),
                "replies": consume(
                    kafka,
                    [topics.AGENT_REPLY],
                    group=settings.controller_group,
                    handle=outcomes.take,
                    ready=hears_replies,
                ),
                "telemetry": listen(kafka, latest, presence),
                "seen": presence.write_seen(),
                "silent": rounds("close silent sessions", presence.close_silent, never),
                "publish": rounds("publish commands", outbox.publish, to_send),
                "expire": rounds("expire commands", outcomes.expire, to_expire),
                "tick": tick(pool),
            },
            checks={
                "postgresql": lambda: is_reachable(pool),
                "agent.status": event_check(hears_status, "joining the group"),
                "agent.reply": event_check(hears_replies, "joining the group"),
            },
        )


async def listen(kafka: str, latest: Latest, presence: Presence) -> None:
    """Telemetry from now on, all partitions in every replica: it is the newest values that count."""
    async with consumer(kafka, [topics.TELEMETRY], group=None, from_latest=True) as source:
        while True:
            for batch in (await source.getmany(timeout_ms=1_000, max_records=2_000)).values():
                for message in batch:
                    try:
                        record = TelemetryRecord.FromString(message.value or b"")
                    except DecodeError:
                        metrics.UNUSABLE.labels(topics.TELEMETRY).inc()
                        continue
                    latest.take(record)
                    if record.device:  # empty where rows are of many simple devices
                        presence.saw(record.tenant, record.device, record.received_at_us)


async def tick(pool: Pool) -> None:
    """One line and one timestamp every 30 s, as long as the database answers (H-063)."""

    async def once() -> dict[str, int]:
        async with transaction(pool) as db:
            return await store.counts(db)

    while True:
        counts = await until_available("tick", once)
        metrics.LAST_TICK.set(clock.now().timestamp())
        metrics.OPEN_SESSIONS.set(counts["open_sessions"])
        metrics.UNANSWERED.set(counts["unanswered_commands"])
        metrics.UNFINISHED.set(counts["unfinished_dispatches"])
        log.info("tick", **counts)
        await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    settings = load_settings(Settings)
    run(NAME, settings, lambda: main(settings))
