"""What comes from disk and what is in memory become one, and read columns are in order whatever the rows' order was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.labels import Labels
from obskit.store.packing import blank
from obskit.store.parts import EMPTY, Part, merged
from obskit.store.rounds import Round, by_slot, joined

Counts = dict[int, int]


def part(counts: Counts, begin_ms: int) -> Part:
    """So many samples of each series, a millisecond apart."""
    times = [np.arange(begin_ms, begin_ms + count) for count in counts.values()]
    flat = np.concatenate([np.zeros(0, np.int64), *times])
    labels = tuple(Labels({"id": str(number)}) for number in counts)
    ids, sizes = np.array([*counts], np.int64), np.array([*counts.values()], np.int64)
    return Part(ids, labels, sizes, flat, flat * 0.5)


series = st.dictionaries(st.integers(1, 9), st.integers(1, 12_000), max_size=6).map(
    lambda one: dict(sorted(one.items()))
)


@settings(max_examples=60, deadline=None)
@given(series, series)
def test_each_series_has_its_older_samples_before_its_newer_ones(before: Counts, after: Counts) -> None:
    found = merged(part(before, 0), part(after, 50_000))
    assert found.ids.tolist() == sorted(before | after)
    assert [labels.get("id") for labels in found.labels] == [str(number) for number in sorted(before | after)]
    assert found.counts.tolist() == [before.get(number, 0) + after.get(number, 0) for number in sorted(before | after)]
    expected = [
        np.concatenate([np.arange(before.get(number, 0)), 50_000 + np.arange(after.get(number, 0))])
        for number in sorted(before | after)
    ]
    assert (found.times_ms == np.concatenate([np.zeros(0, np.int64), *expected])).all()
    assert (found.values == found.times_ms * 0.5).all()


def test_the_labels_are_the_same_object_while_the_same_series_are_in_memory() -> None:
    newer = part({1: 2, 2: 2}, 100)
    assert merged(part({1: 3}, 0), newer).labels is newer.labels
    assert merged(EMPTY, newer) is newer


@pytest.mark.parametrize("far", [1, 1 << 20])
def test_samples_are_ordered_by_series_and_time_and_equals_stay_as_they_came(far: int) -> None:
    given_rows = Round(np.array([2, 1, 2, 1, 2]) * far, np.array([5, 9, 5, 3, 4]), np.array([1.0, 2, 3, 4, 5]))
    ordered = given_rows.ordered()
    assert (ordered.slots // far).tolist() == [1, 1, 2, 2, 2]
    assert ordered.times_ms.tolist() == [3, 9, 4, 5, 5]
    assert ordered.values.tolist() == [4, 2, 5, 1, 3]


@pytest.mark.parametrize("far", [1, 1 << 20])
@pytest.mark.parametrize("times", [[5, 3, 6, 9, 7], [5, 9, 5, 3, 4], [5, 9, 5, 9, 5]])
def test_samples_by_slot_are_in_order_and_of_a_repeated_time_the_first_stays(times: list[int], far: int) -> None:
    slots = [2, 1, 2, 1, 2]
    found = by_slot(Round(np.array(slots) * far, np.array(times), np.arange(5.0)))
    first: dict[tuple[int, int], float] = {}
    for key, value in zip(zip(slots, times, strict=True), range(5), strict=True):
        first.setdefault(key, value)
    expected = sorted(first.items())
    assert (found.slots // far).tolist() == [1, 2]
    assert found.counts.tolist() == [sum(slot == which for (slot, _), _ in expected) for which in (1, 2)]
    assert found.times_ms.tolist() == [t_ms for (_, t_ms), _ in expected]
    assert found.values.tolist() == [value for _, value in expected]


def test_no_samples_are_of_no_slot() -> None:
    assert [len(column) for column in by_slot(joined([]))] == [0, 0, 0, 0]


@pytest.mark.parametrize("length", [0, 3, 100_000, 3_000_000])
def test_blank_columns_are_of_the_length_that_was_asked_for(length: int) -> None:
    columns = blank(3, length)
    assert columns.shape == (3, length)
    assert columns.flags.c_contiguous
