"""When a page that did not arrive is tried again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """Delays double from `base_s` up to `cap_s`; after `max_attempts` it is over."""

    max_attempts: int = 5
    base_s: float = 30.0
    cap_s: float = 7_200.0

    def next_delay_s(self, attempts: int, asked_s: float | None = None) -> float | None:
        """Seconds until the next attempt after `attempts` have failed, or None if there is none.

        `asked_s` is the receiver's own Retry-After: it can only lengthen the delay.
        """
        if attempts >= self.max_attempts:
            return None
        own_s = self.base_s * 2.0 ** min(attempts - 1, 32)
        return min(max(own_s, asked_s or 0.0), self.cap_s)
