"""Native histograms as bytes."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.histograms import NativeHistogram, ResetHint
from obskit.store.histogram_codec import pack_histogram, unpack_histogram

whole = st.integers(0, 2**53 - 1).map(float)
numbers = st.floats()


def sides(counts: st.SearchStrategy[float]) -> st.SearchStrategy[dict[int, float]]:
    return st.dictionaries(st.integers(-(2**20), 2**20), counts.filter(bool), max_size=12)


@st.composite
def histograms(draw: st.DrawFn) -> NativeHistogram:
    counts = draw(st.sampled_from([whole, numbers]))
    schema = draw(st.sampled_from([*range(-4, 9), -53]))
    return NativeHistogram(
        schema,
        draw(counts),
        draw(numbers),
        draw(numbers),
        draw(counts),
        draw(sides(counts)),
        draw(sides(counts)),
        tuple(draw(st.lists(st.floats(allow_nan=False), max_size=8))) if schema == -53 else (),
        draw(st.sampled_from(ResetHint)),
    )


@given(histograms())
@settings(max_examples=200)
def test_every_bit_comes_back(histogram: NativeHistogram) -> None:
    found = unpack_histogram(pack_histogram(histogram))
    assert found.hint is histogram.hint
    assert str(found) == str(histogram)
    if not any(math.isnan(count) for count in (*histogram.positive.values(), *histogram.negative.values())):
        assert found == histogram


def test_a_counter_takes_about_two_bytes_per_bucket() -> None:
    buckets = {index: float(100 + index % 7) for index in range(-80, 80)}
    one = NativeHistogram.exponential(3, count=sum(buckets.values()), sum=1e6, zero=(1e-9, 12.0), positive=buckets)
    assert len(pack_histogram(one)) < 360
