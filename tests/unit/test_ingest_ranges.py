"""Ranges of sequence numbers against sets of integers."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.ranges import contains, from_multirange, ranges_by_owner, ranges_of, to_multirange

numbers = st.lists(st.integers(1, 60), max_size=40)


def expand(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(numbers)
def test_ranges_hold_exactly_the_numbers_and_lie_apart(given: list[int]) -> None:
    ranges = ranges_of(np.array(given, dtype=np.int64))

    assert expand(ranges) == set(given)
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(ranges))


@given(numbers, numbers)
def test_membership_is_that_of_the_set(held: list[int], asked: list[int]) -> None:
    found = contains(ranges_of(np.array(held, dtype=np.int64)), np.array(asked, dtype=np.int64))

    assert found.tolist() == [number in set(held) for number in asked]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=40))
def test_each_owner_has_the_ranges_of_its_own_numbers(pairs: list[tuple[int, int]]) -> None:
    owner = np.array([pair[0] for pair in pairs], dtype=np.int32)
    found = ranges_by_owner(owner, np.array([pair[1] for pair in pairs], dtype=np.int64))

    for each in range(4):
        assert expand(found.get(each, [])) == {number for who, number in pairs if who == each}


def test_multiranges_are_written_and_read_as_postgresql_does() -> None:
    assert to_multirange([(1, 4), (7, 7)]) == "{[1,4],[7,7]}"
    assert from_multirange("{[1,5),[7,8)}") == [(1, 4), (7, 7)]
    assert from_multirange("{}") == []
