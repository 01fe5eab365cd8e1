"""What Kafka's client raises is told in our words, so that it is tried again."""

import pytest
from aiokafka.errors import KafkaError

from services.runtime import bus
from services.runtime.errors import Unavailable


class Gone:
    """aiokafka's consumer and its client, whose Kafka died after they had connected."""

    def __init__(self) -> None:
        self._client = self

    async def force_metadata_update(self) -> bool:
        return False

    def partitions_for_topic(self, topic: str) -> None:
        return None

    async def fetch_all_metadata(self) -> None:
        raise KafkaError("Unable to get cluster metadata over all known brokers")


async def test_kafka_that_dies_while_a_topic_is_looked_for_is_waited_for() -> None:
    """Found by make chaos: the gateway ended, with the registry half loaded."""
    with pytest.raises(Unavailable, match="Unable to get cluster metadata"):
        await bus._partitions(Gone(), "registry")
