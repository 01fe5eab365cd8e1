"""`python -m services.runtime.topics`: create the Kafka topics that are missing.

The list is data: names and what each must keep. Nothing is ever deleted or shrunk here.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError
from pydantic import Field

from overwatt import topics
from services.runtime.errors import Unavailable
from services.runtime.retry import until_available
from services.runtime.settings import RuntimeSettings, load_settings

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its own configuration."""

    name: str
    partitions: int = 1
    config: dict[str, str] = field(default_factory=dict)


class TopicSettings(RuntimeSettings):
    """How wide and how many copies."""

    telemetry_partitions: int = Field(default=4, ge=1)
    kafka_replication: int = Field(default=1, ge=1)


def wanted(telemetry_partitions: int) -> tuple[Topic, ...]:
    """Every topic of the platform."""
    compacted = {"cleanup.policy": "compact", "segment.ms": str(DAY_MS)}
    week = {"retention.ms": str(7 * DAY_MS)}
    return (
        Topic(topics.TELEMETRY, telemetry_partitions, week),
        Topic(topics.LATE, telemetry_partitions, week),
        Topic(topics.OUTCOMES, 1, {"retention.ms": str(DAY_MS)}),
        Topic(topics.DEAD_LETTERS, 1, week),
        Topic(topics.AGENT_STATUS, 1, week),
        Topic(topics.AGENT_REPLY, 1, week),
        Topic(topics.AGENT_EVENT, 1, week),
        Topic(topics.COMMANDS, 1, {"retention.ms": str(DAY_MS)}),
        Topic(topics.REGISTRY, 1, compacted),
        Topic(topics.ALERT_EVENTS, 1, week),
        Topic(topics.AUDIT_HEAD, 1, compacted),
    )


async def create_topics(bootstrap: str, *, telemetry_partitions: int = 4, replication: int = 1) -> list[str]:
    """Create what is missing and return its names. Raises Unavailable."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="overwatt-topics")
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted(telemetry_partitions) if topic.name not in existing]
        if missing:
            await admin.create_topics(
                [NewTopic(t.name, t.partitions, replication, topic_configs=t.config) for t in missing]
            )
    except TopicAlreadyExistsError:
        return []
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {bootstrap}: {error!r}") from error
    finally:
        await admin.close()
    return [topic.name for topic in missing]


async def _main(settings: TopicSettings) -> None:
    created = await until_available(
        "create topics",
        lambda: create_topics(
            settings.kafka_bootstrap,
            telemetry_partitions=settings.telemetry_partitions,
            replication=settings.kafka_replication,
        ),
    )
    for name in created:
        print(f"Created topic {name}")
    if not created:
        print("All topics exist")


if __name__ == "__main__":
    asyncio.run(_main(load_settings(TopicSettings)))
