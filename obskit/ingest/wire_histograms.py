"""Native histograms of remote write (prompb/types.proto; the messages of 1.0 and 2.0 are the same but for the start).

What a histogram must fulfil to be one is decided here, as in prometheus' model/histogram: MalformedError otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.ingest.protobuf import BYTES, FIXED64, VARINT, MalformedError, Reader, signed, zigzag
from obskit.model.histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, from_spans, running
from obskit.model.samples import is_stale

_HINTS: Final = (ResetHint.UNKNOWN, ResetHint.RESET, ResetHint.NOT_RESET, ResetHint.GAUGE)
_FINEST: Final = 52
_LARGEST_INDEX: Final = 1 << 31
_KINDS: Final = {
    **dict.fromkeys((1, 4, 6, 14, 15, 17), VARINT),
    **dict.fromkeys((2, 3, 5, 7), FIXED64),
    **dict.fromkeys((8, 11), BYTES),
}
"""The wire types of the fields that are no lists of numbers."""


@dataclass(slots=True)
class _Side:
    spans: list[tuple[int, int]] = field(default_factory=list)
    deltas: list[int] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)

    def buckets(self, *, whole: bool) -> dict[int, float]:
        counts: Sequence[float] = list(running(self.deltas)) if whole else self.counts
        if sum(length for _, length in self.spans) != len(counts):
            raise MalformedError("histogram: spans need as many buckets as there are counts")
        if any(offset < 0 for offset, _ in self.spans[1:]):
            raise MalformedError("histogram: a span begins before the end of the one before it")
        if any(count < 0 for count in counts):
            raise MalformedError("histogram: a bucket has a negative count")
        return from_spans(self.spans, counts)


@dataclass(frozen=True, slots=True)
class WireHistogram:
    """One histogram sample; None is a stale marker. Times are Unix milliseconds, 0 where not told."""

    t_ms: int
    start_ms: int
    histogram: NativeHistogram | None


def read_histogram(reader: Reader, start: int, end: int) -> WireHistogram:
    """The histogram message between two positions."""
    numbers: dict[int, Any] = {}
    sides = {8: _Side(), 11: _Side()}
    bounds: list[float] = []
    for number, kind, low, high in reader.fields(start, end):
        if number in _KINDS and kind != _KINDS[number]:
            raise MalformedError(f"histogram: field {number} is of wire type {kind}")
        if number in sides:
            sides[number].spans.append(_span(reader, low, high))
        elif number in (9, 12):
            sides[number - 1].deltas += map(zigzag, reader.varints(kind, low, high))
        elif number in (10, 13):
            sides[number - 2].counts += reader.doubles(kind, low, high)
        elif number == 16:
            bounds += reader.doubles(kind, low, high)
        elif number in _KINDS:
            numbers[number] = low if kind == VARINT else reader.double(low)
    histogram = None if is_stale(numbers.get(3, 0.0)) else _histogram(numbers, sides[11], sides[8], bounds)
    return WireHistogram(signed(numbers.get(15, 0)), signed(numbers.get(17, 0)), histogram)


def _histogram(numbers: dict[int, Any], above: _Side, below: _Side, bounds: list[float]) -> NativeHistogram:
    whole = 2 not in numbers and 7 not in numbers and not above.counts and not below.counts
    count, zero_count = (float(numbers.get(a, numbers.get(b, 0))) for a, b in ((1, 2), (6, 7)))
    schema, total, threshold = zigzag(numbers.get(4, 0)), numbers.get(3, 0.0), numbers.get(5, 0.0)
    positive, negative = above.buckets(whole=whole), below.buckets(whole=whole)
    _check(count, zero_count, total, [*positive.values(), *negative.values()], whole=whole)
    hint = numbers.get(14, 0)
    try:
        if schema == CUSTOM_SCHEMA:
            if negative or zero_count or threshold:
                raise MalformedError("histogram: custom bounds have neither a zero bucket nor negative ones")
            made = NativeHistogram.custom(bounds, count=count, sum=total, buckets=positive)
        elif schema > _FINEST or any(abs(index) > _LARGEST_INDEX for index in (*positive, *negative)):
            raise MalformedError(f"histogram: no such schema: {schema}")
        else:
            made = NativeHistogram.exponential(
                schema, count=count, sum=total, zero=(threshold, zero_count), positive=positive, negative=negative
            )
    except ValueError as error:
        raise MalformedError(f"histogram: {str(error).removeprefix('histogram: ')}") from None
    return made.hinted(_HINTS[hint] if hint < len(_HINTS) else ResetHint.UNKNOWN)


def _check(count: float, zero_count: float, total: float, buckets: Sequence[float], *, whole: bool) -> None:
    """Counts of a client are whole and add up (those that are NaN are in no bucket); counts of a rate need not."""
    if count < 0 or zero_count < 0:
        raise MalformedError("histogram: a negative count")
    inside = math.fsum(buckets) + zero_count
    if whole and (inside > count if math.isnan(total) else inside != count):
        raise MalformedError(f"histogram: {inside:g} observations in its buckets, {count:g} in its count")


def _span(reader: Reader, start: int, end: int) -> tuple[int, int]:
    offset = length = 0
    for number, kind, value, _ in reader.fields(start, end):
        if kind != VARINT:
            raise MalformedError("histogram: a span is none")
        if number == 1:
            offset = zigzag(value)
        elif number == 2:
            length = value
    return offset, length
