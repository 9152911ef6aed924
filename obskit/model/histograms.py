"""Native histograms as values: exponential buckets (schemas -4 to 8) or custom bounds (schema -53).

What one histogram is and what lies in its buckets. How several are added, subtracted and compared as counters stands
in histogram_arithmetic.py, what is estimated from them (quantiles, fractions) in obskit.promql.histogram_estimates.
Source: prometheus model/histogram, and the native histogram specification of prometheus.io.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final, Self

CUSTOM_SCHEMA: Final = -53
MIN_SCHEMA: Final = -4
MAX_SCHEMA: Final = 8
_LARGEST: Final = math.ldexp(1 - 2.0**-53, 1024)


class ResetHint(StrEnum):
    """What is known of a histogram beside the one before it in its series."""

    UNKNOWN = "unknown"
    RESET = "reset"
    NOT_RESET = "not_reset"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket: `count` observations between two bounds."""

    lower: float
    upper: float
    count: float


@dataclass(frozen=True, slots=True, eq=False)
class NativeHistogram:
    """A native histogram. Counts are floats, as results of rates are histograms too.

    `positive` and `negative` map bucket index to count; empty buckets are not kept. In an exponential schema n bucket i
    is `(2^((i-1) * 2^-n), 2^(i * 2^-n)]`, mirrored for negative ones, and `zero_count` observations lie within
    `zero_threshold` of zero. With custom bounds bucket i lies below `bounds[i]`, the last one below +Inf.
    Two histograms are equal when their data are (by bits, NaN included); the hint is none.
    """

    schema: int
    count: float
    sum: float
    zero_threshold: float = 0.0
    zero_count: float = 0.0
    positive: Mapping[int, float] = field(default_factory=dict)
    negative: Mapping[int, float] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    hint: ResetHint = ResetHint.UNKNOWN

    @classmethod
    def exponential(
        cls,
        schema: int,
        *,
        count: float,
        sum: float,
        zero: tuple[float, float] = (0.0, 0.0),
        positive: Mapping[int, float] | None = None,
        negative: Mapping[int, float] | None = None,
    ) -> Self:
        """A histogram with exponential buckets; `zero` is the zero bucket's threshold and count.

        A schema above 8 (OpenTelemetry knows up to 20) is brought down to 8. ValueError for one below -4.
        """
        if schema < MIN_SCHEMA:
            raise ValueError(f"no such schema: {schema}")
        shift = max(0, schema - MAX_SCHEMA)
        above, below = (coarser(filled(side or {}), shift) for side in (positive, negative))
        return cls(schema - shift, count, sum, *zero, above, below)

    @classmethod
    def custom(cls, bounds: Iterable[float], *, count: float, sum: float, buckets: Mapping[int, float]) -> Self:
        """A histogram with custom bounds; bucket `len(bounds)` is the one up to +Inf, whose bound is not written.

        ValueError when the bounds do not ascend, or a bucket is beyond them.
        """
        upper = tuple(bounds)
        if not all(low < high for low, high in pairwise(upper)) or any(not math.isfinite(bound) for bound in upper):
            raise ValueError("custom bounds must be finite and ascend")
        if any(not 0 <= index <= len(upper) for index in buckets):
            raise ValueError("a bucket lies beyond the custom bounds")
        return cls(CUSTOM_SCHEMA, count, sum, positive=filled(buckets), bounds=upper)

    @classmethod
    def from_classic(cls, cumulative: Mapping[float, float], *, sum: float, count: float | None = None) -> Self:
        """A classic histogram as one with custom bounds: `cumulative` maps upper bound to the count up to it.

        `count` stands for a missing +Inf bucket. ValueError when counts fall from one bound to the next.
        """
        upper = tuple(sorted(bound for bound in cumulative if bound != math.inf))
        reached = [cumulative[bound] for bound in upper]
        everything = cumulative.get(math.inf, count if count is not None else (reached or [0.0])[-1])
        apart = [after - before for before, after in pairwise([0.0, *reached, everything])]
        if any(one < 0 for one in apart):
            raise ValueError("counts of a classic histogram fall from one bound to the next")
        return cls.custom(upper, count=everything, sum=sum, buckets=dict(enumerate(apart)))

    @property
    def is_custom(self) -> bool:
        """Whether its bounds are its own."""
        return self.schema == CUSTOM_SCHEMA

    @property
    def is_gauge(self) -> bool:
        """Whether it is known not to be a counter."""
        return self.hint is ResetHint.GAUGE

    def hinted(self, hint: ResetHint) -> NativeHistogram:
        """The same data with another hint."""
        return self if hint is self.hint else replace(self, hint=hint)

    def scaled(self, factor: float) -> NativeHistogram:
        """All counts and the sum times a factor. A counter never falls: with a negative factor it is a gauge."""
        return NativeHistogram(
            self.schema,
            self.count * factor,
            self.sum * factor,
            self.zero_threshold,
            self.zero_count * factor,
            filled({index: count * factor for index, count in self.positive.items()}),
            filled({index: count * factor for index, count in self.negative.items()}),
            self.bounds,
            ResetHint.GAUGE if factor < 0 else self.hint,
        )

    def divided(self, by: float) -> NativeHistogram:
        """All counts and the sum divided, as IEEE 754 divides. By zero no bucket is left."""
        if by:
            hint = ResetHint.GAUGE if by < 0 else self.hint
            return NativeHistogram(
                self.schema,
                self.count / by,
                self.sum / by,
                self.zero_threshold,
                self.zero_count / by,
                filled({index: count / by for index, count in self.positive.items()}),
                filled({index: count / by for index, count in self.negative.items()}),
                self.bounds,
                hint,
            )
        count, total, zero_count = (_by_zero(value, by) for value in (self.count, self.sum, self.zero_count))
        return replace(self, count=count, sum=total, zero_count=zero_count, positive={}, negative={})

    def positive_buckets(self) -> Iterator[Bucket]:
        """The buckets above the zero bucket (all of them with custom bounds), upwards."""
        for index in sorted(self.positive):
            yield Bucket(self.bound(index - 1), self.bound(index), self.positive[index])

    def negative_buckets(self) -> Iterator[Bucket]:
        """The buckets below the zero bucket, upwards: the most negative first."""
        for index in sorted(self.negative, reverse=True):
            yield Bucket(-self.bound(index), -self.bound(index - 1), self.negative[index])

    def buckets(self) -> Iterator[Bucket]:
        """All buckets with observations, upwards; none reaches into the zero bucket."""
        edge = self.zero_threshold
        for bucket in self.negative_buckets():
            yield Bucket(bucket.lower, min(bucket.upper, -edge), bucket.count)
        if self.zero_count:
            yield Bucket(-edge, edge, self.zero_count)
        for bucket in self.positive_buckets():
            yield bucket if self.is_custom else Bucket(max(bucket.lower, edge), bucket.upper, bucket.count)

    def bound(self, index: int) -> float:
        """The upper bound of a positive bucket."""
        if not self.is_custom:
            return exponential_bound(self.schema, index)
        if index < 0:
            return -math.inf
        return self.bounds[index] if index < len(self.bounds) else math.inf

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NativeHistogram) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, ...]:
        numbers = (self.count, self.sum, self.zero_threshold, self.zero_count)
        sides = (tuple(sorted(side.items())) for side in (self.positive, self.negative))
        return (self.schema, struct.pack("<4d", *numbers), self.bounds, *sides)

    def __str__(self) -> str:
        """As Prometheus writes it: `{count:4, sum:7, [-2,-1):1, [-0.5,0.5]:1, (1,2]:2}`."""
        parts = [f"count:{shortest(self.count)}", f"sum:{shortest(self.sum)}"]
        parts += [f"[{shortest(b.lower)},{shortest(b.upper)}):{shortest(b.count)}" for b in self.negative_buckets()]
        if self.zero_count:
            edge = self.zero_threshold
            parts.append(f"[{shortest(-edge) if edge else '-0'},{shortest(edge)}]:{shortest(self.zero_count)}")
        opening = {True: "[", False: "("}
        parts += [
            f"{opening[b.lower == -math.inf]}{shortest(b.lower)},{shortest(b.upper)}]:{shortest(b.count)}"
            for b in self.positive_buckets()
        ]
        return "{" + ", ".join(parts) + "}"


def exponential_bound(schema: int, index: int) -> float:
    """The upper bound of bucket `index`: 2^(index * 2^-schema); the last finite one is the largest float."""
    if schema <= 0:
        exponent, mantissa = index << -schema, 1.0
    else:
        per_octave = 1 << schema
        exponent, mantissa = index >> schema, 2.0 ** ((index & (per_octave - 1)) / per_octave)
    if exponent == 1024 and mantissa == 1.0:
        return _LARGEST
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.inf


def coarser(buckets: Mapping[int, float], shift: int) -> Mapping[int, float]:
    """Exponential buckets with the schema lowered by `shift`: neighbours are merged."""
    if not shift:
        return buckets
    merged: dict[int, float] = {}
    for index, count in buckets.items():
        target = ((index - 1) >> shift) + 1
        merged[target] = merged.get(target, 0.0) + count
    return filled(merged)


def filled(buckets: Mapping[int, float]) -> dict[int, float]:
    """Without empty buckets."""
    return {index: count for index, count in buckets.items() if count}


def from_spans(spans: Iterable[tuple[int, int]], counts: Iterable[float]) -> dict[int, float]:
    """Buckets from spans `(offset, length)` as the wire formats have them: offsets count from the span before."""
    indices: list[int] = []
    following = 0
    for offset, length in spans:
        start = following + offset
        following = start + length
        indices.extend(range(start, following))
    return filled(dict(zip(indices, counts, strict=True)))


def running(deltas: Iterable[float]) -> Iterator[float]:
    """Counts from their differences, as the wire formats write integer histograms."""
    count = 0.0
    for delta in deltas:
        count += delta
        yield count


def _by_zero(value: float, zero: float) -> float:
    if value == 0 or math.isnan(value):
        return math.nan
    return math.copysign(math.inf, value) * math.copysign(1.0, zero)


def shortest(value: float) -> str:
    """Go's %g: the shortest digits, with an exponent when it is below -4 or at least 6."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    exponent = int(f"{value:.16e}".partition("e")[2])
    if value == 0 or -4 <= exponent < 6:
        return repr(value).removesuffix(".0")
    digits = repr(abs(value)).partition("e")[0].removesuffix(".0").replace(".", "").strip("0")
    sign, rest = "-" if value < 0 else "", f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{rest}e{exponent:+03d}"
