"""How many failures somebody may have: a bucket that fills with each and drains with time.

Only failures count, so a thousand boxes behind one address come in at once, and one guesser does not. In
memory, per process: a restart forgets, which costs nothing against secrets of this length.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from typing import Final

MOST_KEPT: Final = 10_000
TOKEN_FAILURES: Final = 10
TOKEN_FAILURE_EVERY_S: Final = 30.0
RENEWALS: Final = 30
RENEWAL_EVERY_S: Final = 120.0


class TooMany(Exception):
    """Somebody has to wait."""

    def __init__(self, by: str, wait_s: float) -> None:
        super().__init__(f"too many of this {by}")
        self.by = by
        self.wait_s = wait_s


class Limit:
    """So many at once, then one every `every_s`."""

    def __init__(self, burst: int, every_s: float) -> None:
        self._burst = burst
        self._every_s = every_s
        self._full_until: dict[str, float] = {}
        """When the bucket of a key will be empty, in seconds of the clock that is passed in."""

    def wait_s(self, key: str, now_s: float) -> float:
        """Seconds until the next is allowed, 0 if it is now."""
        free_at = self._full_until.get(key, now_s) - (self._burst - 1) * self._every_s
        return max(0.0, free_at - now_s)

    @property
    def kept(self) -> int:
        """How many somebodies are remembered."""
        return len(self._full_until)

    def count(self, key: str, now_s: float) -> None:
        """One more."""
        if len(self._full_until) >= MOST_KEPT:
            waiting = [(name, at) for name, at in self._full_until.items() if at > now_s]
            self._full_until = dict(waiting[-MOST_KEPT // 2 :])  # the latest to have come
        self._full_until[key] = max(self._full_until.get(key, now_s), now_s) + self._every_s


class Strikes:
    """Counts wrong tries against something that exists, and says which one was too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[bytes, int] = {}

    def is_out(self, key: bytes) -> bool:
        """One more; True for the last that is allowed and all after it."""
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] >= self._most


class Gate:
    """Failures by address and by the beginning of a token; one counts against both."""

    def __init__(self, failures_per_minute: int) -> None:
        """So many by one address."""
        self._limits = {
            "address": Limit(failures_per_minute, 60 / failures_per_minute),
            "token": Limit(TOKEN_FAILURES, TOKEN_FAILURE_EVERY_S),
            "certificate": Limit(RENEWALS, RENEWAL_EVERY_S),
        }

    def renewal(self, now_s: float, certificate: str) -> None:
        """Each counts, also those that succeed: they leave rows behind. Raises TooMany."""
        limit = self._limits["certificate"]
        if wait_s := limit.wait_s(certificate, now_s):
            raise TooMany("certificate", wait_s)
        limit.count(certificate, now_s)

    @contextmanager
    def attempt(self, now_s: float, *failures: type[Exception], **keys: str) -> Iterator[None]:
        """Raises TooMany instead of letting somebody try; what is raised inside is a failure of theirs."""
        for by, key in keys.items():
            if wait_s := self._limits[by].wait_s(key, now_s):
                raise TooMany(by, wait_s)
        try:
            yield
        except failures:
            for by, key in keys.items():
                self._limits[by].count(key, now_s)
            raise


def address_key(address: str | None) -> str:
    """An IPv6 customer has 2^64 addresses and is still one."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
