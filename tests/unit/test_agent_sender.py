"""How rows travel from the spool to the cloud, with a real spool and a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.batch import MAX_ROWS
from edge_agent.model import Reading, Sample, Stamp
from edge_agent.sender import Sender
from edge_agent.spool import SpoolFile
from edge_agent.spool_thread import Spool
from edge_agent.window import BACKLOG_BATCHES, Window
from overwatt.v1.telemetry_pb2 import Ack, Batch, Range, Refusal
from tests.fakes.agent_cloud import Seen, samples_of, until


class Rig:
    """A sender whose batches end in a list."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.now_s = 0.0
        self.takes = True
        self.batches: list[Batch] = []
        self.sender = Sender(
            spool, Window(span_s=30, jitter=lambda: 0.5), self._publish, now=lambda: self.now_s
        )

    async def add(self, count: int) -> None:
        samples = [Sample("bess-1", Stamp(n, 0), Reading({"soc_pct": float(n)})) for n in range(count)]
        self.sender.appended(await self.spool.append(samples))

    def commit(self, batch: Batch) -> None:
        ranges = [Range(first=each.seq, last=each.seq) for each in samples_of(batch)]
        self.sender.answered(Ack(epoch=batch.epoch, committed=ranges))

    def refuse_later(self, batch: Batch, retry_after_s: int) -> None:
        ranges = [Range(first=each.seq, last=each.seq) for each in samples_of(batch)]
        refusal = Refusal(ranges=ranges, reason="RATE_LIMITED", retry_after_s=retry_after_s)
        self.sender.answered(Ack(epoch=batch.epoch, refused=[refusal]))

    async def has_sent(self, batches: int) -> None:
        await until(lambda: len(self.batches) >= batches)

    def sent(self) -> list[Seen]:
        return [each for batch in self.batches for each in samples_of(batch)]

    def _publish(self, payload: bytes) -> bool:
        if self.takes:
            self.batches.append(Batch.FromString(payload))
        return self.takes


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Spool(SpoolFile(tmp_path / "spool.sqlite", max_bytes=10**9, boot="b")) as spool:
        rig = Rig(spool)
        task = asyncio.create_task(rig.sender.run())
        yield rig
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_live_row_is_sent_at_once(rig: Rig) -> None:
    rig.sender.connected()

    await rig.add(1)

    assert len(rig.batches) == 1


async def test_a_backlog_is_sent_once_each_oldest_first_and_a_few_batches_at_a_time(rig: Rig) -> None:
    await rig.add(5000)
    rig.sender.connected()

    for answered in range(13):
        await rig.has_sent(answered + 1)
        assert len(rig.batches) - answered <= BACKLOG_BATCHES
        rig.commit(rig.batches[answered])

    assert [each.seq for each in rig.sent()] == list(range(1, 5001))
    while (await rig.spool.state()).rows:
        await asyncio.sleep(0.01)


async def test_live_rows_overtake_a_backlog(rig: Rig) -> None:
    await rig.add(5000)
    rig.sender.connected()
    await until(lambda: len(rig.batches) == BACKLOG_BATCHES)

    await rig.add(1)

    assert rig.sent()[-1].seq == 5001


async def test_nobody_answers_then_one_batch_probes_and_an_answer_brings_everything(rig: Rig) -> None:
    rig.sender.connected()
    for _ in range(10):
        await rig.add(1)
    assert len(rig.batches) == 10

    rig.now_s = 31.0
    rig.sender.connected()
    await asyncio.sleep(0.05)
    await rig.add(1)
    assert len(rig.batches) == 10  # closed: it only spools
    rig.now_s = 37.0
    rig.sender.connected()
    await until(lambda: len(rig.batches) == 11)
    assert {each.seq for each in samples_of(rig.batches[10])} == set(range(1, 12))

    rig.commit(rig.batches[10])
    await rig.add(1)

    assert rig.sent()[-1].seq == 12
    await until(lambda: rig.batches[-1].first_seq == 12)


async def test_the_answer_to_a_status_says_nothing_about_samples(rig: Rig) -> None:
    """The gateway gives it, also while the writer is out: then the backlog has to stay in the spool."""
    rig.sender.connected()
    await rig.add(1)
    rig.now_s = 15.0
    rig.sender.answered(Ack(server_time_us=1, asked_us=1))

    rig.now_s = 31.0
    rig.sender.connected()
    await asyncio.sleep(0.05)
    rig.sender.answered(Ack(server_time_us=1, asked_us=2))
    await rig.add(1)

    assert len(rig.batches) == 1


async def test_what_is_refused_for_now_waits_as_long_as_it_was_told(rig: Rig) -> None:
    rig.sender.connected()
    await rig.add(3)
    rig.refuse_later(rig.batches[0], 60)

    rig.now_s = 59.0
    rig.sender.connected()
    await asyncio.sleep(0.05)
    assert len(rig.batches) == 1
    rig.now_s = 61.0
    rig.sender.connected()

    await until(lambda: len(rig.batches) == 2)
    assert [each.seq for each in samples_of(rig.batches[1])] == [1, 2, 3]


async def test_told_that_it_was_too_much_the_whole_backlog_waits_and_live_rows_do_not(rig: Rig) -> None:
    await rig.add(6 * MAX_ROWS)
    rig.sender.connected()
    await rig.has_sent(BACKLOG_BATCHES)
    refused = rig.batches[0]
    rig.refuse_later(refused, 7)
    for batch in rig.batches[1:]:
        rig.commit(batch)

    await asyncio.sleep(0.05)
    await rig.add(2)
    await rig.has_sent(BACKLOG_BATCHES + 1)
    rig.now_s = 6.9
    rig.sender.connected()
    await asyncio.sleep(0.05)
    assert [len(samples_of(batch)) for batch in rig.batches[BACKLOG_BATCHES:]] == [2]
    rig.now_s = 7.1
    rig.sender.connected()

    await rig.has_sent(BACKLOG_BATCHES + 4)
    assert rig.batches[BACKLOG_BATCHES + 1] == refused


async def test_what_was_on_its_way_when_the_connection_broke_is_sent_again(rig: Rig) -> None:
    rig.sender.connected()
    await rig.add(3)
    rig.sender.disconnected()
    await rig.add(2)

    rig.sender.connected()

    await until(lambda: len(rig.sent()) == 3 + 5)
    assert [each.seq for each in rig.sent()] == [1, 2, 3, 1, 2, 3, 4, 5]


async def test_what_the_connection_did_not_take_is_not_forgotten(rig: Rig) -> None:
    rig.sender.connected()
    rig.takes = False
    await rig.add(2)

    rig.takes = True

    await until(lambda: len(rig.sent()) == 2)
