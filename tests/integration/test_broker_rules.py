"""Who may publish and hear what, asked of a real broker: delivered or not, never what it answered.

On Mosquitto a forbidden SUBSCRIBE is granted and then delivers nothing, so only delivery counts. Against
another broker with the same rules: BROKER=host:port.
"""

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

GATEWAY = "svc-ingest-3"
ALICE = "tenant-a/alice"
BOB = "tenant-b/bob"
PATIENCE_S = 15.0


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> tuple[str, int]:
    if address := os.environ.get("BROKER"):
        host, _, port = address.rpartition(":")
        return host, int(port)
    found: tuple[str, int] = request.getfixturevalue("mosquitto")
    return found


class Client:
    """A connected client that keeps what it hears."""

    def __init__(self, broker: tuple[str, int], user: str) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        subscribed: queue.Queue[bool] = queue.Queue()
        self._subscribed = subscribed
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, user, protocol=paho.MQTTv5)
        if user:
            self._mqtt.username = user
        self._mqtt.on_message = lambda _, __, message: self.heard.put((message.topic, message.payload))
        self._mqtt.on_subscribe = lambda *_: subscribed.put(True)
        self._mqtt.connect(*broker)
        self._mqtt.loop_start()

    def subscribe(self, *filters: str) -> None:
        self._mqtt.subscribe([(each, paho.SubscribeOptions(qos=1)) for each in filters])
        self._subscribed.get(timeout=PATIENCE_S)

    def publish(self, topic: str, payload: bytes) -> None:
        """Returns when the broker has answered, whatever it answered."""
        self._mqtt.publish(topic, payload, qos=1).wait_for_publish(PATIENCE_S)

    def stop(self) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


@contextmanager
def client(broker: tuple[str, int], user: str) -> Iterator[Client]:
    connected = Client(broker, user)
    try:
        yield connected
    finally:
        connected.stop()


def hears(listener: Client, speaker: Client, topic: str, fence: tuple[Client, str]) -> bool:
    """Whether what is published on `topic` reaches the listener.

    Afterwards something that is allowed is published for the listener: a broker keeps the order of one
    listener, so what has not come before this fence does not come at all.
    """
    token = uuid4().hex.encode()
    speaker.publish(topic, token)
    by, allowed = fence
    by.publish(allowed, b"fence " + token)
    while True:
        heard_topic, payload = listener.heard.get(timeout=PATIENCE_S)
        if payload == token:
            assert heard_topic == topic
            listener.heard.get(timeout=PATIENCE_S)  # the fence
            return True
        if payload == b"fence " + token:
            return False


@pytest.mark.parametrize(
    ("user", "topic", "is_delivered"),
    [
        (ALICE, "devices/tenant-a/alice/telemetry", True),
        (ALICE, "devices/tenant-a/alice/status", True),
        (ALICE, "devices/tenant-a/alice/reply", True),
        (ALICE, "devices/tenant-a/alice/event", True),
        (ALICE, "devices/tenant-a/bob/telemetry", False),
        (ALICE, "devices/tenant-b/bob/telemetry", False),
        (ALICE, "devices/tenant-b/alice/status", False),
        (ALICE, "devices/tenant-b/bob/reply", False),
        (ALICE, "devices/tenant-a/alice/other", False),
        (ALICE, "devices/tenant-a/alice/telemetry/deeper", False),
        (ALICE, "tenant-a/alice/telemetry", False),
        ("", "devices/tenant-a/alice/telemetry", True),  # development only: a hand-typed mosquitto_pub
        ("", "devices/tenant-a/alice/status", False),
        ("", "devices/tenant-a/alice/reply", False),
    ],
)
def test_the_gateway_hears_a_device_on_its_own_topics_only(
    broker: tuple[str, int], user: str, topic: str, is_delivered: bool
) -> None:  # P-033, U-P07: foreign topics are not delivered
    with client(broker, GATEWAY) as gateway, client(broker, user) as device, client(broker, BOB) as other:
        gateway.subscribe(
            *(f"devices/+/+/{channel}" for channel in ("telemetry", "status", "reply", "event"))
        )
        fence = (other, "devices/tenant-b/bob/event")
        assert hears(gateway, device, topic, fence) is is_delivered


@pytest.mark.parametrize(
    ("filter_", "topic", "is_delivered"),
    [
        ("devices/tenant-a/alice/cmd", "devices/tenant-a/alice/cmd", True),
        ("devices/tenant-a/alice/ack", "devices/tenant-a/alice/ack", True),
        ("devices/tenant-a/alice/config", "devices/tenant-a/alice/config", True),
        ("devices/tenant-b/bob/cmd", "devices/tenant-b/bob/cmd", False),
        ("devices/+/+/cmd", "devices/tenant-b/bob/cmd", False),
        ("devices/+/+/ack", "devices/tenant-b/bob/ack", False),
        ("#", "devices/tenant-b/bob/config", False),
        ("devices/#", "devices/tenant-b/bob/cmd", False),
    ],
)
def test_a_device_hears_what_is_for_it_and_no_wildcard_helps(
    broker: tuple[str, int], filter_: str, topic: str, is_delivered: bool
) -> None:  # two tenants: no topic shows the other's data
    with client(broker, ALICE) as device, client(broker, GATEWAY) as gateway:
        device.subscribe(filter_, "devices/tenant-a/alice/config")
        fence = (gateway, "devices/tenant-a/alice/config")
        assert hears(device, gateway, topic, fence) is is_delivered


@pytest.mark.parametrize("filter_", ["devices/tenant-b/bob/telemetry", "devices/+/+/telemetry", "#"])
def test_a_device_never_hears_another_tenants_telemetry(broker: tuple[str, int], filter_: str) -> None:
    with client(broker, ALICE) as device, client(broker, BOB) as other, client(broker, GATEWAY) as gateway:
        device.subscribe(filter_, "devices/tenant-a/alice/config")
        fence = (gateway, "devices/tenant-a/alice/config")
        assert not hears(device, other, "devices/tenant-b/bob/telemetry", fence)


@pytest.mark.parametrize("channel", ["cmd", "ack", "config"])
def test_only_the_gateway_speaks_to_devices(broker: tuple[str, int], channel: str) -> None:
    with client(broker, ALICE) as device, client(broker, BOB) as other, client(broker, GATEWAY) as gateway:
        device.subscribe(f"devices/tenant-a/alice/{channel}", "devices/tenant-a/alice/config")
        fence = (gateway, "devices/tenant-a/alice/config")
        assert not hears(device, other, f"devices/tenant-a/alice/{channel}", fence)
        assert not hears(device, device, f"devices/tenant-a/alice/{channel}", fence)
