"""A consumer's place in its group, where aiokafka 0.14 needs help after the death of a broker.

It looks past the error of an OffsetFetch answer as a whole: while a restarted broker still loads its groups
it would believe that nothing was ever committed, and read from the beginning or jump to the end. It gives a
group up when a SyncGroup meets such a broker. And a member that has lost its place says nothing: `Watch`
notices it, and who reads then starts over with a new consumer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

Send = Callable[[Any], Awaitable[Any]]

JOIN_WITHIN_S: Final = 90.0
"""A rebalance takes at most 30 s; one may follow the other."""
LOOK_EVERY_S: Final = 30.0
ANSWER_WITHIN_S: Final = 10.0


class Stuck(Exception):
    """This consumer will not go on by itself."""


def heed_errors(coordinator: GroupCoordinator) -> None:
    """Let it see the errors that it would look past, before it joins."""
    coordinator._send_req = _heeding(coordinator._send_req, coordinator.coordinator_dead)


def _heeding(send: Send, coordinator_dead: Callable[[], None]) -> Send:
    async def checked(request: Any) -> Any:
        answer = await send(request)
        error = for_code(getattr(answer, "error_code", 0))
        if isinstance(request, OffsetFetchRequest) and error is not NoError:
            if error in (NotCoordinatorForGroupError, GroupCoordinatorNotAvailableError):
                coordinator_dead()
            raise error()
        is_loading = error in (GroupLoadInProgressError, RequestTimedOutError)
        if isinstance(request, SyncGroupRequest | HeartbeatRequest) and is_loading:
            raise error()
        return answer

    return checked


async def join(source: AIOKafkaConsumer, topics: Sequence[str]) -> None:
    """Subscribe; returns when it has its place. Raises Stuck, KafkaError."""
    source.subscribe(topics)
    try:
        async with asyncio.timeout(JOIN_WITHIN_S):
            await source._subscription.wait_for_assignment()
    except TimeoutError:
        raise Stuck(f"no place in the group for {JOIN_WITHIN_S:.0f} s") from None


def give_up(coordinator: GroupCoordinator) -> None:
    """End what a stop without an answer leaves behind: a heartbeat would hold the place for nobody."""
    tasks = (coordinator._coordination_task, coordinator._heartbeat_task, coordinator._commit_refresh_task)
    for task in tasks:
        if task and not task.done():
            task.cancel()


class Watch:
    """Of one consumer with a group. Ask it whenever there was nothing to read."""

    def __init__(self, source: AIOKafkaConsumer, now_s: float) -> None:
        self._source = source
        self._placed_s = self._looked_s = now_s
        self._behind: dict[TopicPartition, int] = {}

    def has_read(self) -> None:
        """There was something to read."""
        self._behind = {}

    async def look(self, now_s: float) -> None:
        """Raises Stuck: no place in the group for long, or records that wait and do not come."""
        if _has_place(self._source):
            self._placed_s = now_s
        elif now_s - self._placed_s > JOIN_WITHIN_S:
            raise Stuck(f"no place in the group for {now_s - self._placed_s:.0f} s")
        if now_s - self._looked_s > LOOK_EVERY_S:
            self._looked_s = now_s
            behind = await _behind(self._source)
            if still := [tp for tp, at in behind.items() if self._behind.get(tp) == at]:
                raise Stuck(f"records of {still[0].topic} wait and were not read for {LOOK_EVERY_S:.0f} s")
            self._behind = behind


def _has_place(source: AIOKafkaConsumer) -> bool:
    coordinator, subscription = source._coordinator, source._subscription.subscription
    is_known = coordinator.coordinator_id is not None
    return is_known and subscription is not None and not coordinator.need_rejoin(subscription)


async def _behind(source: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Where the partitions stand that have more to read; -1: nowhere yet. None, while Kafka is away."""
    waiting = source.assignment() - source.paused()
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            ends = await source.end_offsets(list(waiting)) if waiting else {}
    except (KafkaError, TimeoutError):
        return {}
    places = {partition: _place(source, partition) for partition in ends}
    return {partition: place for partition, place in places.items() if place < ends[partition]}


def _place(source: AIOKafkaConsumer, partition: TopicPartition) -> int:
    state = source._subscription.subscription.assignment.state_value(partition)
    return int(state.position) if state and state.has_valid_position else -1
