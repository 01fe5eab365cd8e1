"""Sets of sequence numbers as sorted ranges, first and last inclusive. Pure numpy."""

import re
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Ranges: TypeAlias = list[tuple[int, int]]

LARGEST: Final = 2**63 - 2
"""Of a sequence number: int8multirange writes the number behind the last one."""
_NUMBERS: Final = re.compile(r"-?\d+")


def ranges_of(numbers: Ints) -> Ranges:
    """The ranges that hold exactly these numbers, which may come in any order and more than once."""
    if numbers.size == 0:
        return []
    ordered = np.sort(numbers)
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    firsts = ordered[np.concatenate(([0], breaks + 1))]
    lasts = ordered[np.concatenate((breaks, [ordered.size - 1]))]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def ranges_by_owner(owner: npt.NDArray[np.int32], numbers: Ints) -> dict[int, Ranges]:
    """The ranges of each owner's numbers, in one pass over all."""
    if numbers.size == 0:
        return {}
    order = np.lexsort((numbers, owner))
    owners, ordered = owner[order], numbers[order]
    breaks = np.flatnonzero((np.diff(owners) != 0) | (np.diff(ordered) > 1))
    starts = np.concatenate(([0], breaks + 1))
    ends = np.concatenate((breaks, [ordered.size - 1]))
    found: dict[int, Ranges] = {}
    rows = zip(owners[starts].tolist(), ordered[starts].tolist(), ordered[ends].tolist(), strict=True)
    for each, first, last in rows:
        found.setdefault(each, []).append((first, last))
    return found


def joined(spans: Ranges) -> Ranges:
    """The same numbers in as few ranges as possible, sorted."""
    found: Ranges = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def contains(ranges: Ranges, numbers: Ints) -> Bools:
    """Which of the numbers lie in the ranges, which are sorted and apart."""
    if not ranges:
        return np.zeros(numbers.size, dtype=np.bool_)
    bounds = np.array(ranges, dtype=np.int64)
    at = np.searchsorted(bounds[:, 0], numbers, side="right") - 1
    inside: Bools = (at >= 0) & (numbers <= bounds[np.maximum(at, 0), 1])
    return inside


def to_multirange(ranges: Ranges) -> str:
    """As PostgreSQL reads an int8multirange."""
    return "{" + ",".join(f"[{first},{last}]" for first, last in ranges) + "}"


def from_multirange(text: str) -> Ranges:
    """As PostgreSQL writes an int8multirange without open ends: `{[1,5),[7,9)}`."""
    bounds = [int(number) for number in _NUMBERS.findall(text)]
    return [(first, end - 1) for first, end in zip(bounds[::2], bounds[1::2], strict=True)]
