"""Messages that nobody can use, mixed with the good ones; each is told apart by a number in it."""

import json
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final

from scripts.chaos.simple import Connection

STRANGER: Final = "stranger"
"""A device that nobody registered."""
FORMS: Final[Mapping[str, Callable[[int], bytes]]] = {
    "bad-binary": lambda number: b"\xff\xfe\x00" + str(number).encode(),
    "bad-broken": lambda number: b'{"metrics": {"temp_c": %d' % number,
    "bad-deep": lambda number: b"[" * 4_000 + str(number).encode(),
    "bad-nan": lambda number: b'{"metrics": {"temp_c": NaN, "n": %d}}' % number,
    "bad-nul": lambda number: b'{"metrics": {"a\\u0000": %d}}' % number,
    "bad-huge": lambda number: b'{"metrics": {"temp_c": 1%s%d}}' % (b"0" * 400, number),
    "bad-type": lambda number: b'{"metrics": {"temp_c": "%d"}}' % number,
    "bad-many": lambda number: json.dumps({"metrics": {f"m{i}": number for i in range(65)}}).encode(),
    STRANGER: lambda number: b'{"metrics": {"temp_c": %d}}' % number,
}
DEVICES: Final = tuple(name for name in FORMS if name != STRANGER)
EVERY_S: Final = 15.0
"""The first ten a minute of a device and reason are kept with their payload: all of these are, also when
two minutes of them come at once."""
REPEATED: Final = 5


class Bad:
    """Sends one of each form every 15 s."""

    def __init__(self, port: int) -> None:
        self.injected: dict[bytes, str] = {}
        """payload and device"""
        self._connection = Connection(port, None)
        self._finish = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bad", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Send nothing more."""
        self._finish.set()
        self._thread.join()

    def repeat(self, payloads: Collection[bytes]) -> None:
        """Those that a broker may have lost when it was killed or full; a few of each device."""
        for device in FORMS:
            for payload in [each for each in payloads if self.injected[each] == device][:REPEATED]:
                self._connection.post(payload, device)

    def close(self) -> None:
        self._connection.close()

    def _run(self) -> None:
        number = 0
        while not self._finish.wait(EVERY_S if number else 0.0):
            number += 1
            for device, form in FORMS.items():
                payload = form(number)
                self.injected[payload] = device
                self._connection.post(payload, device)
