"""What is estimated from one histogram: properties that hold whatever lies in its buckets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.histograms import NativeHistogram
from obskit.promql.histogram_estimates import fraction, quantile, trim_lower, trim_upper, variance

counts = st.integers(1, 1_000).map(float)
sides = st.dictionaries(st.integers(-12, 12), counts, max_size=6)
shares = st.floats(0, 1)
values = st.floats(-200, 200)


@st.composite
def exponentials(draw: st.DrawFn) -> NativeHistogram:
    schema = draw(st.integers(-1, 3))
    zero = draw(st.sampled_from([(0.0, 0.0), (2.0**-14, 5.0)]))
    positive, negative = draw(sides), draw(sides)
    # The buckets lie outside the zero bucket, as they do in every histogram that a client made.
    lowest = -12 if schema >= 0 else -6
    positive, negative = ({i: n for i, n in side.items() if i > lowest} for side in (positive, negative))
    observed = math.fsum([*positive.values(), *negative.values(), zero[1]])
    return NativeHistogram.exponential(schema, count=observed, sum=1.0, zero=zero, positive=positive, negative=negative)


@st.composite
def customs(draw: st.DrawFn) -> NativeHistogram:
    bounds = sorted(draw(st.sets(st.integers(-9, 30).map(float), min_size=1, max_size=6)))
    buckets = draw(st.dictionaries(st.integers(0, len(bounds)), counts))
    return NativeHistogram.custom(bounds, count=math.fsum(buckets.values()), sum=1.0, buckets=buckets)


histograms = st.one_of(exponentials(), customs())


def filled(one: NativeHistogram) -> bool:
    return one.count > 0


@given(histograms.filter(filled), shares, shares)
@settings(max_examples=200)
def test_a_higher_quantile_is_not_lower(one: NativeHistogram, first: float, second: float) -> None:
    low, high = sorted((first, second))
    below, above = quantile(low, one).value, quantile(high, one).value
    assert below <= above or below == pytest.approx(above)


@given(histograms.filter(filled), shares)
@settings(max_examples=200)
def test_a_quantile_lies_in_a_bucket_that_is_not_empty(one: NativeHistogram, share: float) -> None:
    value = quantile(share, one).value
    slack = 1e-9 * max(1.0, abs(value))
    assert any(bucket.lower - slack <= value <= bucket.upper + slack for bucket in one.buckets())


@given(histograms.filter(filled), st.lists(values, min_size=3, max_size=3))
@settings(max_examples=200)
def test_fractions_of_neighbours_add_up(one: NativeHistogram, borders: list[float]) -> None:
    low, middle, high = sorted(borders)
    parts = fraction(low, middle, one).value + fraction(middle, high, one).value
    assert parts == pytest.approx(fraction(low, high, one).value, abs=1e-9)
    assert fraction(-math.inf, math.inf, one).value == pytest.approx(1.0)


@given(exponentials().filter(filled), st.floats(0.01, 0.99))
@settings(max_examples=150)
def test_the_fraction_below_a_quantile_is_its_share(one: NativeHistogram, share: float) -> None:
    value = quantile(share, one).value
    below = fraction(-math.inf, value, one).value
    at_least = fraction(-math.inf, math.nextafter(value, math.inf), one).value
    # Within an empty stretch the share jumps; it lies between what is below the value and what is up to it.
    assert below <= share + 1e-6
    assert at_least >= share - 1e-6 or fraction(value * 1.001 + 1e-9, math.inf, one).value <= 1 - share + 1e-6


@given(histograms, values)
@settings(max_examples=200)
def test_what_is_trimmed_above_and_below_is_the_whole(one: NativeHistogram, threshold: float) -> None:
    parts = trim_upper(one, threshold).count + trim_lower(one, threshold).count
    assert parts == pytest.approx(one.count)


@given(histograms)
def test_nothing_is_trimmed_at_infinity(one: NativeHistogram) -> None:
    assert trim_upper(one, math.inf) == one == trim_lower(one, -math.inf)
    assert trim_upper(one, -math.inf).count == 0


@given(histograms.filter(filled))
def test_a_variance_is_not_negative(one: NativeHistogram) -> None:
    assert not variance(one) < 0


@pytest.mark.parametrize(("share", "expected"), [(-0.1, -math.inf), (1.1, math.inf), (math.nan, math.nan)])
def test_a_share_outside_of_all_is_infinitely_far(share: float, expected: float) -> None:
    one = NativeHistogram.exponential(0, count=1, sum=1, positive={1: 1})
    assert quantile(share, one).value == pytest.approx(expected, nan_ok=True)


def test_the_largest_bucket_ends_at_the_largest_float() -> None:
    one = NativeHistogram.exponential(0, count=1, sum=1, positive={1024: 1})
    assert quantile(1.0, one).value >= 1.7e308
    assert variance(one) == math.inf
