"""When what is due. Pure."""

from datetime import datetime, timedelta
from typing import Final

TARGET: Final = timedelta(days=7)
DUE: Final = timedelta(days=30)
"""H-020: the law gives 30 days, we aim for 7."""
KEEP: Final = timedelta(days=30)
"""H-025: for so long a person can come back to the account."""
CUT_PATIENCE: Final = timedelta(days=1)
"""How long a purge waits for the broker to end a session of the box."""

SUBJECT: Final = "your data has been deleted."
NOTICE: Final = """\
your data has been deleted.

What your devices measured, and everything that was made of it, is gone from our database. Messages that were
already under way are kept in a log that forgets them within 7 days. Your account and the registration of your
devices stay for 30 days, in case you want to come back, and are then removed too.
"""
"""H-024 asks for exactly that first sentence."""


def target_at(requested_at: datetime) -> datetime:
    """When we want to be done."""
    return requested_at + TARGET


def due_at(requested_at: datetime) -> datetime:
    """When we have to be done."""
    return requested_at + DUE


def is_overdue(due: datetime, executed_at: datetime | None, now: datetime) -> bool:
    """Whether the law's time is over and the data are not."""
    return executed_at is None and now > due


def purge_at(executed_at: datetime) -> datetime:
    """From when on account and box rows go."""
    return executed_at + KEEP
