"""The spool off the event loop: one thread, and what waits at the same time shares one commit."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from edge_agent.model import Key, Row, Sample, SpoolState
from edge_agent.spool import SpoolFile

MOST_AT_ONCE: Final = 200
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], Any]
    done: asyncio.Future[Any]


class Spool:
    """Calls return when their effect is on the disk."""

    def __init__(self, file: SpoolFile) -> None:
        self._file = file
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)

    @property
    def epoch(self) -> int:
        return self._file.epoch

    async def __aenter__(self) -> "Spool":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._file.close()

    async def append(self, samples: Sequence[Sample]) -> list[Row]:
        return await self._do(lambda: self._file.append(samples))

    async def read(self, after: Key, limit: int) -> list[Row]:
        return await self._do(lambda: self._file.read(after, limit))

    async def date(self, offset_us: int) -> int:
        return await self._do(lambda: self._file.date(offset_us))

    async def state(self) -> SpoolState:
        return await self._do(self._file.state)

    async def delete(self, epoch: int, ranges: Sequence[tuple[int, int]]) -> None:
        await self._do(lambda: self._file.delete(epoch, ranges))

    async def wipe(self) -> None:
        await self._do(self._file.wipe)

    async def _do(self, work: Callable[[], T]) -> T:
        job = _Job(work, self._loop.create_future())
        self._jobs.put(job)
        result: T = await job.done
        return result

    def _work(self) -> None:
        while job := self._jobs.get():
            jobs, is_last = [job], False
            while len(jobs) < MOST_AT_ONCE and not self._jobs.empty():
                if (another := self._jobs.get()) is None:
                    is_last = True
                    break
                jobs.append(another)
            if not self._commit(jobs) and len(jobs) > 1:
                for one in jobs:  # one of them failed: it alone shall
                    self._commit([one])
            if is_last:
                return

    def _commit(self, jobs: Sequence[_Job]) -> bool:
        try:
            with self._file.transaction():
                results = [job.work() for job in jobs]
        except Exception as error:
            if len(jobs) == 1:
                self._hand_back([(jobs[0], None, error)])
            return False
        self._hand_back([(job, result, None) for job, result in zip(jobs, results, strict=True)])
        return True

    def _hand_back(self, outcomes: Sequence[tuple[_Job, Any, Exception | None]]) -> None:
        def settle() -> None:
            for job, result, error in outcomes:
                if job.done.cancelled():
                    continue
                if error is not None:
                    job.done.set_exception(error)
                else:
                    job.done.set_result(result)

        self._loop.call_soon_threadsafe(settle)
