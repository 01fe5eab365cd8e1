"""How much a device and its tenant may send: token buckets. Pure: the time, in seconds, is an argument.

What is counted is the caller's choice: messages of simple devices (a list in one message is one), samples
of agents. A bucket is one number, the time at which it will be full again; full ones are not kept, so
memory is bounded by how many speak within burst / rate seconds.
"""

from typing import Final, TypeAlias

BACKLOG_S: Final = 900.0
"""What a device may have sent while it waited for us: so many seconds of its rate, beside the burst."""
FEWEST_SWEPT: Final = 1_024
ROUNDING_S: Final = 1e-6

_Name: TypeAlias = str | tuple[str, str]


class Quotas:
    """Buckets of devices, and of the tenants that they belong to. A rate of 0 is no limit."""

    def __init__(
        self, *, device_rate: float, device_burst: float, tenant_rate: float, tenant_burst: float
    ) -> None:
        """Rates a second; a burst is what may come at once after silence."""
        self._devices = _Buckets(device_rate, device_burst)
        self._tenants = _Buckets(tenant_rate, tenant_burst)
        self._backlog_until_s = float("-inf")

    def admit(self, tenant: str, device: str, samples: int, now_s: float) -> float:
        """0.0: taken; else the seconds after which it would fit, and nothing is taken.

        What is larger than the burst needs a full bucket and empties it.
        """
        backlog_s = BACKLOG_S if now_s < self._backlog_until_s else 0.0
        # A device beyond its own rate takes nothing from its tenant, so it is only its own that it misses.
        wait_s = self._devices.wait_s((tenant, device), samples, now_s, backlog_s)
        wait_s = max(wait_s, self._tenants.wait_s(tenant, samples, now_s, backlog_s))
        if wait_s == 0.0:
            self._devices.take((tenant, device), samples, now_s, backlog_s)
            self._tenants.take(tenant, samples, now_s, backlog_s)
        return wait_s

    def expect_backlog(self, until_s: float) -> None:
        """Until then messages may have waited for us: BACKLOG_S of its rate more may come of each device."""
        self._backlog_until_s = until_s


class _Buckets:
    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._span_s = burst / rate if rate else 0.0
        self._full_at_s: dict[_Name, float] = {}
        self._sweep_at = FEWEST_SWEPT

    def wait_s(self, name: _Name, cost: int, now_s: float, backlog_s: float) -> float:
        if not self._rate:
            return 0.0
        missing_s = self._missing_s(name, now_s, backlog_s) + self._cost_s(cost)
        wait_s = missing_s - self._span_s - backlog_s
        return wait_s if wait_s > ROUNDING_S else 0.0

    def take(self, name: _Name, cost: int, now_s: float, backlog_s: float) -> None:
        if not self._rate:
            return
        self._full_at_s[name] = now_s + self._missing_s(name, now_s, backlog_s) + self._cost_s(cost)
        if len(self._full_at_s) >= self._sweep_at:
            self._full_at_s = {each: at_s for each, at_s in self._full_at_s.items() if at_s > now_s}
            self._sweep_at = max(FEWEST_SWEPT, 2 * len(self._full_at_s))

    def _missing_s(self, name: _Name, now_s: float, backlog_s: float) -> float:
        """Seconds to full."""
        missing_s = self._full_at_s.get(name, now_s) - now_s
        most_s = self._span_s + backlog_s
        if missing_s > most_s:
            # After a backlog, or a clock set back: an empty bucket is the worst.
            self._full_at_s[name] = now_s + most_s
            return most_s
        return max(missing_s, 0.0)

    def _cost_s(self, cost: int) -> float:
        return min(cost, self._burst) / self._rate
