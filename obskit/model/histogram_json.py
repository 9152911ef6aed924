"""A native histogram as Prometheus' HTTP API writes it (docs/querying/api.md, native histograms)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from obskit.model.histograms import NativeHistogram

OPEN_LEFT: Final = 0
OPEN_RIGHT: Final = 1
CLOSED: Final = 3


def as_json(histogram: NativeHistogram, number: Callable[[float], str]) -> dict[str, Any]:
    """`{"count", "sum", "buckets": [[borders, lower, upper, count]]}`, without empty buckets; `number` writes numbers."""
    found: dict[str, Any] = {"count": number(histogram.count), "sum": number(histogram.sum)}
    if buckets := list(_buckets(histogram, number)):
        found["buckets"] = buckets
    return found


def _buckets(histogram: NativeHistogram, number: Callable[[float], str]) -> Iterator[list[Any]]:
    first = CLOSED if histogram.is_custom and 0 in histogram.positive else OPEN_LEFT
    for position, bucket in enumerate(histogram.buckets()):
        if bucket.upper <= 0 and not histogram.is_custom:
            borders = OPEN_RIGHT
        elif bucket.lower <= 0 and not histogram.is_custom:
            borders = CLOSED
        else:
            borders = first if position == 0 else OPEN_LEFT
        yield [borders, *map(number, (bucket.lower, bucket.upper, bucket.count))]
