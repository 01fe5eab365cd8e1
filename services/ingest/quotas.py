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
NEVER_EMPTY_S: Final = float("-inf")

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
        devices, tenants, name = self._devices, self._tenants, (tenant, device)
        # A device beyond its own rate takes nothing from its tenant, so it is only its own that it misses.
        device_full_s = devices.full_s(name, samples, now_s, backlog_s)
        tenant_full_s = tenants.full_s(tenant, samples, now_s, backlog_s)
        wait_s = max(device_full_s - devices.span_s, tenant_full_s - tenants.span_s) - now_s - backlog_s
        if wait_s > ROUNDING_S:
            return wait_s
        devices.keep(name, device_full_s, now_s)
        tenants.keep(tenant, tenant_full_s, now_s)
        return 0.0

    def expect_backlog(self, until_s: float) -> None:
        """Until then messages may have waited for us: BACKLOG_S of its rate more may come of each device."""
        self._backlog_until_s = until_s


class _Buckets:
    """Asked for each message, so a call is spared where it can be."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self.span_s = burst / rate if rate else 0.0
        self._full_at_s: dict[_Name, float] = {}
        self._sweep_at = FEWEST_SWEPT

    def full_s(self, name: _Name, cost: int, now_s: float, backlog_s: float) -> float:
        """When the bucket would be full again after this."""
        if not self._rate:
            return NEVER_EMPTY_S
        full_s = self._full_at_s.get(name, now_s)
        empty_s = now_s + self.span_s + backlog_s
        if full_s > empty_s:
            # After a backlog, or a clock set back: an empty bucket is the worst.
            self._full_at_s[name] = full_s = empty_s
        elif full_s < now_s:
            full_s = now_s
        return full_s + (cost if cost < self._burst else self._burst) / self._rate

    def keep(self, name: _Name, full_s: float, now_s: float) -> None:
        """It was taken."""
        if not self._rate:
            return
        self._full_at_s[name] = full_s
        if len(self._full_at_s) >= self._sweep_at:
            self._full_at_s = {each: at_s for each, at_s in self._full_at_s.items() if at_s > now_s}
            self._sweep_at = max(FEWEST_SWEPT, 2 * len(self._full_at_s))
