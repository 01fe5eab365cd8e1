"""The MQTT connection: paho in its own thread, handing over to asyncio in bulk.

Each connection is a client of its own, so nothing of an old one is ever sent again by the library: what
has to be sent again comes from the spool. A PUBACK means nothing here (it proves no commit).
"""

import asyncio
import logging
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.errors import Invalid
from edge_agent.log import Log
from overwatt.topics import PROTOBUF, identity, topic

BACK_OFF_S: Final = 2.0
LONGEST_BACK_OFF_S: Final = 30.0
STEADY_S: Final = 30.0
"""A connection that held this long ends the growth of the back-off."""
CONNECT_TIMEOUT_S: Final = 5.0
KEEPALIVE_S: Final = 30
SUBSCRIPTIONS: Final = (("cmd", 0), ("ack", 1), ("config", 1))

log = Log(__name__)


class Listener(Protocol):
    """Who hears of the connection, on the event loop."""

    def connected(self) -> None: ...
    def disconnected(self) -> None: ...
    def received(self, channel: str, payload: bytes) -> None: ...


def back_off_s(failures: int, jitter: float) -> float:
    """Seconds before the next attempt: 2 s at first (U-D03), at most 30 s; jitter is 0 to 1."""
    base_s = min(BACK_OFF_S * 1.5 ** min(max(failures - 1, 0), 16), LONGEST_BACK_OFF_S)
    return float(base_s * (0.75 + 0.5 * jitter))


class Uplink:
    """One agent at one broker, for ever."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tenant: str,
        device: str,
        listener: Listener,
        will: Callable[[], bytes],
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """`tls` is asked at every connect, so that a fresh certificate is taken up; it raises Invalid."""
        self.is_connected = False
        self.heard_s = time.monotonic()
        """when the cloud was last known to be there"""
        self._host, self._port = host, port
        self._tenant, self._device = tenant, device
        self._listener = listener
        self._will = will
        self._tls = tls
        self._ended: asyncio.Future[str] | None = None
        self._client: mqtt.Client | None = None
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._loop = asyncio.get_running_loop()

    def publish(self, channel: str, payload: bytes, *, is_retained: bool = False) -> bool:
        """QoS 1; False when there is no connection."""
        if self._client is None or not self.is_connected:
            return False
        name = topic(self._tenant, self._device, channel)
        info = self._client.publish(name, payload, qos=1, retain=is_retained, properties=_protobuf())
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    async def run(self) -> None:
        """Connect, stay, connect again; every failure says where to and why (D-002)."""
        failures = 0
        while True:
            began_s = time.monotonic()
            reason = await self._one_connection()
            failures = 1 if time.monotonic() - began_s > STEADY_S else failures + 1
            wait_s = back_off_s(failures, random.random())
            log.warning(
                "not connected",
                target=f"{self._host}:{self._port}",
                reason=reason,
                retry_in_s=round(wait_s, 1),
            )
            await asyncio.sleep(wait_s)

    def reconnect(self, reason: str) -> None:
        """Leave, and come back as after any end of a connection."""
        if self._ended:
            _end(self._ended, reason)

    async def close(self, *, farewell: bytes) -> None:
        """Say that this agent is gone, and go."""
        client = self._client
        if client is None or not self.is_connected:
            return
        name = topic(self._tenant, self._device, "status")
        info = client.publish(name, farewell, qos=1, retain=True, properties=_protobuf())
        await asyncio.to_thread(_wait_for, info)
        client.disconnect()

    async def _one_connection(self) -> str:
        """Lives as long as a connection; answers why it ended."""
        ended: asyncio.Future[str] = self._loop.create_future()
        self._ended = ended
        client = self._new_client(ended)
        try:
            if self._tls:
                client.tls_set_context(self._tls())
            await asyncio.to_thread(client.connect, self._host, self._port, KEEPALIVE_S, clean_start=True)
        except (OSError, ValueError, Invalid) as error:
            return str(error)
        client.loop_start()
        try:
            return await ended
        finally:
            self._client = None
            if self.is_connected:
                self.is_connected = False
                self._listener.disconnected()
            if client.is_connected():
                client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    def _new_client(self, ended: asyncio.Future[str]) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=identity(self._tenant, self._device),
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.username_pw_set(identity(self._tenant, self._device))
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.suppress_exceptions = True  # they would end the thread; paho's logger tells them
        client.enable_logger(logging.getLogger("paho"))
        name = topic(self._tenant, self._device, "status")
        client.will_set(name, self._will(), qos=1, retain=True, properties=_protobuf(PacketTypes.WILLMESSAGE))

        def on_connect(_: Any, __: Any, ___: Any, code: ReasonCode, ____: Any) -> None:
            if code.is_failure:
                self._post(_end, ended, f"the broker refuses: {code}")
                return
            client.subscribe(
                [
                    (topic(self._tenant, self._device, channel), SubscribeOptions(qos=qos))
                    for channel, qos in SUBSCRIPTIONS
                ]
            )
            self._post(self._up, client)

        def on_disconnect(_: Any, __: Any, ___: Any, code: ReasonCode, ____: Any) -> None:
            self._post(_end, ended, self._why_ended(str(code)))

        def on_message(_: Any, __: Any, message: mqtt.MQTTMessage) -> None:
            is_first = not self._inbox
            self._inbox.append((message.topic.rsplit("/", 1)[-1], bytes(message.payload)))
            if is_first:
                self._post(self._take)

        def on_publish(_: Any, __: Any, ___: int, code: ReasonCode, ____: Any) -> None:
            if code.is_failure:
                log.warning("the broker did not take a message", reason=str(code))

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_message, client.on_publish = on_message, on_publish
        return client

    def _why_ended(self, code: str) -> str:
        if self._tls and not self.is_connected:  # so TLS tells a client that its certificate is not taken
            return "the broker hung up before it answered: is this box's certificate revoked or expired?"
        return f"the connection ended: {code}"

    def _post(self, call: Callable[..., None], *arguments: Any) -> None:
        """From paho's thread to the event loop, which may be gone by now."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _up(self, client: mqtt.Client) -> None:
        self._client, self.is_connected = client, True
        self.heard_s = time.monotonic()
        log.info("connected", target=f"{self._host}:{self._port}")
        self._listener.connected()

    def _take(self) -> None:
        """Everything that came in since the last turn of the loop."""
        self.heard_s = time.monotonic()
        messages: Sequence[tuple[str, bytes]] = [self._inbox.popleft() for _ in range(len(self._inbox))]
        for channel, payload in messages:
            self._listener.received(channel, payload)
        if self._inbox:  # came in between: its writer saw a full box and told nobody
            self._loop.call_soon(self._take)


def _protobuf(packet: int = PacketTypes.PUBLISH) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.ContentType = PROTOBUF
    return properties


def _end(ended: asyncio.Future[str], reason: str) -> None:
    if not ended.done():
        ended.set_result(reason)


def _wait_for(info: mqtt.MQTTMessageInfo) -> None:
    try:
        info.wait_for_publish(1.0)
    except (ValueError, RuntimeError):
        return
