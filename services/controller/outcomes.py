"""What became of commands: takes replies, and says itself that nobody answered in time."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from google.protobuf.message import DecodeError

from overwatt.topics import AGENT_REPLY
from overwatt.v1.agent_pb2 import AgentReply
from services.controller import life, metrics
from services.controller.messages import reply_from_wire
from services.controller.model import Reply
from services.controller.store import commands as store
from services.runtime import clock
from services.runtime.bus import Record
from services.runtime.errors import Invalid
from services.runtime.log import get_logger
from services.runtime.postgres import Connection, Pool, transaction

log = get_logger(__name__)


class Outcomes:
    """The states of commands and dispatches follow from the table of replies, and from nothing else."""

    def __init__(
        self, pool: Pool, *, saw: Callable[[str, str, int], None], on_answer: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._saw = saw
        self._on_answer = on_answer

    async def take(self, records: Sequence[Record]) -> None:
        """Replies, in any order and as often as they come; raises Unavailable."""
        replies = [each for record in records if (each := self._read(record))]
        if replies:
            async with transaction(self._pool) as db:
                await _settle(db, replies, clock.now())
            self._on_answer()

    async def expire(self) -> float | None:
        """End what nobody answered in time; answers in how many seconds the next expires."""
        now = clock.now()
        async with transaction(self._pool) as db:
            expired = await store.unanswered_in_time(db, now)
            if expired:
                await _settle(db, expired, now)
            next_at = await store.next_expiry_at(db)
        if expired:
            self._on_answer()
        return None if next_at is None else max((next_at - clock.now()).total_seconds(), 0.0)

    def _read(self, record: Record) -> Reply | None:
        try:
            message = AgentReply.FromString(record.value or b"")
            reply = reply_from_wire(message)
        except (DecodeError, Invalid) as error:
            metrics.UNUSABLE.labels(AGENT_REPLY).inc()
            log.warning("reply not usable", offset=record.offset, error=str(error))
            return None
        if not message.from_gateway:
            self._saw(message.tenant, message.device, message.received_at_us)
        return reply


async def _settle(db: Connection, replies: Sequence[Reply], now: datetime) -> None:
    """Keep the replies, and bring their dispatches to where all that is known puts them."""
    dispatches = await store.lock_dispatches_of(db, [reply.command_id for reply in replies])
    for reply in replies:
        if await store.insert_reply(db, reply):
            metrics.REPLIES.labels(reply.state, reply.by).inc()
            log.info(
                "reply",
                agent=f"{reply.tenant_id}/{reply.device_id}",
                command=str(reply.command_id),
                state=reply.state,
                reason=reply.reason,
                by=reply.by,
            )
    known = await store.read_replies(db, dispatches)
    states: dict[UUID, dict[UUID, str]] = {dispatch: {} for dispatch in dispatches}
    for command in await store.read_commands(db, dispatches):
        heard = known.get(command["command_id"], [])
        state = command["state"]
        for reply in heard:
            state = life.stronger(state, reply.state)
        states[command["dispatch_id"]][command["command_id"]] = state
        if heard:
            await store.set_command(db, command["command_id"], state, now)
    for dispatch_id, commands in states.items():
        best = {command: life.best_reply(known[command]) for command in commands if command in known}
        state = life.of_dispatch(list(commands.values()))
        reason = life.reason_of(commands, best, state)
        await store.set_dispatch(db, dispatch_id, state, reason, life.result_of(best), now)
