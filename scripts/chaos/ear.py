"""Hears what agents send, so that it can be sent again: shuffled, doubled, long after it was committed."""

import random
import threading
from collections import deque
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from overwatt.topics import PROTOBUF
from scripts.local.ports import HOST

KEPT: Final = 1_000
LISTENER: Final = "svc-ingest-3"
"""A user name that the broker's rules let read; no gateway of a chaos run has it."""


class Ear:
    """The last batches of all agents, as they were sent."""

    def __init__(self, port: int) -> None:
        self._heard: deque[tuple[str, bytes]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "chaos-ear", protocol=paho.MQTTv5)
        self._client.username = LISTENER
        self._client.on_connect = lambda client, *_: client.subscribe("devices/+/+/telemetry", 0)
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 2)
        self._client.connect_async(HOST, port, keepalive=5)
        self._client.loop_start()
        self._mouth = paho.Client(CallbackAPIVersion.VERSION2, "chaos-mouth", protocol=paho.MQTTv5)
        self._mouth.reconnect_delay_set(1, 2)
        self._mouth.connect_async(HOST, port, keepalive=5)
        self._mouth.loop_start()

    def repeat(self, chance: random.Random) -> int:
        """Everything heard, in another order, some of it twice; answers how many messages."""
        with self._lock:
            messages = list(self._heard)
        messages += chance.sample(messages, len(messages) // 4)
        chance.shuffle(messages)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = PROTOBUF
        for topic, payload in messages:
            self._mouth.publish(topic, payload, 1, properties=properties)
        return len(messages)

    def close(self) -> None:
        for client in (self._client, self._mouth):
            client.disconnect()
            client.loop_stop()

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        content_type = getattr(message.properties, "ContentType", "")
        if content_type == PROTOBUF and message.topic.split("/")[2].startswith("site-"):
            with self._lock:
                self._heard.append((message.topic, bytes(message.payload)))
