"""The rules that are on, kept fresh: whoever changes them says so by NOTIFY.

Through pgbouncer nobody can listen, since the next transaction may have another connection; there the rules
(a few rows) are read again every few seconds.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from services.escalation import store
from services.escalation.model import NO_HEARTBEAT, THRESHOLD, Device, Rule
from services.escalation.registration import CHANGED
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import CONNECT_TIMEOUT_S, GONE, PGBOUNCER_PORT, Pool
from services.runtime.retry import until_available
from services.runtime.waiting import happens

log = get_logger(__name__)

POOLED_REFRESH_S: Final = 5.0
REFRESH_S: Final = 300.0
"""Only a net below the notification."""


class RuleBook:
    """Rules by tenant. `loaded` is set once they have been read."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, list[Rule]] = {}
        self.loaded = asyncio.Event()
        self.revision = 0
        """Rises with every change."""

    def replace(self, rules: list[Rule]) -> bool:
        """Take over the rules; whether they differ."""
        by_tenant: dict[str, list[Rule]] = {}
        for rule in rules:
            by_tenant.setdefault(rule.tenant_id, []).append(rule)
        differs = by_tenant != self._by_tenant
        self._by_tenant = by_tenant
        self.revision += differs
        self.loaded.set()
        return differs

    def thresholds(self, device: Device) -> dict[str, list[Rule]]:
        """Threshold rules for a device, by metric."""
        found: dict[str, list[Rule]] = {}
        for rule in self._of(device, THRESHOLD):
            found.setdefault(rule.metric, []).append(rule)
        return found

    def heartbeats(self, device: Device) -> list[Rule]:
        """No-heartbeat rules for a device."""
        return self._of(device, NO_HEARTBEAT)

    def longest_window_s(self) -> int:
        """The longest `for` of any rule."""
        return max((rule.for_s for rules in self._by_tenant.values() for rule in rules), default=0)

    def _of(self, device: Device, kind: str) -> list[Rule]:
        return [
            rule
            for rule in self._by_tenant.get(device.tenant_id, [])
            if rule.kind == kind and rule.device_id in (None, device.device_id)
        ]


async def keep_fresh(book: RuleBook, pool: Pool, database_url: str, on_change: Callable[[], None]) -> None:
    """Read the rules now and whenever they change, for ever."""
    pooled = urlsplit(database_url).port == PGBOUNCER_PORT or os.environ.get("PGBOUNCER") == "1"
    every_s = POOLED_REFRESH_S if pooled else REFRESH_S
    await until_available("follow the rules", lambda: _follow(book, pool, every_s, on_change))


async def _follow(book: RuleBook, pool: Pool, every_s: float, on_change: Callable[[], None]) -> None:
    changed = asyncio.Event()

    def wake(*_: object) -> None:
        changed.set()

    try:
        async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as db:
            await db.add_listener(CHANGED, wake)
            db.add_termination_listener(wake)
            try:
                while True:
                    if book.replace(await store.read_rules(db)):
                        log.info("rules read", revision=book.revision)
                        on_change()
                    await happens(changed, every_s)
                    changed.clear()
            finally:
                db.remove_termination_listener(wake)
                if not db.is_closed():
                    await db.remove_listener(CHANGED, wake)
    except GONE as error:
        raise Unavailable(f"PostgreSQL: {error or type(error).__name__}") from error
