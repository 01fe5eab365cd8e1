"""The sessions that this process serves: its own for ever, and others while nobody else does."""

import asyncio
from typing import Final

from services.ingest import metrics
from services.ingest.limits import Limits
from services.ingest.model import Member
from services.ingest.registry import Registry
from services.ingest.rejections import Rejections
from services.ingest.replicas import BEAT_S, Beat, Presence
from services.ingest.session import Session, Shared
from services.ingest.settings import Settings, session_id
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger
from services.runtime.postgres import Pool
from services.runtime.waiting import happens

log = get_logger(__name__)

CONNECT_WITHIN_S: Final = 10.0
QUIET_S: Final = 5.0
"""After that an adopted session that is too many has nothing left."""


class LetGo(Exception):
    """An adopted session is not ours to serve any more."""


class Sessions:
    """Runs gateway sessions for ever."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self.registry = Registry()
        self.registry_loaded = asyncio.Event()
        self._presence = Presence(settings.gateway_index)
        self._shared = Shared(settings, pool, self.registry, Rejections(), Limits(settings), self._heard)
        self._served: dict[int, Session] = {}
        self.registry.listen(self._changed)

    async def run(self) -> None:
        """Serve."""
        # Before it everybody would be a stranger.
        await self.registry_loaded.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._own(), name="own session")
            group.create_task(self._look_after(group), name="silent sessions")

    async def check_mqtt(self) -> None:
        """Readiness."""
        own = self._served.get(self._settings.gateway_index)
        if own is None:
            raise Unavailable("the registry is not loaded yet")
        await own.source.check()

    async def _own(self) -> None:
        index = self._settings.gateway_index
        while True:
            session = Session(index, self._shared)
            session.source.on_connected(lambda: self._presence.connected(_now_s()))
            self._served[index] = session
            try:
                await session.serve()
            except ExceptionGroup as failures:
                _, others = failures.split(Unavailable)
                if others:
                    raise
                log.error("session starts over", error=repr(failures.exceptions[0]))

    async def _look_after(self, group: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            own = self._served.get(self._settings.gateway_index)
            if own is None or not own.source.is_connected:
                continue
            for index in self._presence.silent(_now_s()):
                if index not in self._served:
                    group.create_task(self._adopt(index), name=f"session {index}")

    async def _adopt(self, index: int) -> None:
        """Serve it until its owner takes it back, the connection ends, or nothing is left of it."""
        name = session_id(index)
        log.warning("session is silent: serving it until its owner is back", session=name)
        metrics.ADOPTED.inc()
        try:
            session = self._served[index] = Session(index, self._shared, reconnects=False)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._while_needed(session))
                group.create_task(session.serve())
        except ExceptionGroup as failures:
            _, others = failures.split((Unavailable, LetGo))
            if others:
                raise
            log.warning("session let go", session=name, why=_first(failures))
        except Unavailable as error:
            log.error("session cannot be adopted", session=name, error=str(error))
        finally:
            metrics.ADOPTED.dec()
            self._served.pop(index, None)
            self._presence.let_go(index, _now_s())

    async def _while_needed(self, session: Session) -> None:
        source, is_connected, is_lost = session.source, asyncio.Event(), asyncio.Event()
        source.on_connected(is_connected.set)
        source.on_lost(is_lost.set)
        if not await happens(is_connected, CONNECT_WITHIN_S):
            raise LetGo("it could not be connected")
        if not source.was_present:
            self._end(session)
            raise LetGo("the broker does not know it")
        if session.index < self._settings.gateway_count:
            await is_lost.wait()
            raise LetGo("its connection ended, or its owner is back")
        taken = -1
        while not await happens(is_lost, QUIET_S):
            if source.taken == taken and source.is_settled:
                self._end(session)
                raise LetGo("it is one too many, and empty")
            taken = source.taken
        raise LetGo("its connection ended, or its owner is back")

    def _end(self, session: Session) -> None:
        """For good: without its mark nobody looks for it."""
        session.source.beat(session.index, b"")
        session.source.forget()

    def _heard(self, beat: Beat) -> None:
        self._presence.heard(beat, _now_s())

    def _changed(self, name: str, member: Member | None) -> None:
        for session in self._served.values():
            session.changed(name, member)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _first(failures: BaseExceptionGroup[BaseException]) -> str:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else str(first)
