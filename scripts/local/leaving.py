"""Ctrl-C, `kill` and a closed terminal end a command the same way, once: nothing disturbs the stopping."""

import os
import signal
import sys
from typing import Final, NoReturn

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_on_signals() -> None:
    """Each becomes a KeyboardInterrupt, but for what our parent had us ignore, as nohup does."""
    for each in ENDINGS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _interrupt)


def ignore_signals() -> None:
    """From here on things are being stopped: a second Ctrl-C must not leave any behind."""
    for each in ENDINGS:
        signal.signal(each, signal.SIG_IGN)


def say_no_more() -> None:
    """Whoever read our output may be gone; Python would complain about that again at its own end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(*_: object) -> NoReturn:
    ignore_signals()
    raise KeyboardInterrupt
