from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.collect import Overlap
from obskit.errors import CollectorError

S = 1_000_000_000
NOW_NS = 1_700_000_000 * S


def took(overlap: Overlap, *lines: tuple[int, str], now_ns: int = NOW_NS) -> tuple[Overlap, list[int]]:
    return overlap.take(lines, now_ns)


def test_the_next_read_begins_before_the_newest_line() -> None:
    overlap, new = took(Overlap(30 * S), (NOW_NS - 2 * S, "a"), (NOW_NS - 5 * S, "b"))
    assert new == [0, 1]
    assert overlap.since_ns == NOW_NS - 32 * S
    assert Overlap(30 * S).since_ns is None


def test_a_line_is_taken_once_wherever_it_comes_again() -> None:
    overlap, new = took(Overlap(30 * S), (NOW_NS, "a"), (NOW_NS, "a"), (NOW_NS, "b"))
    assert new == [0, 2]
    assert took(overlap, (NOW_NS, "b"), (NOW_NS, "c"), (NOW_NS, "a"))[1] == [1]


def test_a_late_line_within_the_stretch_is_new_and_an_older_one_is_taken_for_known() -> None:
    overlap, _ = took(Overlap(30 * S), (NOW_NS, "a"))
    assert took(overlap, (NOW_NS - 30 * S, "late"), (NOW_NS - 30 * S - 1, "too late"))[1] == [0]


def test_a_time_in_the_future_does_not_move_the_next_read() -> None:
    overlap, new = took(Overlap(30 * S), (NOW_NS + 3600 * S, "skewed"))
    assert new == [0]
    assert overlap.newest_ns == NOW_NS
    assert took(overlap, (NOW_NS + S, "b"), (NOW_NS + 3600 * S, "skewed"), now_ns=NOW_NS + S)[1] == [0]


def test_it_stays_as_it_was_when_nothing_is_new() -> None:
    overlap, _ = took(Overlap(S), (NOW_NS, "a"))
    assert took(overlap, (NOW_NS, "a"))[0] is overlap
    assert took(overlap)[0] is overlap


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"newest_ns":"x","taken":{}}', '{"newest_ns":1,"taken":{"1":"?"}}']
)
def test_a_cursor_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(CollectorError, match="cursor"):
        Overlap.read(text, S)


def test_a_cursor_of_nothing_is_read_as_nothing() -> None:
    assert Overlap.read(Overlap(S).text(), S) == Overlap(S)


def test_a_cursor_grows_by_a_few_bytes_a_line() -> None:
    overlap, _ = took(Overlap(60 * S), *((NOW_NS - n * 10_000_000, str(n)) for n in range(6000)))
    assert len(overlap) == 6000
    assert len(overlap.text()) < 6000 * 12
    assert json.loads(overlap.text())["newest_ns"] == NOW_NS


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=60),
    st.lists(st.integers(1, 7), min_size=1, max_size=30),
    st.booleans(),
)
def test_reads_in_any_pieces_with_restarts_take_each_line_once(
    shown: list[tuple[int, int]], sizes: list[int], restarts: bool
) -> None:
    """Lines come at most 20 s late, and each page begins again at most 20 s back."""
    lines = [(NOW_NS + second * S, str(line)) for second, line in shown]
    overlap = Overlap(20 * S)
    taken: list[tuple[int, str]] = []
    start = 0
    for size in [*sizes, len(lines)]:
        page = [line for line in lines[: start + size] if line[0] >= (overlap.since_ns or 0)]
        overlap, new = overlap.take(page, NOW_NS + 100 * S)
        taken += [page[position] for position in new]
        start += size
        if restarts:
            overlap = Overlap.read(overlap.text() if overlap.newest_ns is not None else None, 20 * S)
    assert sorted(taken) == sorted(set(lines))
