"""`python -m services.ingest gateway`, `... writer` and `... http`: three processes of one service."""

import argparse
import asyncio
import sys
from functools import partial
from typing import Final
from uuid import uuid4

from prometheus_client import REGISTRY as PROMETHEUS

from overwatt import topics
from services.ingest import upkeep_command
from services.ingest.buffer import Due
from services.ingest.dead_letters import DeadLetterStore
from services.ingest.events import EventStore
from services.ingest.flush import Flush
from services.ingest.heap import keep_heap
from services.ingest.housekeeping import Housekeeping
from services.ingest.letters import cli as letters_command
from services.ingest.sessions import Sessions
from services.ingest.settings import Settings, refuse_plain_mqtt
from services.ingest.sorting import PutOff, hour_by_hour
from services.ingest.spool_watch import SpoolWatch
from services.ingest.writer import Writer
from services.runtime.bus import consume, follow, producer
from services.runtime.log import get_logger
from services.runtime.postgres import connect_pool, is_reachable
from services.runtime.service import event_check, run, run_until_stopped
from services.runtime.settings import load_settings

log = get_logger(__name__)

TICK_S: Final = 30.0
LATE: Final = Due(batch_size=20_000, interval_s=10.0, quiet_s=1.0)
"""Late rows gather, so that an hour is few transactions; an agent gives up after 30 s without an answer."""
HELP: Final = """\
gateway   MQTT to Kafka: decodes, refuses with a reason, acknowledges only what Kafka has; publishes
          commands (while the box's mode is held), acknowledgements and configurations
writer    Kafka to PostgreSQL: rows and offsets in one transaction, rejections, rollups, retention
http      HTTPS to Kafka, for those who cannot speak MQTT; answers when the writer has committed
housekeeping   once, by hand or by cron, what the writer does for the tables; `housekeeping --help` tells
dead-letters   what could not be used: list, explain, replay; `dead-letters --help` tells

Environment: DATABASE_URL, KAFKA_BOOTSTRAP, HEALTH_PORT, LOG_LEVEL
  gateway: MQTT_HOST, MQTT_PORT, MQTT_CA, MQTT_CERT, MQTT_KEY (mutual TLS), GATEWAY_INDEX (0) of
           GATEWAY_COUNT (1) replicas (their certificates lie beside MQTT_CERT),
           INGEST_WORKER_COUNT (4), INGEST_QUEUE_SIZE (10000: also the MQTT receive maximum)
           quotas, 0 is none: INGEST_DEVICE_RATE (10 messages/s of a simple device),
           INGEST_DEVICE_BURST (50), INGEST_AGENT_RATE (2000 samples/s of an agent), INGEST_AGENT_BURST
           (20000), INGEST_TENANT_RATE (200000 of either sort), INGEST_TENANT_BURST (400000)
  writer:  TIMESCALE_BATCH_SIZE (1000), TIMESCALE_FLUSH_INTERVAL_MS (1000),
           TELEMETRY_RETENTION_DAYS (90), ROLLUP_INTERVAL_S (30)
  http:    INGEST_HTTP_HOST (127.0.0.1), INGEST_HTTP_PORT (8444), INGEST_HTTP_CERT, INGEST_HTTP_KEY (TLS),
           INGEST_QUEUE_SIZE (10000), and the quotas of simple devices and tenants
"""


async def gateway(settings: Settings) -> None:
    """Wire the gateway and run it."""
    refuse_plain_mqtt(settings)
    async with connect_pool(settings.database_url, name="ingest-gateway") as pool:
        sessions = Sessions(settings, pool)
        await run_until_stopped(
            "ingest-gateway",
            settings,
            {
                "registry": follow(
                    settings.kafka_bootstrap,
                    topics.REGISTRY,
                    apply=sessions.registry.apply,
                    loaded=sessions.registry_loaded,
                ),
                "sessions": sessions.run(),
                "tick": tick(
                    "ingest_messages_total",
                    "ingest_rejections_total",
                    "ingest_queue_depth",
                    "ingest_pauses_total",
                    "ingest_mqtt_connected",
                ),
            },
            checks={
                "registry": event_check(sessions.registry_loaded, "loading the registry"),
                "mqtt": sessions.check_mqtt,
                "postgresql": lambda: is_reachable(pool),
            },
        )


async def writer(settings: Settings) -> None:
    """Wire the writer and run it."""
    keep_heap()
    kafka, owner = settings.kafka_bootstrap, uuid4()
    async with (
        connect_pool(settings.database_url, name="ingest-writer") as pool,
        producer(kafka, name="ingest-writer") as out,
    ):
        keep_days = settings.telemetry_retention_days
        flush = Flush(pool=pool, owner=owner, retention_days=keep_days)
        late_flush = Flush(pool=pool, owner=owner, retention_days=keep_days, topic=topics.LATE)
        housekeeping = Housekeeping(
            pool=pool,
            telemetry=(flush.telemetry, late_flush.telemetry),
            retention_days=keep_days,
            rollup_interval_s=settings.rollup_interval_s,
        )
        a_writer = partial(
            Writer, kafka=kafka, pool=pool, producer=out, owner=owner, on_commit=housekeeping.wrote
        )
        writer = a_writer(
            topic=topics.TELEMETRY,
            group="writer",
            flush=flush,
            due=Due(settings.timescale_batch_size, settings.timescale_flush_interval_ms / 1_000),
            sort_out=PutOff(out, flush.oldest_us).sort_out,
        )
        late = a_writer(
            topic=topics.LATE,
            group="late",
            flush=late_flush,
            due=LATE,
            sort_out=hour_by_hour,
            yields_to=writer,
        )
        dead_letters, spools, events = DeadLetterStore(pool), SpoolWatch(pool), EventStore(pool)
        await run_until_stopped(
            "ingest-writer",
            settings,
            {
                "writer": writer.run(),
                "late": late.run(),
                "rejections": consume(
                    kafka, [topics.DEAD_LETTERS], group="rejections", handle=dead_letters.take
                ),
                "spools": consume(kafka, [topics.AGENT_STATUS], group="spools", handle=spools.take),
                "events": consume(kafka, [topics.AGENT_EVENT], group="events", handle=events.take),
                "days": housekeeping.keep_days(),
                "rollups": housekeeping.refresh_rollups(),
                "late-rollups": housekeeping.refresh_late(),
                "tick": tick(
                    "ingest_rows_written_total",
                    "ingest_rows_late_total",
                    "ingest_rows_repeated_total",
                    "ingest_rejections_total",
                    "ingest_lag_records",
                    "ingest_paused",
                    "ingest_fenced_total",
                ),
            },
            checks={
                "partitions": event_check(writer.assigned, "joining the group"),
                "postgresql": lambda: is_reachable(pool),
            },
        )


async def http(settings: Settings) -> None:
    """The door by HTTP; the other processes need nothing of what it imports."""
    from services.ingest.http.wiring import http as run_http

    await run_http(settings)


async def tick(*names: str) -> None:
    """One line every 30 s with the sums of these metrics."""
    while True:
        await asyncio.sleep(TICK_S)
        totals = dict.fromkeys(names, 0.0)
        for metric in PROMETHEUS.collect():
            for sample in metric.samples:
                if sample.name in totals:
                    totals[sample.name] += sample.value
        log.info("tick", **{name.removeprefix("ingest_"): round(value) for name, value in totals.items()})


if __name__ == "__main__":
    commands = {"housekeeping": upkeep_command.main, "dead-letters": letters_command.main}
    if sys.argv[1:2] and sys.argv[1] in commands:
        sys.exit(commands[sys.argv[1]](sys.argv[2:]))
    parser = argparse.ArgumentParser(
        prog="python -m services.ingest",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    processes = {"gateway": gateway, "writer": writer, "http": http}
    parser.add_argument("process", choices=processes, help="which of them to run")
    process = parser.parse_args().process
    settings = load_settings(Settings)
    run(f"ingest-{process}", settings, lambda: processes[process](settings))
