"""Clients of a real broker: with a certificate, with a token, by name alone; and what they hear."""

import base64
import hashlib
import os
import queue
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from scripts.local import certificates
from scripts.local import mosquitto as local_mosquitto
from scripts.local.ports import HOST
from scripts.local.stack import Stack
from services.provisioning.brokers.mosquitto import Mosquitto
from services.provisioning.enrolment import authority_files
from tests.fakes.certificates import Issuer, context

GATEWAY = "svc-ingest-3"
ALICE = "tenant-a/alice"
BOB = "tenant-b/bob"
REVOKED = "tenant-a/revoked"
PATIENCE_S = 15.0
WAYS = ("name", "certificate", "token")


@dataclass(frozen=True)
class Access:
    """How somebody connects."""

    address: tuple[str, int]
    user: str
    tls: ssl.SSLContext | None = None
    password: str | None = None
    client_id: str | None = None
    """What the client asks for; its user name if that is not said."""


class Refused(Exception):
    """The broker did not let the client in."""


class Client:
    """A connected client that keeps what it hears."""

    def __init__(self, access: Access) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        subscribed: queue.Queue[bool] = queue.Queue()
        answered: queue.Queue[paho.ReasonCode] = queue.Queue()
        self._subscribed = subscribed
        client_id = access.client_id if access.client_id is not None else access.user
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        if access.user:
            self._mqtt.username = access.user
        if access.password is not None:
            self._mqtt.password = access.password
        if access.tls:
            self._mqtt.tls_set_context(access.tls)
        self._mqtt.on_message = lambda _, __, message: self.heard.put((message.topic, message.payload))
        self._mqtt.on_subscribe = lambda *_: subscribed.put(True)
        self._mqtt.on_connect = lambda _, __, ___, reason, ____: answered.put(reason)
        # With TLS 1.3 a refused certificate shows only after the client's side of the handshake.
        self._mqtt.on_disconnect = lambda _, __, ___, reason, ____: answered.put(reason)
        try:
            self._mqtt.connect(*access.address)
        except OSError as error:
            raise Refused(str(error)) from error
        self._mqtt.loop_start()
        reason = answered.get(timeout=PATIENCE_S)
        if reason != "Success":
            self.stop()
            raise Refused(str(reason))

    @property
    def is_connected(self) -> bool:
        return bool(self._mqtt.is_connected())

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
def client(access: Access) -> Iterator[Client]:
    connected = Client(access)
    try:
        yield connected
    finally:
        connected.stop()


class Doors:
    """The broker's ports, and credentials for each."""

    def __init__(self, *, authority: Path, root: Path, addresses: dict[str, tuple[str, int]]) -> None:
        self.issuer = Issuer.ours(authority, os.environ.get("CRL_URL"))
        self.revoked = self.issuer.sign(REVOKED)
        self.tokens = {ALICE: "alice's", BOB: "bob's"}
        self.addresses = addresses
        self.root = root

    def with_certificate(
        self, name: str, *, user: str | None = None, client_id: str | None = None, **times: timedelta
    ) -> Access:
        """Of this common name."""
        tls = context(self.root, self.issuer.sign(name, **times))
        return Access(self.address("certificate"), user or name, tls, client_id=client_id)

    def with_token(self, name: str, token: str, *, client_id: str | None = None) -> Access:
        """A user name and its token."""
        return Access(self.address("token"), name, self.tls(), token, client_id)

    def tls(self) -> ssl.SSLContext:
        """Of somebody who has no certificate."""
        return context(self.root, None)

    def by(self, way: str, name: str) -> Access:
        """A device in one of the three ways; a gateway has no token."""
        if way == "name":
            return Access(self.address("name"), name)
        if way == "token" and name in self.tokens:
            return self.with_token(name, self.tokens[name])
        return self.with_certificate(name)

    def address(self, way: str) -> tuple[str, int]:
        if way not in self.addresses:
            pytest.skip(f"no address of the broker for a client with a {way}")
        return self.addresses[way]


def mosquitto_hash(token: str) -> str:
    """As mosquitto_passwd writes it."""
    salt = b"salt of test"
    digest = hashlib.pbkdf2_hmac("sha512", token.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def doors_of(stack: Stack) -> Doors:
    """The local platform's Mosquitto."""
    authority = certificates.authority(stack.home)
    numbers = zip(WAYS, (stack.ports.mosquitto, stack.ports.mqtt_tls, stack.ports.mqtt_token), strict=True)
    return Doors(
        authority=authority,
        root=authority / "root.pem",
        addresses={way: (HOST, port) for way, port in numbers},
    )


def keeper_of(stack: Stack) -> Mosquitto:
    """The hand that provisioning keeps it with."""
    return Mosquitto(
        local_mosquitto.directory(stack.home),
        authority_files.load(certificates.authority(stack.home)),
        host=HOST,
        port=stack.ports.mqtt_tls,
        development=True,
    )


def is_refused(access: Access) -> bool:
    try:
        with client(access):
            return False
    except Refused:
        return True


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
