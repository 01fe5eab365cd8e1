"""Which time a sample gets, and when the box's clock may be believed.

Trusted is a clock that NTP keeps (the kernel says so), or that is within 2 s of the server's time in the
answer to a status. Until then rows carry monotonic time, with the boot id of the machine, and are dated
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
MEASURE_FOR_US: Final = 120_000_000
ASK_EVERY_US: Final = 1_000_000
TIME_ERROR: Final = 5
"""adjtimex: the clock is not synchronised."""
_SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def may_trust(*, declared: bool, kept_by_ntp: bool, off_us: float | None) -> bool:
    """The rule. `off_us`: at most so far was the clock from the server's time when last compared."""
    return declared or kept_by_ntp or (off_us is not None and off_us <= MAX_OFF_US)


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
    """How late a message of the cloud is at most, whatever the two clocks say.

        agent    asked --------------------- command taken
        gateway         answered .. stamped

    The gateway's answer names the status that it answers. Its time lay after the question: counting from the
    question, a message can only seem later than it is, also when the answer was held up on its way.
    """

    def __init__(self) -> None:
        self._question_us = 0
        self._asked_us = 0
        self._answered_us: int | None = None

    def forget(self) -> None:
        """A new connection measures anew."""
        self._question_us, self._asked_us, self._answered_us = 0, 0, None

    def ask(self, at_us: int) -> int:
        """A status goes out at this monotonic time; answers what it has to carry."""
        self._question_us = at_us
        return at_us

    def answered(self, asked_us: int, server_us: int) -> bool:
        """Whether it counts: only the newest status does, and its first answer."""
        if not asked_us == self._question_us != self._asked_us:
            return False
        self._asked_us, self._answered_us = asked_us, server_us
        return True

    def of(self, server_us: int, at_us: int) -> float:
        """Microseconds; infinite without an answer, or with one so old that the clocks may have drifted."""
        if self._answered_us is None or at_us - self._asked_us > MEASURE_FOR_US:
            return math.inf
        return (at_us - self._asked_us) - (server_us - self._answered_us)

    def may_ask(self, at_us: int) -> bool:
        """Whether the last question is so old that another one is worth its while."""
        return at_us - self._question_us >= ASK_EVERY_US


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
        self._off_us: float | None = None
        self.is_trusted = False
        self.look()

    def look(self) -> bool:
        """Ask the machine again; whether the clock is trusted."""
        self.is_trusted = may_trust(declared=self._declared, kept_by_ntp=self._ntp(), off_us=self._off_us)
        return self.is_trusted

    def hear_server(self, server_us: int, asked_us: int) -> bool:
        """The server's time was this between a question (monotonic) and now; whether the clock is trusted."""
        half_us = (self._monotonic() - asked_us) / 2
        self._off_us = abs(self._wall() - half_us - server_us) + half_us
        return self.look()

    def stamp(self) -> Stamp:
        return Stamp(self._wall() if self.is_trusted else None, self._monotonic())

    def now_us(self) -> int:
        """Wall time, believed or not."""
        return self._wall()

    def offset_us(self) -> int:
        """What to add to a monotonic time of this boot to get wall time."""
        return self._wall() - self._monotonic()
