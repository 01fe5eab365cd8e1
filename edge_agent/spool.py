"""The spool file: samples stay here until the cloud has them. SQLite, write-ahead log, full sync.

A row keeps the epoch that it was written under; `seq` rises from 1 within it. When the file outgrows its
bound the oldest rows go first, and what went is counted and remembered by range: declared loss.
Everything here blocks; `spool_thread` calls it off the event loop.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.errors import Invalid
from edge_agent.model import Evicted, Key, Row, Sample, SpoolState
from overwatt.quantities import BY_NAME

EVICT_AT_ONCE: Final = 256
REPORTED_RANGES: Final = 100
KEPT_RANGES: Final = 1000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS run (run INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS sample (
  run INTEGER NOT NULL, seq INTEGER NOT NULL, asset TEXT NOT NULL,
  ts_us INTEGER, boot TEXT, monotonic_us INTEGER,
  quality INTEGER NOT NULL, readings BLOB NOT NULL, PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS undated ON sample (boot) WHERE ts_us IS NULL;
CREATE TABLE IF NOT EXISTS evicted (
  run INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  PRIMARY KEY (run, first_seq)) WITHOUT ROWID;
"""
_INSERT: Final = "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ROWS: Final = """
SELECT run, seq, epoch, asset, ts_us, quality, readings FROM sample JOIN run USING (run)
WHERE (run, seq) > (?, ?) AND ts_us IS NOT NULL ORDER BY run, seq LIMIT ?"""
_LOWEST: Final = "SELECT epoch, min(seq) FROM sample JOIN run USING (run) GROUP BY run"
_EVICTED: Final = """
SELECT epoch, first_seq, last_seq FROM evicted JOIN run USING (run)
ORDER BY run DESC, first_seq DESC LIMIT ?"""
_decode = msgspec.msgpack.Decoder(dict[int | str, float]).decode


def random_epoch() -> int:
    """63 bits, so that it fits a signed bigint; never 0."""
    return secrets.randbits(63) or 1


class SpoolFile:
    """One run of an agent on its file; a second process is refused."""

    def __init__(
        self, path: Path, *, max_bytes: int, boot: str, draw_epoch: Callable[[], int] = random_epoch
    ) -> None:
        self._max_bytes = max_bytes
        self._boot = boot
        self._db = _open(path)
        with self.transaction():
            self._db.execute(
                """DELETE FROM run WHERE run NOT IN (SELECT run FROM sample)
                   AND run NOT IN (SELECT run FROM evicted)"""
            )
            self.epoch = draw_epoch()
            cursor = self._db.execute("INSERT INTO run (epoch) VALUES (?)", (self.epoch,))
            self._run = int(cursor.lastrowid or 0)
        self._next_seq = 1
        self._is_wiped = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on the disk when the block has ended."""
        next_seq = getattr(self, "_next_seq", 1)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
            if getattr(self, "_is_wiped", False):
                self._shrink()
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._next_seq = next_seq
            raise

    def append(self, samples: Iterable[Sample]) -> list[Row]:
        """Take over samples; makes room by eviction."""
        rows = [self._row(sample, seq) for seq, sample in enumerate(samples, self._next_seq)]
        self._next_seq += len(rows)
        self._db.executemany(_INSERT, [columns for _, columns in rows])
        while self.used_bytes() > self._max_bytes and self._evict_oldest():
            pass
        return [row for row, _ in rows]

    def delete(self, epoch: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Rows that the cloud has, or never wants; unknown ones are no error."""
        self._db.executemany(
            """DELETE FROM sample WHERE run = (SELECT run FROM run WHERE epoch = ?)
               AND seq BETWEEN ? AND ?""",
            [(epoch, first, last) for first, last in ranges],
        )

    def wipe(self) -> None:
        """Everything, also from the disk's pages and the log; this is not a loss to be declared."""
        self._db.execute("PRAGMA secure_delete = ON")
        self._db.execute("DELETE FROM sample")
        self._db.execute("DELETE FROM evicted")
        self._db.execute("DELETE FROM run WHERE run <> ?", (self._run,))
        self._is_wiped = True

    def read(self, after: Key, limit: int) -> list[Row]:
        """Dated rows behind a place, oldest first."""
        return [
            Row(Key(run, seq), epoch, asset, ts_us, quality, _decode(blob))
            for run, seq, epoch, asset, ts_us, quality, blob in self._db.execute(_ROWS, (*after, limit))
        ]

    def date(self, offset_us: int) -> int:
        """Give rows of this boot their wall time; answers how many.

        Rows of an earlier boot can never be dated: they are given up, as declared loss.
        """
        lost = self._db.execute(
            "SELECT run, seq FROM sample WHERE ts_us IS NULL AND boot <> ? ORDER BY run, seq", (self._boot,)
        ).fetchall()
        self._give_up([Key(*row) for row in lost])
        return self._db.execute(
            "UPDATE sample SET ts_us = monotonic_us + ? WHERE ts_us IS NULL AND boot = ?",
            (offset_us, self._boot),
        ).rowcount

    def state(self) -> SpoolState:
        lowest = dict(self._db.execute(_LOWEST))
        lowest.setdefault(self.epoch, self._next_seq)
        (rows,) = self._db.execute("SELECT count(*) FROM sample").fetchone()
        (evicted_rows,) = self._db.execute(
            "SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM evicted"
        ).fetchone()
        evicted = tuple(Evicted(*row) for row in self._db.execute(_EVICTED, (REPORTED_RANGES,)))
        return SpoolState(rows, self.used_bytes(), evicted_rows, evicted, lowest)

    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def close(self) -> None:
        self._db.close()

    def _shrink(self) -> None:
        """After a wipe, outside of any transaction: nothing old stays in the files."""
        self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._is_wiped = False

    def _row(self, sample: Sample, seq: int) -> tuple[Row, tuple[object, ...]]:
        values: dict[int | str, float] = {
            BY_NAME[name].number if name in BY_NAME else name: float(value)
            for name, value in sample.reading.values.items()
        }
        stamp, quality = sample.stamp, int(sample.reading.quality)
        row = Row(Key(self._run, seq), self.epoch, sample.asset, stamp.wall_us, quality, values)
        undated = stamp.wall_us is None
        boot, monotonic_us = (self._boot, stamp.monotonic_us) if undated else (None, None)
        blob = msgspec.msgpack.encode(values)
        return row, (self._run, seq, sample.asset, stamp.wall_us, boot, monotonic_us, quality, blob)

    def _evict_oldest(self) -> bool:
        oldest = self._db.execute(
            "SELECT run, seq FROM sample ORDER BY run, seq LIMIT ?", (EVICT_AT_ONCE,)
        ).fetchall()
        self._give_up([Key(*row) for row in oldest])
        return bool(oldest)

    def _give_up(self, keys: Sequence[Key]) -> None:
        """Delete rows and remember them as ranges; the newest range grows where they join on."""
        self._db.executemany("DELETE FROM sample WHERE run = ? AND seq = ?", keys)
        for run, first, last in _ranges(keys):
            joined = self._db.execute(
                "UPDATE evicted SET last_seq = ? WHERE run = ? AND last_seq = ?", (last, run, first - 1)
            )
            if not joined.rowcount:
                self._db.execute("INSERT OR REPLACE INTO evicted VALUES (?, ?, ?)", (run, first, last))
        if keys:
            self._db.execute(
                """DELETE FROM evicted WHERE (run, first_seq) <=
                   (SELECT run, first_seq FROM evicted ORDER BY run DESC, first_seq DESC LIMIT 1 OFFSET ?)""",
                (KEPT_RANGES,),
            )


def _ranges(keys: Iterable[Key]) -> Iterator[tuple[int, int, int]]:
    """Runs with first and last seq of what is contiguous."""
    current: tuple[int, int, int] | None = None
    for run, seq in keys:
        if current and current[0] == run and current[2] + 1 == seq:
            current = (run, current[1], seq)
            continue
        if current:
            yield current
        current = (run, seq, seq)
    if current:
        yield current


def _open(path: Path) -> sqlite3.Connection:
    """Raises Invalid for a place that cannot be used, or that another agent uses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, timeout=2.0, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise Invalid(
            f"SPOOL_PATH {path} cannot be opened: {error}; name a file that can be written"
        ) from error
    try:
        # One agent a file: a second one is refused here, and readers need no shared memory.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 4194304")
        db.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        db.close()
        if "locked" in str(error):
            raise Invalid(f"SPOOL_PATH {path} is in use by another agent; give each agent its own") from error
        raise Invalid(f"SPOOL_PATH {path} is not a spool: {error}; move it away or name another") from error
    return db
