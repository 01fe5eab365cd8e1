"""Which time a sample gets, and when the box's clock may be believed.

Trusted is a clock that NTP keeps (the kernel says so), or that is within 2 s of the server time in a
`config` or `ack`. Until then rows carry monotonic time, with the boot id of the machine, and are dated
when trust comes. Whether a command is late needs no trust: see Lateness.
"""

import ctypes
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_agent.model import Stamp

MAX_OFF_US: Final = 2_000_000
WINDOW_US: Final = 300_000_000
FIRST_US: Final = 60_000_000
TIME_ERROR: Final = 5
"""adjtimex: the clock is not synchronised."""
_SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def may_trust(*, declared: bool, kept_by_ntp: bool, off_us: int | None) -> bool:
    """The rule. `off_us` is the last known distance from the server's time."""
    return declared or kept_by_ntp or (off_us is not None and abs(off_us) <= MAX_OFF_US)


def kept_by_ntp() -> bool:
    """Whether the kernel or systemd says that NTP keeps this clock."""
    if _SYNCHRONIZED.exists():
        return True
    try:
        timex = (ctypes.c_long * 64)()  # all zero asks and changes nothing
        state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return False
    return 0 <= state < TIME_ERROR


def machine_boot_id() -> str:
    """Changes when the machine starts anew, and with it monotonic time."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def wall_us() -> int:
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Microseconds since the machine started, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Lateness:
    """How late a message of the cloud is, whatever the two clocks say.

    It is what a message took more than the promptest one of the last five to ten minutes. In its first minute
    a run may have heard none that was prompt: then a trusted clock, which may be off by 2 s, is asked too.
    """

    def __init__(self) -> None:
        self._first_us: float = math.inf
        self._began_us = 0
        self._best_us: float = math.inf
        self._best_before_us: float = math.inf

    def heard(self, server_us: int, at_us: int) -> None:
        """A message that left at `server_us` by its clock came at `at_us` by ours (monotonic)."""
        if at_us - self._began_us > WINDOW_US:
            self._began_us, self._best_before_us, self._best_us = at_us, self._best_us, math.inf
        self._first_us = min(self._first_us, at_us)
        self._best_us = min(self._best_us, at_us - server_us)

    def of(self, server_us: int, at_us: int, wall_us: int | None) -> float:
        """Microseconds; infinite while there is nothing to compare with. `wall_us`: of a trusted clock."""
        best_us = min(self._best_us, self._best_before_us)
        found = [] if math.isinf(best_us) else [at_us - server_us - best_us]
        if wall_us is not None and at_us - self._first_us < FIRST_US:
            found.append(wall_us - server_us - MAX_OFF_US)
        return max(found, default=math.inf)


class Clock:
    """The box's clock with the knowledge whether to believe it."""

    def __init__(
        self,
        *,
        declared: bool = False,
        ntp: Callable[[], bool] = kept_by_ntp,
        wall: Callable[[], int] = wall_us,
        monotonic: Callable[[], int] = monotonic_us,
    ) -> None:
        self._declared = declared
        self._ntp = ntp
        self._wall = wall
        self._monotonic = monotonic
        self._off_us: int | None = None
        self.is_trusted = False
        self.look()

    def look(self) -> bool:
        """Ask the machine again; whether the clock is trusted."""
        self.is_trusted = may_trust(declared=self._declared, kept_by_ntp=self._ntp(), off_us=self._off_us)
        return self.is_trusted

    def hear_server(self, server_us: int) -> bool:
        """Compare with a server time that is fresh; whether the clock is trusted now."""
        self._off_us = self._wall() - server_us
        return self.look()

    @property
    def off_us(self) -> int | None:
        """How far ahead of the server this clock was when last compared."""
        return self._off_us

    def stamp(self) -> Stamp:
        return Stamp(self._wall() if self.is_trusted else None, self._monotonic())

    def now_us(self) -> int:
        """Wall time, believed or not."""
        return self._wall()

    def offset_us(self) -> int:
        """What to add to a monotonic time of this boot to get wall time."""
        return self._wall() - self._monotonic()
