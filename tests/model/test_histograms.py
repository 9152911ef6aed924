"""Native histograms: what one is, and the arithmetic of several."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.histogram_arithmetic import (
    aligned,
    difference,
    following_hint,
    is_reset,
    mean,
    total,
    with_schema,
    with_zero_threshold,
)
from obskit.model.histogram_json import as_json
from obskit.model.histograms import (
    MAX_SCHEMA,
    MIN_SCHEMA,
    NativeHistogram,
    ResetHint,
    exponential_bound,
    from_spans,
    running,
)

# Counts are whole numbers: sums of them are exact, so that properties are equalities.
counts = st.integers(0, 1_000).map(float)
sides = st.dictionaries(st.integers(-20, 20), counts, max_size=6)


@st.composite
def exponentials(draw: st.DrawFn) -> NativeHistogram:
    positive, negative, zero_count = draw(sides), draw(sides), draw(counts)
    return NativeHistogram.exponential(
        draw(st.integers(MIN_SCHEMA, MAX_SCHEMA)),
        count=math.fsum([*positive.values(), *negative.values(), zero_count]),
        sum=float(draw(st.integers(-1_000, 1_000))),
        zero=(draw(st.sampled_from([0.0, 0.001, 0.5, 3.0])), zero_count),
        positive=positive,
        negative=negative,
    )


@st.composite
def customs(draw: st.DrawFn) -> NativeHistogram:
    bounds = sorted(draw(st.sets(st.integers(-5, 10).map(float), max_size=6)))
    buckets = draw(st.dictionaries(st.integers(0, len(bounds)), counts))
    return NativeHistogram.custom(
        bounds, count=math.fsum(buckets.values()), sum=float(draw(st.integers(-99, 99))), buckets=buckets
    )


alike = st.one_of(st.lists(exponentials(), min_size=2, max_size=5), st.lists(customs(), min_size=2, max_size=5))


def observations(one: NativeHistogram) -> float:
    return math.fsum([*one.positive.values(), *one.negative.values(), one.zero_count])


def added(histograms: list[NativeHistogram]) -> NativeHistogram:
    found = total(histograms)
    assert found is not None
    return found.histogram


@given(alike)
@settings(max_examples=150)
def test_a_sum_does_not_depend_on_the_order(histograms: list[NativeHistogram]) -> None:
    assert added(histograms) == added(histograms[::-1])


@given(alike)
@settings(max_examples=150)
def test_a_sum_keeps_every_observation(histograms: list[NativeHistogram]) -> None:
    sum_of_all = added(histograms)
    assert sum_of_all.count == sum(one.count for one in histograms)
    assert sum_of_all.sum == sum(one.sum for one in histograms)
    assert observations(sum_of_all) == sum_of_all.count


@given(alike)
@settings(max_examples=150)
def test_what_was_added_can_be_taken_away_again(histograms: list[NativeHistogram]) -> None:
    one, other = aligned(histograms[:2])
    found = difference(added([one, other]), other)
    assert found is not None
    assert found.histogram == one
    assert found.histogram.is_gauge


@given(st.lists(exponentials(), min_size=2, max_size=4))
@settings(max_examples=150)
def test_aligned_histograms_have_one_layout_and_all_their_observations(histograms: list[NativeHistogram]) -> None:
    found = aligned(histograms)
    assert len({(one.schema, one.zero_threshold) for one in found}) == 1
    assert [observations(one) for one in found] == [observations(one) for one in histograms]


@given(exponentials(), st.integers(0, 6), st.integers(0, 6))
def test_a_schema_lowered_in_two_steps_is_the_same_as_in_one(one: NativeHistogram, first: int, second: int) -> None:
    low = max(MIN_SCHEMA, one.schema - first - second)
    between = max(low, one.schema - first)
    assert with_schema(with_schema(one, between), low) == with_schema(one, low)


@given(exponentials(), st.floats(0.001, 100))
def test_a_wider_zero_bucket_ends_where_a_bucket_ends(one: NativeHistogram, threshold: float) -> None:
    wide = with_zero_threshold(one, one.zero_threshold + threshold)
    assert observations(wide) == observations(one)
    assert all(wide.bound(index - 1) >= wide.zero_threshold for index in (*wide.positive, *wide.negative))


@given(st.lists(exponentials(), min_size=1, max_size=4))
def test_the_mean_times_the_number_is_the_sum(histograms: list[NativeHistogram]) -> None:
    found = mean(histograms)
    assert found is not None
    assert found.histogram.count * len(histograms) == pytest.approx(added(histograms).count)


@given(exponentials(), exponentials())
def test_a_counter_that_only_grew_was_not_reset(one: NativeHistogram, more: NativeHistogram) -> None:
    before, step = aligned([one, more])
    assert not is_reset(added([before, step]), before)


def exponential(
    positive: Mapping[int, float], schema: int = 0, hint: ResetHint = ResetHint.UNKNOWN, zero: float = 0.0
) -> NativeHistogram:
    made = NativeHistogram.exponential(
        schema, count=math.fsum(positive.values()), sum=1.0, zero=(zero, 0.0), positive=positive
    )
    return made.hinted(hint)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (exponential({0: 1, 1: 2}), exponential({0: 1, 1: 3}), False),
        (exponential({0: 1, 1: 2}), exponential({0: 0, 1: 5}), True),
        (exponential({0: 5}), exponential({0: 4}), True),
        (exponential({0: 5}), exponential({0: 4}, hint=ResetHint.NOT_RESET), False),
        (exponential({0: 5}), exponential({0: 6}, hint=ResetHint.RESET), True),
        (exponential({1: 1, 2: 1}, schema=1), exponential({1: 2}), False),
        (exponential({1: 2}), exponential({1: 1, 2: 1}, schema=1), True),
        (exponential({0: 1}, zero=0.5), exponential({0: 1}), True),
        (exponential({0: 1}), exponential({1: 3}, zero=1.0), True),
        (NativeHistogram.custom([1, 2], count=1, sum=0, buckets={0: 1}), exponential({0: 1}), True),
        (
            NativeHistogram.custom([1, 2, 4], count=3, sum=0, buckets={0: 1, 1: 1, 2: 1}),
            NativeHistogram.custom([2, 4], count=3, sum=0, buckets={0: 2, 1: 1}),
            False,
        ),
        (
            NativeHistogram.custom([1, 2, 4], count=3, sum=0, buckets={0: 1, 1: 1, 2: 1}),
            NativeHistogram.custom([2, 4], count=3, sum=0, buckets={0: 1, 1: 2}),
            True,
        ),
    ],
)
def test_a_reset_is_a_count_that_fell_or_a_finer_layout(
    before: NativeHistogram, now: NativeHistogram, *, expected: bool
) -> None:
    assert is_reset(now, before) is expected


@pytest.mark.parametrize(
    ("previous", "current", "hint"),
    [
        (None, exponential({0: 1}), ResetHint.UNKNOWN),
        (exponential({0: 1}), exponential({0: 2}), ResetHint.NOT_RESET),
        (exponential({0: 2}), exponential({0: 1}), ResetHint.RESET),
        (exponential({0: 1}), exponential({0: 2}, schema=1), ResetHint.UNKNOWN),
        (exponential({0: 1}), exponential({0: 2}, hint=ResetHint.GAUGE), ResetHint.GAUGE),
        (exponential({0: 2}, hint=ResetHint.GAUGE), exponential({0: 1}), ResetHint.UNKNOWN),
        (exponential({0: 1}), exponential({0: 2}, hint=ResetHint.RESET), ResetHint.RESET),
    ],
)
def test_a_store_hints_at_what_it_saw(
    previous: NativeHistogram | None, current: NativeHistogram, hint: ResetHint
) -> None:
    assert following_hint(current, previous) is hint


def test_exponential_and_custom_buckets_do_not_add_up() -> None:
    custom = NativeHistogram.custom([1], count=1, sum=1, buckets={0: 1})
    assert total([exponential({0: 1}), custom]) is None
    assert difference(custom, exponential({0: 1})) is None


def test_custom_bounds_that_differ_are_reduced_to_those_in_common() -> None:
    one = NativeHistogram.custom([1, 2, 3], count=10, sum=1, buckets={0: 1, 1: 2, 2: 3, 3: 4})
    other = NativeHistogram.custom([2, 5], count=9, sum=1, buckets={0: 2, 1: 3, 2: 4})
    found = total([one, other])
    assert found is not None
    assert found.reconciled
    assert (found.histogram.bounds, found.histogram.positive) == ((2,), {0: 5, 1: 14})


@pytest.mark.parametrize(
    ("schema", "index", "bound"),
    [(0, 3, 8.0), (0, -1, 0.5), (1, 1, 2**0.5), (3, 8, 2.0), (-2, 1, 16.0), (-4, 64, 1.7976931348623157e308)],
)
def test_bounds_are_powers_of_two(schema: int, index: int, bound: float) -> None:
    assert exponential_bound(schema, index) == bound


def test_beyond_the_largest_float_there_is_infinity() -> None:
    assert exponential_bound(-4, 65) == math.inf
    assert exponential_bound(0, 1025) == math.inf


def test_a_finer_schema_than_8_is_brought_down() -> None:
    fine = NativeHistogram.exponential(10, count=6, sum=1, positive={1: 1, 4: 2, 5: 3})
    assert (fine.schema, fine.positive) == (8, {1: 3, 2: 3})
    with pytest.raises(ValueError, match="no such schema"):
        NativeHistogram.exponential(-5, count=0, sum=0)


@pytest.mark.parametrize("bounds", [[2.0, 1.0], [1.0, 1.0], [1.0, math.inf]])
def test_custom_bounds_must_ascend(bounds: list[float]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        NativeHistogram.custom(bounds, count=0, sum=0, buckets={})


def test_a_bucket_beyond_the_custom_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond"):
        NativeHistogram.custom([1.0], count=1, sum=0, buckets={2: 1})


def test_spans_and_deltas_of_the_wire_become_buckets() -> None:
    spans = [(-2, 2), (3, 1), (0, 1)]
    assert from_spans(spans, running([1, 2, -3, 4])) == {-2: 1, -1: 3, 4: 4}


def test_a_classic_histogram_becomes_one_with_custom_bounds() -> None:
    classic = {0.1: 2.0, 0.5: 2.0, 1.0: 7.0, math.inf: 9.0}
    made = NativeHistogram.from_classic(classic, sum=4.5)
    assert (made.bounds, made.positive, made.count, made.sum) == ((0.1, 0.5, 1.0), {0: 2, 2: 5, 3: 2}, 9, 4.5)
    assert NativeHistogram.from_classic({1.0: 3.0}, sum=1, count=4.0).positive == {0: 3, 1: 1}
    with pytest.raises(ValueError, match="fall"):
        NativeHistogram.from_classic({1.0: 3.0, 2.0: 2.0}, sum=1)


def test_it_divides_as_floats_do() -> None:
    one = NativeHistogram.exponential(0, count=3, sum=-2, zero=(0.1, 1.0), positive={1: 2})
    nothing = one.divided(0.0)
    assert (nothing.count, nothing.sum, nothing.zero_count, nothing.positive) == (math.inf, -math.inf, math.inf, {})
    assert one.divided(-2.0).is_gauge
    assert one.divided(2.0).positive == {1: 1}
    assert math.isnan(exponential({}).divided(0.0).count)


@pytest.mark.parametrize("value", [1e6, 999_999.0, 1.5e-5, 0.0001, 123456789.5, -2.5, math.nan, math.inf, 1e300])
def test_equal_histograms_are_equal_by_their_bits(value: float) -> None:
    one, other = (NativeHistogram.custom([1], count=2, sum=value, buckets={1: 2}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != exponential({1: 2})


def test_it_prints_as_prometheus_does() -> None:
    one = NativeHistogram.exponential(
        0, count=1234567, sum=0.00001, zero=(0.5, 1.0), positive={1: 1e6}, negative={1: 3, 2: 0.5}
    )
    assert str(one) == "{count:1.234567e+06, sum:1e-05, [-4,-2):0.5, [-2,-1):3, [-0.5,0.5]:1, (1,2]:1e+06}"
    custom = NativeHistogram.custom([-1, 2], count=3, sum=math.inf, buckets={0: 1, 1: 1, 2: 1})
    assert str(custom) == "{count:3, sum:+Inf, [-Inf,-1]:1, (-1,2]:1, (2,+Inf]:1}"


def test_the_api_tells_which_borders_are_open() -> None:
    one = NativeHistogram.exponential(0, count=4, sum=1, zero=(0.5, 1.0), positive={1: 2}, negative={1: 1})
    assert as_json(one, lambda value: f"{value:g}") == {
        "count": "4",
        "sum": "1",
        "buckets": [[1, "-2", "-1", "1"], [3, "-0.5", "0.5", "1"], [0, "1", "2", "2"]],
    }
    custom = NativeHistogram.custom([1], count=2, sum=1, buckets={0: 1, 1: 1})
    assert [bucket[0] for bucket in as_json(custom, str)["buckets"]] == [3, 0]
    assert "buckets" not in as_json(exponential({}), str)
