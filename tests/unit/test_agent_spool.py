"""The spool keeps what it promised, through a crash too, and counts what it had to give up."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.errors import Invalid
from edge_agent.model import Evicted, Key, Reading, Sample, Stamp
from edge_agent.spool import SpoolFile
from edge_agent.spool_thread import Spool
from overwatt.quantities import Quality

MEGABYTE = 1_048_576
WRITER = """
import sys
from pathlib import Path
from edge_agent.model import Reading, Sample, Stamp
from edge_agent.spool import SpoolFile
spool = SpoolFile(Path(sys.argv[1]), max_bytes=10**9, boot="b")
n = 0
while True:
    samples = [Sample("a", Stamp(n * 10 + i, 0), Reading({"soc_pct": n})) for i in range(10)]
    with spool.transaction():
        rows = spool.append(samples)
    print(spool.epoch, rows[0].key.seq, rows[-1].key.seq, flush=True)
    n += 1
"""


def a_spool(path: Path, *, max_bytes: int = 100 * MEGABYTE, boot: str = "boot-1") -> SpoolFile:
    return SpoolFile(path / "spool.sqlite", max_bytes=max_bytes, boot=boot)


def a_sample(ts_us: int | None = 1_000, *, asset: str = "bess-1", monotonic_us: int = 0) -> Sample:
    return Sample(asset, Stamp(ts_us, monotonic_us), Reading({"active_power_w": 5.0, "soc_pct": 50.0}))


def add(spool: SpoolFile, *samples: Sample) -> list[int]:
    with spool.transaction():
        return [row.key.seq for row in spool.append(samples)]


def delete(spool: SpoolFile, epoch: int, *ranges: tuple[int, int]) -> None:
    with spool.transaction():
        spool.delete(epoch, ranges)


def seqs(spool: SpoolFile) -> list[int]:
    return [row.key.seq for row in spool.read(Key(0, 0), 1_000_000)]


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_row_comes_back_as_it_went_in(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    reading = Reading({"active_power_w": -1.5, "my_metric": 3.0}, Quality.UNCERTAIN)
    add(spool, Sample("bess-1", Stamp(123, 7), reading))

    (row,) = spool.read(Key(0, 0), 10)

    assert (row.asset, row.ts_us, row.quality, row.epoch) == ("bess-1", 123, 1, spool.epoch)
    assert row.values == {1: -1.5, "my_metric": 3.0}


def test_only_what_was_answered_is_deleted(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    add(spool, *(a_sample(n) for n in range(10)))

    delete(spool, spool.epoch, (2, 4), (9, 100))
    delete(spool, spool.epoch + 1, (1, 10))

    assert seqs(spool) == [1, 5, 6, 7, 8]


def test_every_start_has_its_own_epoch_and_leaves_older_rows_theirs(tmp_path: Path) -> None:
    first = a_spool(tmp_path)
    add(first, a_sample(), a_sample())
    old_epoch = first.epoch
    first.close()

    second = a_spool(tmp_path)
    add(second, a_sample())

    rows = second.read(Key(0, 0), 10)
    assert [(row.epoch, row.key.seq) for row in rows] == [(old_epoch, 1), (old_epoch, 2), (second.epoch, 1)]
    assert second.state().lowest == {old_epoch: 1, second.epoch: 1}
    assert 0 < second.epoch < 2**63


def test_birth_names_the_running_epoch_also_when_it_holds_nothing(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    add(spool, a_sample(), a_sample())
    delete(spool, spool.epoch, (1, 2))

    assert spool.state().lowest == {spool.epoch: 3}


def test_a_failed_transaction_leaves_no_hole_in_the_numbers(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    unfit = Sample("bess-1", Stamp(1, 0), Reading({"soc_pct": "none"}))  # type: ignore[dict-item]

    with pytest.raises(ValueError, match="none"):
        add(spool, a_sample(), unfit)

    assert add(spool, a_sample()) == [1]


def test_a_full_spool_gives_up_its_oldest_rows_and_says_which(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, max_bytes=MEGABYTE)
    for start in range(0, 30_000, 500):
        add(spool, *(a_sample(start + n) for n in range(500)))

    state, kept = spool.state(), seqs(spool)

    assert state.bytes <= MEGABYTE
    assert kept == list(range(kept[0], 30_001))
    assert state.evicted == (Evicted(spool.epoch, 1, kept[0] - 1),)
    assert state.evicted_rows + len(kept) == 30_000


def test_declared_loss_counts_no_row_that_was_delivered(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, max_bytes=MEGABYTE)
    add(spool, *(a_sample(n) for n in range(100)))
    delete(spool, spool.epoch, (11, 90))
    while not spool.state().evicted_rows:
        add(spool, *(a_sample(1000 + n) for n in range(500)))

    ranges = sorted((each.first_seq, each.last_seq) for each in spool.state().evicted)

    assert ranges[0] == (1, 10)
    assert ranges[1][0] == 91


def test_undated_rows_wait_and_are_dated_when_trust_comes(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    add(spool, a_sample(None, monotonic_us=500))
    assert seqs(spool) == []

    with spool.transaction():
        assert spool.date(1_000_000) == 1

    (row,) = spool.read(Key(0, 0), 10)
    assert row.ts_us == 1_000_500


def test_undated_rows_of_an_earlier_boot_become_declared_loss(tmp_path: Path) -> None:
    before = a_spool(tmp_path, boot="boot-1")
    add(before, a_sample(None), a_sample(None))
    epoch = before.epoch
    before.close()
    after = a_spool(tmp_path, boot="boot-2")
    add(after, a_sample(None, monotonic_us=5))

    with after.transaction():
        assert after.date(100) == 1

    assert after.state().evicted == (Evicted(epoch, 1, 2),)
    assert [row.ts_us for row in after.read(Key(0, 0), 10)] == [105]


def test_a_second_agent_on_the_same_spool_is_refused(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)

    with pytest.raises(Invalid, match="is in use by another agent"):
        a_spool(tmp_path)
    spool.close()


def test_a_file_that_is_no_spool_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_text("something else entirely " * 100)

    with pytest.raises(Invalid, match="is not a spool"):
        a_spool(tmp_path)
    assert path.read_text().startswith("something else")


@pytest.mark.parametrize("attempt", range(3))
def test_a_kill_in_the_middle_of_writing_loses_nothing_that_was_promised(
    tmp_path: Path, attempt: int
) -> None:
    path = tmp_path / "spool.sqlite"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    promised = [process.stdout.readline().split()]
    time.sleep(random.Random(attempt).uniform(0.05, 0.3))
    process.kill()
    promised += [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 2]
    process.wait()

    spool = SpoolFile(path, max_bytes=10**9, boot="b")
    rows = spool.read(Key(0, 0), 10**7)

    last = int(promised[-1][2])
    found = [row.key.seq for row in rows]
    assert found == list(range(1, len(found) + 1))  # no hole, no double
    assert last <= len(found) <= last + 20  # and at most what was committed but not yet told
    assert {row.epoch for row in rows} == {int(promised[0][0])}


async def test_what_waits_at_the_same_time_shares_a_commit_and_a_fault_hits_only_its_own(
    tmp_path: Path,
) -> None:
    async with Spool(a_spool(tmp_path)) as spool:
        good = [spool.append([a_sample(n)]) for n in range(20)]
        bad = spool.append([Sample("a", Stamp(1, 0), Reading({"soc_pct": "none"}))])  # type: ignore[dict-item]

        results = await asyncio.gather(*good, bad, return_exceptions=True)

        assert isinstance(results[-1], ValueError)
        assert sorted(rows[0].key.seq for rows in results[:-1]) == list(range(1, 21))  # type: ignore[index]
        assert (await spool.state()).rows == 20


async def test_a_wiped_spool_leaves_nothing_on_the_disk_and_goes_on(tmp_path: Path) -> None:
    """P-056, H-022: the names of a person's assets and their values are gone from file and log."""
    file = a_spool(tmp_path)
    async with Spool(file) as spool:
        await spool.append([a_sample(asset="the-attic-of-jane") for _ in range(2_000)])
        assert b"the-attic-of-jane" in on_disk(tmp_path)

        await spool.wipe()

        left = on_disk(tmp_path)
        state = await spool.state()
        rows = await spool.append([a_sample()])

    assert b"the-attic-of-jane" not in left
    assert (state.rows, state.evicted_rows) == (0, 0)
    assert [(row.epoch, row.key.seq) for row in rows] == [(file.epoch, 2_001)]
