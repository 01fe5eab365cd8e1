"""What agents spooled, written down where the product cannot forget it, and compared with the database.

The ledger is a table that a trigger fills inside the spool file, in the agent's own transaction: a row
stands in it exactly if the agent has committed it to its spool, whatever is killed afterwards. A sample
that was taken before the agent could trust its clock is dated later, there and here.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from edge_agent.spool import SpoolFile
from overwatt.quantities import BY_NUMBER, COLUMNS

_LEDGER: Final = """
CREATE TABLE ledger (epoch INTEGER, seq INTEGER, asset TEXT, ts_us INTEGER, quality INTEGER, readings BLOB);
CREATE TRIGGER written_down AFTER INSERT ON sample BEGIN
  INSERT INTO ledger SELECT epoch, NEW.seq, NEW.asset, NEW.ts_us, NEW.quality, NEW.readings
  FROM run WHERE run = NEW.run;
END;
CREATE TRIGGER dated AFTER UPDATE OF ts_us ON sample BEGIN
  UPDATE ledger SET ts_us = NEW.ts_us
  WHERE seq = NEW.seq AND epoch = (SELECT epoch FROM run WHERE run = NEW.run);
END;
CREATE INDEX ledger_row ON ledger (epoch, seq);
"""
_LEFT: Final = "SELECT asset, ts_us FROM sample"
_ROWS: Final = f"""
select d.device_id, (extract(epoch from t.ts) * 1000000)::bigint as ts_us, t.quality, {", ".join(COLUMNS)}
from telemetry t join device d using (device_key)
"""
_OTHERS: Final = """
select d.device_id, (extract(epoch from o.ts) * 1000000)::bigint as ts_us, s.metric, o.value
from telemetry_other o join telemetry_series s using (series_id) join device d using (device_key)
"""

Key = tuple[str, int | None]
"""Asset and microseconds since 1970; no time: the agent could not trust its clock yet."""
Sample = tuple[str, int, int, frozenset[tuple[str, float]]]
"""Asset, microseconds since 1970, quality, and the values by name."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What differs, by (asset, ts_us)."""

    lost: Sequence[tuple[str, int]]
    doubled: Sequence[tuple[str, int]]
    changed: Sequence[tuple[str, int]]
    foreign: Sequence[tuple[str, int]]

    @property
    def is_clean(self) -> bool:
        """Nothing differs."""
        return not (self.lost or self.doubled or self.changed or self.foreign)


def arm(spool: Path) -> None:
    """Make a spool file that keeps a ledger; to be called before its agent starts."""
    SpoolFile(spool, max_bytes=1_000_000_000, boot="ledger").close()
    with sqlite3.connect(spool) as db:
        db.executescript(_LEDGER)
    db.close()


def read(spool: Path) -> list[Sample]:
    """All that was ever spooled; the agent must have ended."""
    found = _fetch(spool, "SELECT asset, ts_us, quality, readings FROM ledger")
    return [(asset, ts_us, quality, _values(blob)) for asset, ts_us, quality, blob in found]


def left_in_spool(spool: Path) -> list[Key]:
    """What the agent still holds; it must have ended."""
    return _fetch(spool, _LEFT)


async def stored(connection: "asyncpg.Connection[Any]") -> list[Sample]:
    """All that the database holds, in the ledger's form."""
    others: dict[tuple[str, int], list[tuple[str, float]]] = defaultdict(list)
    for device, ts_us, metric, value in await connection.fetch(_OTHERS):
        others[device, ts_us].append((metric, value))
    return [
        (
            row["device_id"],
            row["ts_us"],
            row["quality"],
            frozenset(
                [(name, row[name]) for name in COLUMNS if row[name] is not None]
                + others.get((row["device_id"], row["ts_us"]), [])
            ),
        )
        for row in await connection.fetch(_ROWS)
    ]


def compare(spooled: Iterable[Sample], found: Iterable[Sample]) -> Findings:
    """The checker: every spooled sample once, with its values, and nothing else."""
    expected: Mapping[tuple[str, int], Sample] = {(sample[0], sample[1]): sample for sample in spooled}
    counted: Counter[tuple[str, int]] = Counter()
    changed = []
    for sample in found:
        key = (sample[0], sample[1])
        counted[key] += 1
        if key in expected and expected[key] != sample:
            changed.append(key)
    return Findings(
        lost=[key for key in expected if key not in counted],
        doubled=[key for key, times in counted.items() if times > 1],
        changed=changed,
        foreign=[key for key in counted if key not in expected],
    )


def _fetch(spool: Path, query: str) -> list[Any]:
    db = sqlite3.connect(spool)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def _values(blob: bytes) -> frozenset[tuple[str, float]]:
    readings: dict[int | str, float] = msgspec.msgpack.decode(blob, type=dict[int | str, float])
    return frozenset(
        (BY_NUMBER[name].name if isinstance(name, int) else name, value) for name, value in readings.items()
    )
