"""What is estimated from one native histogram: quantiles, fractions, variance, and the parts below or above a value.

Inside a bucket observations are taken to lie evenly: on a logarithmic scale in exponential buckets, on a linear one in
the zero bucket and between custom bounds (promql/quantile.go; FloatHistogram.TrimBuckets).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from obskit.model.histograms import Bucket, NativeHistogram, filled


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and whether observations of NaN (they are in no bucket) had a part in it."""

    value: float
    has_nan: bool = False


def quantile(q: float, histogram: NativeHistogram) -> Estimate:
    """The q-quantile. With observations of NaN it is skewed, or NaN when it would lie among them."""
    if math.isnan(q) or histogram.count == 0:
        return Estimate(math.nan)
    if not 0 <= q <= 1:
        return Estimate(math.copysign(math.inf, q - 0.5))
    has_nan = math.isnan(histogram.sum)
    buckets = _effective(histogram)
    # From the nearer end, so that rounding at the far one does not matter. NaN observations rank above all others.
    upwards = has_nan or q < 0.5
    rank = (q if upwards else 1 - q) * histogram.count
    count, found = 0.0, Bucket(0.0, 0.0, 0.0)
    for found in buckets if upwards else reversed(buckets):
        count += found.count
        if count >= rank:
            break
    if has_nan and count < rank:
        return Estimate(math.nan, has_nan)
    return Estimate(_within(histogram, found, min(count, histogram.count), rank, upwards=upwards), has_nan)


def _within(histogram: NativeHistogram, bucket: Bucket, count: float, rank: float, *, upwards: bool) -> float:
    """Where in the bucket the rank lies; `count` observations lie in it and the buckets passed before."""
    if bucket.count == 0:
        return math.nan
    if histogram.is_custom and bucket.lower == -math.inf:
        return bucket.upper
    if histogram.is_custom and bucket.upper == math.inf:
        return bucket.lower
    fraction = (rank - (count - bucket.count) if upwards else count - rank) / bucket.count
    if _is_linear(histogram, bucket):
        return bucket.lower + (bucket.upper - bucket.lower) * fraction
    low, high = math.log2(abs(bucket.lower)), math.log2(abs(bucket.upper))
    if bucket.lower > 0:
        return _power(low + (high - low) * fraction)
    return -_power(high + (low - high) * (1 - fraction))


def _power(exponent: float) -> float:
    try:
        return float(2.0**exponent)
    except OverflowError:  # the largest bucket ends where floats do
        return math.inf


def _is_linear(histogram: NativeHistogram, bucket: Bucket) -> bool:
    return histogram.is_custom or bucket.lower <= 0 <= bucket.upper


def _effective(histogram: NativeHistogram) -> list[Bucket]:
    """All buckets, with the bounds observations are taken to lie in.

    A zero bucket beside buckets of one sign only has that sign; a first custom bucket with a positive bound starts at 0.
    """
    buckets = list(histogram.buckets())
    if histogram.is_custom:
        return [_from_zero(bucket) for bucket in buckets]
    if not histogram.zero_count or bool(histogram.positive) == bool(histogram.negative):
        return buckets
    place, edge = len(histogram.negative), histogram.zero_threshold
    low, high = (0.0, edge) if histogram.positive else (-edge, 0.0)
    return [*buckets[:place], Bucket(low, high, histogram.zero_count), *buckets[place + 1 :]]


def _from_zero(bucket: Bucket) -> Bucket:
    starts = bucket.lower == -math.inf and 0 < bucket.upper < math.inf
    return Bucket(0.0, bucket.upper, bucket.count) if starts else bucket


def fraction(lower: float, upper: float, histogram: NativeHistogram) -> Estimate:
    """The share of observations between two values. Observations of NaN lie in no interval."""
    if math.isnan(lower) or math.isnan(upper) or histogram.count == 0:
        return Estimate(math.nan)
    if lower >= upper:
        return Estimate(0.0)
    buckets, has_nan = _effective(histogram), math.isnan(histogram.sum)
    count = math.fsum(bucket.count for bucket in buckets) if has_nan else histogram.count
    share = (_rank(histogram, buckets, upper, count) - _rank(histogram, buckets, lower, count)) / histogram.count
    return Estimate(share, has_nan)


def _rank(histogram: NativeHistogram, buckets: Iterable[Bucket], value: float, count: float) -> float:
    """How many observations lie below a value."""
    rank = 0.0
    for bucket in buckets:
        if bucket.lower >= value:
            return min(rank, count)
        if bucket.upper > value:
            return min(rank + bucket.count * _under(histogram, bucket, value), count)
        rank += bucket.count
    return count


def _under(histogram: NativeHistogram, bucket: Bucket, value: float) -> float:
    """The share of a bucket's observations below a value inside it."""
    if math.isinf(bucket.lower) or math.isinf(bucket.upper):
        return float(bucket.lower == -math.inf)
    if _is_linear(histogram, bucket):
        return (value - bucket.lower) / (bucket.upper - bucket.lower)
    low, high = math.log2(abs(bucket.lower)), math.log2(abs(bucket.upper))
    at = math.log2(abs(value))
    return (at - low) / (high - low) if value > 0 else 1 - (at - high) / (low - high)


def variance(histogram: NativeHistogram) -> float:
    """The population variance, each bucket's observations taken to be at its middle."""
    if histogram.count == 0:
        return math.nan
    mean = histogram.sum / histogram.count
    parts = []
    for bucket in histogram.buckets():
        if histogram.is_custom:
            middle = (bucket.upper + bucket.lower) / 2
        elif bucket.lower <= 0 <= bucket.upper:
            middle = 0.0
        else:
            middle = math.copysign(math.sqrt(bucket.upper * bucket.lower), bucket.upper)
        parts.append(bucket.count * (middle - mean) * (middle - mean))
    return _total(parts) / histogram.count


def _total(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def trim_upper(histogram: NativeHistogram, threshold: float) -> NativeHistogram:
    """Only the observations below the threshold (`</`)."""

    def cut(bucket: Bucket) -> Bucket:
        if bucket.upper <= threshold:
            return bucket
        if bucket.lower >= threshold:
            return Bucket(bucket.lower, bucket.lower, 0.0)
        kept = bucket.count * _under_trim(histogram, bucket, threshold)
        return Bucket(bucket.lower, threshold, kept)

    return histogram if threshold == math.inf else _trimmed(histogram, cut)


def trim_lower(histogram: NativeHistogram, threshold: float) -> NativeHistogram:
    """Only the observations above the threshold (`>/`)."""

    def cut(bucket: Bucket) -> Bucket:
        if bucket.lower >= threshold:
            return bucket
        if bucket.upper <= threshold:
            return Bucket(bucket.upper, bucket.upper, 0.0)
        if bucket.lower == -math.inf and bucket.upper == math.inf:
            return Bucket(threshold, bucket.upper, 0.0)  # nothing is known of where its observations lie
        kept = bucket.count * (1 - _under_trim(histogram, bucket, threshold))
        return Bucket(threshold, bucket.upper, kept)

    return histogram if threshold == -math.inf else _trimmed(histogram, cut)


def _under_trim(histogram: NativeHistogram, bucket: Bucket, threshold: float) -> float:
    """As `_under`, but in an unbounded bucket all observations are at the infinite bound."""
    if bucket.lower == -math.inf:
        if bucket.upper <= 0:
            return 1.0
        return threshold / bucket.upper if threshold > 0 and bucket.upper < math.inf else 0.0
    return 0.0 if bucket.upper == math.inf else _under(histogram, bucket, threshold)


def _trimmed(histogram: NativeHistogram, cut: Callable[[Bucket], Bucket]) -> NativeHistogram:
    """Every bucket cut; count and sum are estimated anew when that changed anything."""
    pieces: list[Bucket] = []

    def side(buckets: dict[int, Bucket]) -> dict[int, float]:
        kept = {index: cut(bucket) for index, bucket in buckets.items()}
        pieces.extend(kept.values())
        return {index: bucket.count for index, bucket in kept.items()}

    positive = side({i: Bucket(histogram.bound(i - 1), histogram.bound(i), n) for i, n in histogram.positive.items()})
    negative = side({i: Bucket(-histogram.bound(i), -histogram.bound(i - 1), n) for i, n in histogram.negative.items()})
    zero = _cut_zero(histogram, cut)
    if positive == histogram.positive and negative == histogram.negative and zero.count == histogram.zero_count:
        return histogram
    sums = [piece.count * _middle(histogram, piece) for piece in pieces if piece.count]
    return replace(
        histogram,
        count=_total([zero.count, *(piece.count for piece in pieces)]),
        sum=_total([zero.count * (zero.lower + zero.upper) / 2, *sums]),
        zero_count=zero.count,
        positive=filled(positive),
        negative=filled(negative),
    )


def _cut_zero(histogram: NativeHistogram, cut: Callable[[Bucket], Bucket]) -> Bucket:
    edge = histogram.zero_threshold
    low = 0.0 if histogram.positive and not histogram.negative else -edge
    high = 0.0 if histogram.negative and not histogram.positive else edge
    return cut(Bucket(low, high, histogram.zero_count))


def _middle(histogram: NativeHistogram, bucket: Bucket) -> float:
    """Where the observations of a piece of a bucket are taken to be for their sum."""
    low, high = bucket.lower, bucket.upper
    if low == -math.inf:
        if high == math.inf:
            return 0.0
        return high / 2 if high > 0 else high
    if high == math.inf:
        return low
    if histogram.is_custom:
        return (low + high) / 2
    return math.copysign(math.sqrt(low * high), low)
