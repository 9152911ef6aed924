"""Native histograms added, averaged, subtracted and compared as counters.

Before counts are combined the histograms are brought to one layout, which only ever merges buckets: the widest zero
bucket, the coarsest schema, the custom bounds that all share. So counts are moved, never invented.
Source: prometheus model/histogram/float_histogram.go (Add, Sub, KahanAdd, DetectReset).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from obskit.model.histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, coarser, filled


@dataclass(frozen=True, slots=True)
class Combined:
    """Histograms made one, and what was noticed: a counter that was reset met one that was not; custom bounds differed."""

    histogram: NativeHistogram
    collision: bool = False
    reconciled: bool = False


def total(histograms: Sequence[NativeHistogram]) -> Combined | None:
    """The sum of histograms (at least one); None when exponential buckets meet custom ones."""
    return _combined(histograms, _sum)


def mean(histograms: Sequence[NativeHistogram]) -> Combined | None:
    """The mean of histograms (at least one); None when exponential buckets meet custom ones."""
    count = len(histograms)

    def fold(values: list[float]) -> float:
        result = _sum(values)
        # The sum of finite numbers may overflow where their mean does not.
        return _sum([value / count for value in values]) if math.isinf(result) else result / count

    return _combined(histograms, fold)


def difference(left: NativeHistogram, right: NativeHistogram) -> Combined | None:
    """`left - right`, a gauge; None when exponential buckets meet custom ones."""
    found = _combined([left, right.scaled(-1.0).hinted(right.hint)], _sum)
    return found and replace(found, histogram=found.histogram.hinted(ResetHint.GAUGE))


def _combined(histograms: Sequence[NativeHistogram], fold: Callable[[list[float]], float]) -> Combined | None:
    first = histograms[0]
    if any(one.is_custom != first.is_custom for one in histograms):
        return None
    hint, collision = _joint_hint([one.hint for one in histograms])
    alike = aligned(histograms)
    made = NativeHistogram(
        alike[0].schema,
        fold([one.count for one in alike]),
        fold([one.sum for one in alike]),
        alike[0].zero_threshold,
        fold([one.zero_count for one in alike]),
        _folded([one.positive for one in alike], fold),
        _folded([one.negative for one in alike], fold),
        alike[0].bounds,
        hint,
    )
    return Combined(made, collision, any(one.bounds != first.bounds for one in histograms))


def _folded(sides: Iterable[Mapping[int, float]], fold: Callable[[list[float]], float]) -> dict[int, float]:
    columns: dict[int, list[float]] = {}
    for side in sides:
        for index, count in side.items():
            columns.setdefault(index, []).append(count)
    return filled({index: fold(counts) for index, counts in columns.items()})


def _sum(values: list[float]) -> float:
    if len(values) == 2:
        return values[0] + values[1]
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # an infinite sum, or infinities of both signs
        return sum(values)


def _joint_hint(hints: Iterable[ResetHint]) -> tuple[ResetHint, bool]:
    """The hint of a sum, and whether a reset counter met one that was not reset."""
    seen = set(hints)
    collision = {ResetHint.RESET, ResetHint.NOT_RESET} <= seen
    if ResetHint.GAUGE in seen:
        return ResetHint.GAUGE, collision
    return (seen.pop() if len(seen) == 1 else ResetHint.UNKNOWN), collision


def aligned(histograms: Sequence[NativeHistogram]) -> Sequence[NativeHistogram]:
    """Histograms of one kind in one layout."""
    first = histograms[0]
    if first.is_custom:
        if all(one.bounds == first.bounds for one in histograms):
            return histograms
        shared = reduce(_shared, (one.bounds for one in histograms))
        return [with_bounds(one, shared) for one in histograms]
    threshold = max(one.zero_threshold for one in histograms)
    while any(one.zero_threshold != threshold for one in histograms):
        # A threshold within a populated bucket widens to the bucket's end, and then the others follow.
        histograms = [with_zero_threshold(one, threshold) for one in histograms]
        threshold = max(one.zero_threshold for one in histograms)
    schema = min(one.schema for one in histograms)
    return [with_schema(one, schema) for one in histograms]


def _shared(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, ...]:
    kept = set(right)
    return tuple(bound for bound in left if bound in kept)


def with_bounds(one: NativeHistogram, bounds: tuple[float, ...]) -> NativeHistogram:
    """A histogram with fewer custom bounds, all of which it has."""
    if one.bounds == bounds:
        return one
    target, merged = 0, dict[int, float]()
    for index in sorted(one.positive):
        while target < len(bounds) and one.bound(index) > bounds[target]:
            target += 1
        merged[target] = merged.get(target, 0.0) + one.positive[index]
    return replace(one, bounds=bounds, positive=filled(merged))


def with_schema(one: NativeHistogram, schema: int) -> NativeHistogram:
    """A histogram in a coarser exponential schema, or the same."""
    shift = one.schema - schema
    if not shift:
        return one
    return replace(one, schema=schema, positive=coarser(one.positive, shift), negative=coarser(one.negative, shift))


def with_zero_threshold(one: NativeHistogram, threshold: float) -> NativeHistogram:
    """A histogram whose zero bucket reaches at least that far: to the end of a populated bucket it would cut."""
    if threshold == one.zero_threshold:
        return one
    positive, negative = dict(one.positive), dict(one.negative)
    zero_count, before = one.zero_count, -1.0
    while before != threshold:
        before = threshold
        for side in (positive, negative):
            for index in [index for index in sorted(side) if one.bound(index - 1) < threshold]:
                zero_count += side.pop(index)
                threshold = max(threshold, one.bound(index))
    return replace(one, zero_threshold=threshold, zero_count=zero_count, positive=positive, negative=negative)


def is_reset(current: NativeHistogram, previous: NativeHistogram) -> bool:
    """Whether a counter was reset between two histograms: the hint says so, or something in it fell."""
    if current.hint is ResetHint.RESET:
        return True
    if current.hint is ResetHint.NOT_RESET:
        return False
    if current.count < previous.count or current.is_custom != previous.is_custom:
        return True
    if current.is_custom:
        ours, theirs = aligned([current, previous])
        return _fell(ours.positive, theirs.positive)
    # A finer schema or a narrower zero bucket is a new layout: the process was restarted.
    if current.schema > previous.schema or current.zero_threshold < previous.zero_threshold:
        return True
    widened = with_zero_threshold(previous, current.zero_threshold)
    if widened.zero_threshold != current.zero_threshold or current.zero_count < widened.zero_count:
        return True
    before = with_schema(widened, current.schema)
    return _fell(current.positive, before.positive) or _fell(current.negative, before.negative)


def _fell(current: Mapping[int, float], previous: Mapping[int, float]) -> bool:
    return any(current.get(index, 0.0) < count for index, count in previous.items())


def following_hint(current: NativeHistogram, previous: NativeHistogram | None) -> ResetHint:
    """What a store knows of a histogram appended after `previous` (None: the first, or after a stale marker).

    As Prometheus' chunks do (tsdb/chunkenc/float_histogram.go): a gauge stays one, a reset is looked for once, when the
    sample arrives, and a new layout starts anew.
    """
    if current.hint in (ResetHint.GAUGE, ResetHint.RESET):
        return current.hint
    if previous is None or previous.is_gauge:
        return ResetHint.UNKNOWN
    if current.count < previous.count:
        return ResetHint.RESET
    if _layout(current) != _layout(previous):
        return ResetHint.UNKNOWN
    fell = is_reset(current.hinted(ResetHint.UNKNOWN), previous)
    return ResetHint.RESET if fell else ResetHint.NOT_RESET


def _layout(one: NativeHistogram) -> tuple[int, float, tuple[float, ...]]:
    return one.schema, one.zero_threshold, one.bounds


def empty_like(one: NativeHistogram) -> NativeHistogram:
    """A histogram without observations whose layout never stands in the way of `one`'s."""
    bounds = one.bounds if one.schema == CUSTOM_SCHEMA else ()
    return NativeHistogram(one.schema, 0.0, 0.0, bounds=bounds)
