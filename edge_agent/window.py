"""What may be on its way without an answer. Pure: the time, in seconds, is an argument.

    open      live batches go out at once, and up to four of backlog beside them
    probing   nobody answered for WINDOW_S, 30 s: everything sent counts as unsent, and only the oldest batch
              goes out, alone, again and again: 5 s, 10 s, 20 s ... 5 min, each with jitter
    one answer opens the window again

A batch that alone stays unanswered for so long, while later ones are answered, is just sent again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BACKLOG_BATCHES: Final = 4
FIRST_PROBE_S: Final = 5.0
LAST_PROBE_S: Final = 300.0


def probe_delay_s(failures: int, jitter: float) -> float:
    """Seconds until the next probe after so many without an answer; jitter is 0 to 1."""
    base_s = min(FIRST_PROBE_S * 2.0 ** min(failures, 16), LAST_PROBE_S)
    return float(base_s * (0.75 + 0.5 * jitter))


@dataclass(frozen=True, slots=True)
class _Flight:
    sent_s: float
    is_live: bool


class Window:
    """Batches by a number of the caller's choice."""

    def __init__(self, *, span_s: float, jitter: Callable[[], float]) -> None:
        self._span_s = span_s
        self._jitter = jitter
        self._flights: dict[int, _Flight] = {}
        self._heard_s = float("-inf")
        self._failures = 0
        self._probe_at_s = 0.0
        self.is_probing = False

    def may_send_live(self) -> bool:
        return not self.is_probing

    def may_send_backlog(self, now_s: float) -> bool:
        if self.is_probing:
            return not self._flights and now_s >= self._probe_at_s
        return sum(not flight.is_live for flight in self._flights.values()) < BACKLOG_BATCHES

    def sent(self, batch: int, now_s: float, *, is_live: bool) -> None:
        self._flights[batch] = _Flight(now_s, is_live)

    def answered(self, batch: int) -> None:
        """Every row of a batch was answered."""
        self._flights.pop(batch, None)

    def heard(self, now_s: float) -> None:
        """An answer came, for whatever: somebody commits."""
        self._heard_s = now_s
        self._failures = 0
        self.is_probing = False

    def overdue(self, now_s: float) -> list[int]:
        """Batches to be counted as unsent now; an outage gives up all of them and begins to probe."""
        late = [n for n, flight in self._flights.items() if now_s - flight.sent_s >= self._wait_s()]
        if not late:
            return []
        if self._heard_s < min(self._flights[n].sent_s for n in late):
            self.is_probing = True
            self._probe_at_s = now_s + probe_delay_s(self._failures, self._jitter())
            self._failures += 1
            late = list(self._flights)
        for batch in late:
            del self._flights[batch]
        return late

    def disconnected(self) -> list[int]:
        """Everything on its way counts as unsent; a new connection may try at once."""
        lost = list(self._flights)
        self._flights.clear()
        self._probe_at_s = 0.0
        return lost

    def next_look_s(self, now_s: float) -> float:
        """Seconds until `overdue` or `may_send_backlog` can say something new."""
        waits = [flight.sent_s + self._wait_s() - now_s for flight in self._flights.values()]
        if self.is_probing and not self._flights:
            waits.append(self._probe_at_s - now_s)
        return max(min(waits, default=self._span_s), 0.0)

    def _wait_s(self) -> float:
        """How long an answer may take: a probe's is awaited no longer than the first pause."""
        return FIRST_PROBE_S if self.is_probing else self._span_s
