"""Devices that speak JSON: careful ones, a careless one, one that repeats a time in three forms, a flood.

    careful    sends `ts` and `seq`, and the same again until it is acknowledged: the whole promise
    careless   sends `ts` alone: QoS 1, so what a killed broker had not written down may be gone
    thrice     says each time again: equal, with a null filled in, with another value (refused)

Each runs in a thread of its own until it is told to finish; then it stays until all is answered.
"""

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from overwatt.reasons import Reason
from overwatt.topics import topic
from scripts.chaos.ledger import Sample
from scripts.local.ports import HOST

TENANT: Final = "default"
CAREFUL: Final = ("careful-1", "careful-2", "careful-3")
CARELESS: Final = "careless"
THRICE: Final = "thrice"
FLOOD: Final = "flood"
DEVICES: Final = (*CAREFUL, CARELESS, THRICE, FLOOD)
EVERY_S: Final = 0.25
"""Below the quota of a JSON device, repeats included."""
ANSWER_S: Final = 4.0


class Connection:
    """An MQTT connection that comes back; messages are QoS 1."""

    def __init__(self, port: int, device: str | None) -> None:
        """No device: an anonymous client, which loopback lets send for anybody."""
        self._device = device
        self._answers: dict[int, str] = {}
        self._changed = threading.Condition()
        client_id = f"{TENANT}/{device}" if device else "chaos-anonymous"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        if device:
            self._client.username = client_id
            self._client.on_connect = lambda client, *_: client.subscribe(topic(TENANT, device, "ack"), 1)
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 2)
        self._client.connect_async(HOST, port, keepalive=5)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def post(self, payload: bytes, device: str | None = None) -> None:
        """Without waiting for anything; paho repeats it after a reconnect."""
        self._client.publish(topic(TENANT, device or self._device or "", "telemetry"), payload, 1)

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    def answer(self, seq: int, within_s: float) -> str | None:
        """`committed`, or a final reason; None: nothing came."""
        with self._changed:
            self._changed.wait_for(lambda: seq in self._answers, within_s)
            return self._answers.pop(seq, None)

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        said = json.loads(message.payload)
        with self._changed:
            for first, last in said["committed"]:
                self._answers.update(dict.fromkeys(range(first, last + 1), "committed"))
            for each in said["refused"]:
                if each["final"]:
                    for first, last in each["ranges"]:
                        self._answers.update(dict.fromkeys(range(first, last + 1), each["reason"]))
            self._changed.notify_all()


class Simple:
    """What the three kinds share: a thread, a ledger, an orderly end."""

    def __init__(self, port: int, device: str) -> None:
        self.device = device
        self.samples: list[Sample] = []
        self.faults: list[str] = []
        """answers that were wrong"""
        self.sent = 0
        self._connection = Connection(port, device)
        self._seq = 0
        self._finish = threading.Event()
        work: Callable[[], None] = {CARELESS: self._careless, THRICE: self._thrice}.get(device, self._careful)
        self._thread = threading.Thread(target=self._run, args=(work,), name=device, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Begin nothing new."""
        self._finish.set()

    @property
    def is_settled(self) -> bool:
        """Everything was answered."""
        return not self._thread.is_alive()

    def close(self) -> None:
        self._connection.close()

    def _run(self, work: Callable[[], None]) -> None:
        while not self._finish.wait(EVERY_S):
            work()

    def _careful(self) -> None:
        ts_us, power = time.time_ns() // 1_000, float(self._seq)
        self._note(ts_us, active_power_w=power)
        self._expect("committed", ts_us, active_power_w=power)

    def _careless(self) -> None:
        if self._connection.is_connected:  # else paho would keep it, and it would be a spool
            ts_us = time.time_ns() // 1_000
            self._note(ts_us, temp_c=float(self.sent))
            self._connection.post(_payload(ts_us, None, {"temp_c": float(self.sent)}))
            self.sent += 1

    def _thrice(self) -> None:
        ts_us, power = time.time_ns() // 1_000, float(self._seq)
        self._note(ts_us, active_power_w=power, temp_c=power)
        self._expect("committed", ts_us, active_power_w=power)
        self._expect("committed", ts_us, active_power_w=power)
        self._expect("committed", ts_us, active_power_w=power, temp_c=power)
        self._expect(Reason.CONFLICTING_SAMPLE, ts_us, active_power_w=power + 0.5)
        self.sent += 1

    def _note(self, ts_us: int, **values: float) -> None:
        self.samples.append((self.device, ts_us, 0, frozenset(values.items())))

    def _expect(self, wanted: str, ts_us: int, **values: float) -> None:
        """Send it until it is answered, or the thread's owner has lost patience."""
        self._seq += 1
        payload = _payload(ts_us, self._seq, values)
        while True:
            self._connection.post(payload)
            if answer := self._connection.answer(self._seq, ANSWER_S):
                if answer != wanted:
                    self.faults.append(
                        f"{self.device}: {payload.decode()} was answered {answer}, not {wanted}"
                    )
                return


def flood(port: int, messages: int) -> None:
    """As many messages as fast as possible, each good; who loses them is the broker."""
    connection = Connection(port, FLOOD)
    try:
        for number in range(messages):
            connection.post(_payload(time.time_ns() // 1_000, None, {"temp_c": float(number)}))
        time.sleep(1)
    finally:
        connection.close()


def _payload(ts_us: int, seq: int | None, metrics: dict[str, float]) -> bytes:
    sample: dict[str, Any] = {"ts": ts_us / 1e6, "metrics": metrics}
    return json.dumps(sample | ({"seq": seq} if seq else {})).encode()
