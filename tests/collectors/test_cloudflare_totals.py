"""Counters out of what was counted in each minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit_collectors.cloudflare_totals import FORGOTTEN_MS, MINUTE_MS, OVERLAP_MS, Totals

START = 1_790_929_200_000
ERRORS = Labels({"__name__": "errors_total"})
OTHERS = Labels({"__name__": "others_total"})


def minute(number: int) -> int:
    return START + number * MINUTE_MS


def shown(samples: object) -> list[tuple[int, float]]:
    return [((sample.t_ms - START) // MINUTE_MS, sample.value) for sample in samples]  # type: ignore[attr-defined]  # Samples


def test_a_new_series_has_a_zero_before_its_first_sample() -> None:
    _, samples = Totals(minute(0)).advance([(minute(0), ERRORS, 5.0)], minute(1))
    assert shown(samples) == [(0, 0.0), (1, 5.0)]


def test_a_minute_without_rows_repeats_the_total() -> None:
    totals, _ = Totals(minute(0)).advance([(minute(0), ERRORS, 5.0)], minute(1))
    _, samples = totals.advance([], minute(3))
    assert shown(samples) == [(2, 5.0), (3, 5.0)]


def test_rows_of_one_series_and_minute_are_summed() -> None:
    _, samples = Totals(minute(0)).advance([(minute(0), ERRORS, 5.0), (minute(0), ERRORS, 2.0)], minute(1))
    assert shown(samples) == [(0, 0.0), (1, 7.0)]


def test_what_an_old_minute_grew_by_is_added_to_the_next_sample() -> None:
    totals, _ = Totals(minute(0)).advance([(minute(0), ERRORS, 5.0)], minute(1))
    _, samples = totals.advance([(minute(0), ERRORS, 8.0), (minute(1), ERRORS, 1.0)], minute(2))
    assert shown(samples) == [(2, 9.0)]


def test_an_estimate_that_shrinks_leaves_the_total_where_it_is() -> None:
    totals, _ = Totals(minute(0)).advance([(minute(0), ERRORS, 5.0)], minute(1))
    totals, samples = totals.advance([(minute(0), ERRORS, 3.0)], minute(2))
    assert shown(samples) == [(2, 5.0)]
    _, samples = totals.advance([(minute(0), ERRORS, 6.0)], minute(3))
    assert shown(samples) == [(3, 6.0)]


def test_nothing_is_counted_while_no_new_minute_settled() -> None:
    totals = Totals(minute(1))
    assert totals.advance([(minute(0), ERRORS, 5.0)], minute(1)) == (totals, totals.advance([], minute(1))[1])


def test_rows_of_minutes_that_are_not_asked_for_do_not_count() -> None:
    rows = [(minute(5), ERRORS, 1.0), (minute(0) - OVERLAP_MS - MINUTE_MS, ERRORS, 1.0)]
    _, samples = Totals(minute(0)).advance(rows, minute(1))
    assert shown(samples) == []


def test_a_series_that_did_not_grow_for_a_day_ends() -> None:
    totals, _ = Totals(minute(0)).advance([(minute(0), ERRORS, 5.0)], minute(1))
    totals, _ = totals.skipped_to(START + FORGOTTEN_MS).advance([], START + FORGOTTEN_MS + MINUTE_MS)
    _, samples = totals.advance([], START + FORGOTTEN_MS + 2 * MINUTE_MS)
    assert len(samples) == 0


def test_skipped_minutes_are_behind_us() -> None:
    assert Totals(minute(0)).skipped_to(minute(9)).until_ms == minute(9)
    assert Totals(minute(9)).skipped_to(minute(0)).until_ms == minute(9)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"until_ms": 1, "series": [[1]], "minutes": {}}', "\ud800"])
def test_a_cursor_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(CollectorError, match="cursor"):
        Totals.read(text, 0)


COUNTS = st.lists(
    st.tuples(st.integers(0, 11).map(minute), st.sampled_from([ERRORS, OTHERS]), st.integers(0, 9).map(float)),
    max_size=30,
)


@given(COUNTS, st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data())
def test_however_often_it_is_asked_and_restarted_the_total_is_what_was_counted(
    rows: list[tuple[int, Labels, float]], stops: list[int], data: st.DataObject
) -> None:
    """Earlier answers show a part of each row; the last one, which is about minutes of the overlap, all of it."""
    totals = Totals(minute(0))
    for stop in sorted({*stops, 12}):
        share = 1.0 if stop == 12 else data.draw(st.sampled_from([0.0, 0.5, 1.0]))
        seen = [(at, labels, float(int(value * share))) for at, labels, value in rows]
        totals, samples = Totals.read(totals.text(), 0).advance(seen, minute(stop))
    newest = {sample.labels: sample.value for sample in samples if sample.t_ms == minute(12)}
    for labels in (ERRORS, OTHERS):
        assert newest.get(labels, 0.0) == sum(value for _, series, value in rows if series == labels)
