"""`anchored` and `smoothed` ranges with histograms (promql/functions.go, extendedHistogramRate).

As with floats nothing is extrapolated; a border of a smoothed range is interpolated bucket by bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from obskit.model.histogram_arithmetic import is_reset
from obskit.model.histograms import NativeHistogram, ResetHint
from obskit.promql import histogram_notes as notes
from obskit.promql.blocks import Block, Bools, Value
from obskit.promql.borders import search
from obskit.promql.columns import SampleColumns
from obskit.promql.context import Context
from obskit.promql.extended import ExtendedWindows
from obskit.promql.histogram_rates import Counting
from obskit.promql.histogram_values import held, none_of
from obskit.promql.histogram_windows import Window, changed, was_reset
from obskit.promql.labelsets import Ints
from obskit.promql.nodes import Call, VectorSelector

Point = tuple[int, NativeHistogram]


@dataclass(frozen=True, slots=True)
class HistogramExtendedWindows:
    """Windows with what lies up to the lookback outside them: row `r` at step `s` holds `low[r, s]:high[r, s]`."""

    floats: ExtendedWindows
    samples: SampleColumns
    low: Ints
    high: Ints

    @classmethod
    def of(
        cls, floats: ExtendedWindows, samples: SampleColumns, ends_ms: Ints, span_ms: int, lookback_ms: int
    ) -> HistogramExtendedWindows:
        """The windows over all samples beside those over the floats."""
        low = search(samples, ends_ms - span_ms - lookback_ms)
        high = search(samples, ends_ms + (lookback_ms if floats.smoothed else 0))
        shape = floats.first.shape
        return cls(floats, samples, np.broadcast_to(low, shape), np.broadcast_to(high, shape))

    def window(self, row: int, step: int) -> Window:
        """All samples around a window."""
        assert self.samples.histograms is not None
        span = slice(int(self.low[row, step]), int(self.high[row, step]))
        times, starts = self.samples.times_ms[span].tolist(), self.samples.start_ms
        stamps = [0] * len(times) if starts is None else starts[span].tolist()
        histograms = self.samples.histograms[span].tolist()
        return Window(row, step, times, self.samples.values[span].tolist(), histograms, stamps)

    def histogram_counts(self) -> Ints:
        """How many histograms lie around each window."""
        assert self.samples.histograms is not None
        count = np.concatenate(([0], np.cumsum(held(self.samples.histograms))))
        return count[self.high] - count[self.low]


def extended(
    function: Callable[[Context, Call, list[Any]], Value],
    context: Context,
    call: Call,
    windows: HistogramExtendedWindows,
) -> Block:
    """rate, increase, delta, changes or resets."""
    block = function(context, call, [windows.floats])
    assert isinstance(block, Block)
    counts = windows.histogram_counts()
    if call.name in ("changes", "resets"):
        return _counted(call, windows, block, counts > 0)
    present, cells = block.present & (counts == 0), none_of(block.values.shape)
    for row, step in np.argwhere(counts > 0).tolist():
        window, name = windows.window(row, step), windows.samples.sets[row].name
        points = [(t, one) for t, one in zip(window.times_ms, window.histograms, strict=True) if one is not None]
        if len(points) < len(window.times_ms):
            notes.mixed_floats(context, call.args[0], name)
            continue
        borders = int(windows.floats.begins_ms[step]), int(windows.floats.ends_ms[step])
        counting = Counting(context, call.args[0], name, call.name != "delta")
        result = _Range(counting, points, borders, windows.floats.smoothed).increase()
        if result is not None:
            span_s = (borders[1] - borders[0]) / 1000
            cells[row, step] = result.divided(span_s) if call.name == "rate" else result
    return Block(block.sets, block.values, present | held(cells), cells)


def _counted(call: Call, windows: HistogramExtendedWindows, block: Block, where: Bools) -> Block:
    """changes and resets from the anchor on, the newest sample at or before the left border."""
    values, present = block.values.copy(), block.present.copy()
    counts = changed if call.name == "changes" else was_reset
    for row, step in np.argwhere(where).tolist():
        window, begin = windows.window(row, step), int(windows.floats.begins_ms[step])
        inside = [position for position, t_ms in enumerate(window.times_ms) if t_ms > begin]
        present[row, step] = bool(inside)
        values[row, step] = sum(counts(window, after) for after in inside if after > 0)
    return Block(block.sets, values, present)


@dataclass(frozen=True, slots=True)
class _Range:
    """The histograms around one window."""

    counting: Counting
    points: list[Point]
    borders: tuple[int, int]
    smoothed: bool

    def increase(self) -> NativeHistogram | None:
        """What was added from border to border; None when there is nothing to tell it from."""
        begin, end = self.borders
        times = [t_ms for t_ms, _ in self.points]
        first = max(0, sum(t_ms <= begin for t_ms in times[:-1]) - 1)
        last = sum(t_ms < end for t_ms in times[:-1]) if self.smoothed else len(times) - 1
        if times[last] <= begin or (self.smoothed and times[first] > end):
            return None
        if not self._one_kind(first, last):
            return None
        left, right = self._left(first), self._right(last)
        if left is None or right is None:
            return None
        if not self.counting.is_counter and not (left.is_gauge and right.is_gauge):
            notes.not_gauge(self.counting.context, self.counting.expr, self.counting.name)
        result = self.counting.subtract(right, left)
        if result is not None and self.counting.is_counter:
            lost = self._lost(first, last, left, right)
            result = self.counting.add([result, *lost]) if lost else result
        return result and result.hinted(ResetHint.GAUGE)

    def _one_kind(self, first: int, last: int) -> bool:
        histograms = [one for _, one in self.points[first : last + 1]]
        if any(one.is_custom != histograms[0].is_custom for one in histograms):
            notes.mixed_schemas(self.counting.context, self.counting.expr, self.counting.name)
            return False
        if self.counting.is_counter:
            self.counting.check_kind(histograms)
        return True

    def _left(self, first: int) -> NativeHistogram | None:
        t_ms, histogram = self.points[first]
        if self.smoothed and t_ms < self.borders[0]:
            return between(self.counting, self.points[first], self.points[first + 1], self.borders[0])
        return histogram

    def _right(self, last: int) -> NativeHistogram | None:
        t_ms, histogram = self.points[last]
        if self.smoothed and last > 0 and t_ms > self.borders[1]:
            return between(self.counting, self.points[last - 1], self.points[last], self.borders[1])
        return histogram

    def _lost(self, first: int, last: int, left: NativeHistogram, right: NativeHistogram) -> list[NativeHistogram]:
        """What the counter had reached before each reset, from the left border's histogram to the right one's."""
        before, inner = left, self.points[first + 1 : last]
        if self.smoothed and self.points[first][0] < self.borders[0]:
            following = self.points[first + 1][1]
            if is_reset(following, self.points[first][1]):
                # The left border was interpolated over this reset, which is in it already.
                if first + 1 == last:
                    return []
                before, inner = following, inner[1:]
        elif first == last:
            return []
        lost = []
        for histogram in (*(one for _, one in inner), right):
            if is_reset(histogram, before):
                lost.append(before)
            before = histogram
        return lost


def between(counting: Counting, one: Point, other: Point, at_ms: int) -> NativeHistogram | None:
    """The histogram between two samples, bucket by bucket; after a reset the counter began at zero."""
    if at_ms in (one[0], other[0]):
        return one[1] if at_ms == one[0] else other[1]
    share = (at_ms - one[0]) / (other[0] - one[0])
    if counting.is_counter and is_reset(other[1], one[1]):
        return other[1].scaled(share)
    apart = counting.subtract(other[1], one[1])
    found = apart and counting.add([apart.hinted(other[1].hint).scaled(share), one[1]])
    return found and found.hinted(other[1].hint)


def smooth_histograms(
    context: Context,
    selector: VectorSelector,
    samples: SampleColumns,
    ends_ms: Ints,
    floats: Block,
    *,
    lookback_ms: int,
) -> Block:
    """`selector smoothed` with histograms: between the samples around each moment, when both are histograms."""
    assert samples.histograms is not None
    last, high = search(samples, ends_ms) - 1, search(samples, ends_ms + lookback_ms)
    cells, present = none_of(last.shape), floats.present.copy()
    for row, step in np.argwhere(last >= samples.starts[:-1, None]).tolist():
        place, end = int(last[row, step]), int(ends_ms[step])
        time, histogram = int(samples.times_ms[place]), samples.histograms[place]
        follows = place + 1 < high[row, step] and time < end
        following = samples.histograms[place + 1] if follows else None
        current = time > end - lookback_ms
        if current and follows and (histogram is None) != (following is None):
            notes.mixed_floats(context, selector, samples.sets[row].name)
            present[row, step] = False
            continue
        if histogram is None:
            continue
        if current and following is not None and histogram.is_custom != following.is_custom:
            notes.mixed_schemas(context, selector, samples.sets[row].name)
            continue
        present[row, step] = current
        if following is not None and current:
            counting = Counting(context, selector, samples.sets[row].name, not following.is_gauge)
            histogram = between(counting, (time, histogram), (int(samples.times_ms[place + 1]), following), end)
            present[row, step] = histogram is not None
        cells[row, step] = histogram
    return Block(floats.sets, floats.values, present, cells)
