"""Ways to reach somebody. A notifier knows what failed; `deliver.py` knows when to try again."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from services.escalation.model import Delivery


@dataclass(frozen=True, slots=True)
class Sent:
    """It arrived."""

    status: int


@dataclass(frozen=True, slots=True)
class Retry:
    """It may arrive later; `reason` is a class of failure and never the receiver's own words."""

    reason: str
    after_s: float | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class GaveUp:
    """It will never arrive; `disable` says that the channel wants no more."""

    reason: str
    status: int | None = None
    disable: bool = False


Answer: TypeAlias = Sent | Retry | GaveUp


class Notifier(Protocol):
    """One kind of channel."""

    async def send(self, delivery: Delivery) -> Answer:
        """Deliver once. Never raises for what the other side does."""
        ...
