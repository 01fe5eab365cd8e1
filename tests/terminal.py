"""For processes that a test interrupts."""

import signal


def as_from_a_terminal() -> None:
    """A `preexec_fn`: tests in the background are told to ignore these, and what they start inherits it."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
