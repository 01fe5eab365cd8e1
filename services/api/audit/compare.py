"""Whether the audit log is still the one that was seen: what its heads were, against what it says now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """So many sealed rows, and the hash of the last; `source` saw it."""

    count: int
    hash: str
    source: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A row of the table."""

    seq: int
    hash: str


def contradiction(heads: Sequence[Head], rows: Mapping[int, Sealed], length: int) -> str | None:
    """The first row that is not the one that was seen, in a sentence; None where all agree.

    `rows` has the row at each head's position, as far as the table goes; `length` is that of the table.
    """
    agreed = 0
    for head in sorted(heads):
        if head.count == 0:
            continue
        if head.count > length:
            return f"row {length + 1} of the chain is missing: {head.source} saw {head.count} rows"
        row = rows[head.count]
        if row.hash != head.hash:
            first = (
                f"row {agreed + 1} of the chain"
                if agreed + 1 == head.count
                else (f"a row between {agreed + 1} and {head.count} of the chain")
            )
            return f"{first} (seq up to {row.seq}) is not the one that {head.source} saw"
        agreed = head.count
    return None
