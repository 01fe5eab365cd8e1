"""Brings the spool's rows to the cloud: live rows at once, the backlog behind them, each until answered.

    appended -> on its way -> answered: committed or never wanted  -> deleted from the spool
                           -> answered: later                      -> waits, then backlog again;
                                               too much            -> and the rest of the backlog waits too
                           -> unanswered for too long, or the connection is lost -> backlog again

A cursor walks through the spool, oldest first. Whatever becomes backlog again moves it back.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from edge_agent.batch import MAX_ROWS, Packed, pack
from edge_agent.log import Log
from edge_agent.model import Key, Row
from edge_agent.spool_thread import Spool
from edge_agent.window import Window
from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import Ack

MOST_WITHHELD: Final = 20_000
"""Rows that wait to be asked for again; with more of them the backlog stands still."""
START: Final = Key(0, 0)

log = Log(__name__)


class Sender:
    """Keeps what is on its way; `publish` answers whether a batch was handed to the broker."""

    def __init__(
        self,
        spool: Spool,
        window: Window,
        publish: Callable[[bytes], bool],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._window = window
        self._publish = publish
        self._now = now
        self._is_connected = False
        self._flights: dict[int, dict[Key, int]] = {}
        """rows by batch, with their epoch, as long as they are unanswered"""
        self._flying: set[Key] = set()
        self._withheld: dict[Key, float] = {}
        self._backlog_after_s = float("-inf")
        self._cursor = START
        self._has_backlog = True
        self._count = 0
        self._changed = asyncio.Event()
        self._deletions: set[asyncio.Task[None]] = set()

    def connected(self) -> None:
        self._is_connected = True
        self._changed.set()

    def disconnected(self) -> None:
        self._is_connected = False
        self._release(self._window.disconnected())

    def appended(self, rows: Sequence[Row]) -> None:
        """Rows that were just written to the spool go out at once if they may."""
        rows = [row for row in rows if row.ts_us is not None and row.key not in self._flying]
        if not (self._is_connected and self._window.may_send_live()):
            self._has_backlog = True
            return
        for packed in pack(rows):
            self._send(packed, is_live=True)

    def dated(self) -> None:
        """Rows that had no time got one."""
        self._walk_again(START)

    def answered(self, ack: Ack) -> None:
        """What the cloud says about rows; of an answer to a status, which names none, nothing follows."""
        if not (ack.committed or ack.refused):
            return
        now_s = self._now()
        self._window.heard(now_s)
        done = [(each.first, each.last) for each in ack.committed]
        for refusal in ack.refused:
            ranges = [(each.first, each.last) for each in refusal.ranges]
            log.warning(
                "samples refused",
                reason=refusal.reason,
                final=refusal.final,
                retry_after_s=refusal.retry_after_s,
                ranges=ranges[:5],
            )
            if refusal.final:
                done += ranges
            else:
                until_s = now_s + max(refusal.retry_after_s, 1)
                self._withhold(ack.epoch, ranges, until_s)
                if refusal.reason == Reason.RATE_LIMITED:
                    # More of the backlog would be refused like this; what room there is is for live rows.
                    self._backlog_after_s = max(self._backlog_after_s, until_s)
        self._land(ack.epoch, done)
        if done:
            task = asyncio.create_task(self._spool.delete(ack.epoch, done))
            self._deletions.add(task)
            task.add_done_callback(self._deleted)
        self._changed.set()

    async def run(self) -> None:
        """Send the backlog as the window allows; forever."""
        while True:
            now_s = self._now()
            if late := self._window.overdue(now_s):
                log.warning("no answer", batches=len(late), probing=self._window.is_probing)
                self._release(late)
                if self._window.is_probing:
                    self._walk_again(START)
            self._ask_again(now_s)
            if self._may_send_backlog(now_s) and (packed := await self._next_of_backlog()):
                self._send(packed, is_live=False)
                continue
            self._changed.clear()
            if self._may_send_backlog(self._now()):
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(self._wait_s(), 0.01)):
                    await self._changed.wait()

    def _may_send_backlog(self, now_s: float) -> bool:
        return (
            self._is_connected
            and self._has_backlog
            and len(self._withheld) < MOST_WITHHELD
            and now_s >= self._backlog_after_s
            and self._window.may_send_backlog(now_s)
        )

    def _wait_s(self) -> float:
        now_s = self._now()
        soonest_s = min(self._withheld.values(), default=float("inf"))
        if self._backlog_after_s > now_s:
            soonest_s = min(soonest_s, self._backlog_after_s)
        return min(self._window.next_look_s(now_s), soonest_s - now_s)

    async def _next_of_backlog(self) -> Packed | None:
        self._has_backlog = False  # said before reading: what comes in meanwhile says otherwise
        after = self._cursor
        rows = await self._spool.read(after, MAX_ROWS)
        if self._cursor < after:  # moved back meanwhile: read again from there
            self._has_backlog = True
            return None
        free = [row for row in rows if row.key not in self._flying and row.key not in self._withheld]
        packed = next(pack(free), None)
        if packed is not None and len(packed.rows) < len(free):
            self._cursor, self._has_backlog = packed.rows[-1].key, True
        elif rows:
            self._cursor = rows[-1].key
            self._has_backlog |= len(rows) == MAX_ROWS
        return packed

    def _send(self, packed: Packed, *, is_live: bool) -> None:
        if not self._publish(packed.payload):
            self._back_to(row.key for row in packed.rows)
            return
        self._count += 1
        rows = {row.key: row.epoch for row in packed.rows}
        self._flights[self._count] = rows
        self._flying.update(rows)
        self._window.sent(self._count, self._now(), is_live=is_live)
        log.debug("sent", rows=len(rows), bytes=len(packed.payload), live=is_live)

    def _land(self, epoch: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Rows that need no more attention; a batch that has none left is answered."""
        for batch, rows in list(self._flights.items()):
            landed = [key for key, own in rows.items() if own == epoch and _holds(ranges, key.seq)]
            for key in landed:
                del rows[key]
            self._flying.difference_update(landed)
            if not rows:
                del self._flights[batch]
                self._window.answered(batch)

    def _withhold(self, epoch: int, ranges: Sequence[tuple[int, int]], until_s: float) -> None:
        for rows in self._flights.values():
            for key, own in rows.items():
                if own == epoch and _holds(ranges, key.seq):
                    self._withheld[key] = until_s
        self._land(epoch, ranges)

    def _ask_again(self, now_s: float) -> None:
        due = [key for key, until_s in self._withheld.items() if until_s <= now_s]
        for key in due:
            del self._withheld[key]
        self._back_to(due)

    def _release(self, batches: Iterable[int]) -> None:
        keys: list[Key] = []
        for batch in batches:
            keys += self._flights.pop(batch, {})
        self._flying.difference_update(keys)
        self._back_to(keys)

    def _back_to(self, keys: Iterable[Key]) -> None:
        if first := min(keys, default=None):
            self._walk_again(Key(first.run, first.seq - 1))

    def _walk_again(self, after: Key) -> None:
        self._cursor = min(self._cursor, after)
        self._has_backlog = True
        self._changed.set()

    def _deleted(self, task: asyncio.Task[None]) -> None:
        self._deletions.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # They stay in the spool, are sent again, and acknowledged again.
            log.error("cannot delete committed samples", error=str(error))


def _holds(ranges: Sequence[tuple[int, int]], seq: int) -> bool:
    return any(first <= seq <= last for first, last in ranges)
