"""Replicas of the gateway: fixed MQTT sessions, and who serves them. Pure.

    session 0, the lead     statuses, replies, events; publishes commands, acknowledgements, configurations
    every session           its share of the telemetry

A session is served by one process: MQTT ends the older of two connections with one client id. Whoever serves
session i says so on `gateways/<i>` every 2 s, retained. When that has been silent for 6 s another replica
serves the session beside its own, so that what waits in it is not late; when its owner is back, the owner's
connect ends that.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from overwatt import topics

LEAD: Final = 0
BEAT_S: Final = 2.0
SILENT_S: Final = 6.0

ALONE: Final = "devices/+/+/telemetry"
SHARED: Final = f"$share/ingest/{ALONE}"
ONCE: Final = 0x21
"""QoS 1, and never what is retained."""
ALWAYS: Final = 0x01
"""QoS 1, and what is retained on every connect."""
BY_OTHERS: Final = 0x05
"""The same, but for what we publish ourselves: a status that we take away is nobody's word."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a session subscribes to; and what an earlier one of its name may have left behind."""

    wanted: tuple[tuple[str, int], ...]
    """with MQTT's options: QoS, and whether what is retained is heard on every connect"""
    unwanted: tuple[str, ...]


class Beat(NamedTuple):
    """What was heard of a session; a retained one only says that it exists, the last one that it ended."""

    session: int
    is_retained: bool = False
    is_last: bool = False


def filters(index: int, count: int) -> Filters:
    """Of session `index` when there are to be `count`; one that is too many gets nothing new."""
    if index >= count:
        return Filters((), (SHARED,))
    # A gateway alone does not share: Mosquitto remembers a shared subscription no longer than it runs.
    telemetry, other = (ALONE, SHARED) if count == 1 else (SHARED, ALONE)
    # Telemetry that somebody retained is old. Statuses are retained: each connect hears them again.
    wanted = [(telemetry, ONCE), (topics.BEATS, ALWAYS)]
    if index == LEAD:
        wanted += [
            ("devices/+/+/status", BY_OTHERS),
            ("devices/+/+/reply", ONCE),
            ("devices/+/+/event", ONCE),
        ]
    return Filters(tuple(wanted), (other,))


ALL: Final = filters(LEAD, 1)


class Presence:
    """The sessions that exist beside our own, and when each was last heard of."""

    def __init__(self, own: int) -> None:
        self._own = own
        self._heard_s: dict[int, float] = {}
        self._connected_s = 0.0

    def connected(self, now_s: float) -> None:
        """From now on we would hear."""
        self._connected_s = now_s

    def heard(self, beat: Beat, now_s: float) -> None:
        """Of any session, our own too."""
        if beat.is_last:
            self._heard_s.pop(beat.session, None)
        elif beat.session != self._own:
            known_s = self._heard_s.get(beat.session, 0.0)
            self._heard_s[beat.session] = known_s if beat.is_retained else now_s

    def let_go(self, index: int, now_s: float) -> None:
        """We served it: its owner has time to speak before it counts as silent again."""
        if index in self._heard_s:
            self._heard_s[index] = now_s

    def silent(self, now_s: float) -> list[int]:
        """Sessions that nobody serves. Replicas do not all come to the same conclusion at once."""
        patience_s = SILENT_S + self._own * BEAT_S
        return [
            index
            for index, heard_s in sorted(self._heard_s.items())
            if now_s - max(heard_s, self._connected_s) > patience_s
        ]
