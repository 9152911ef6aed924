"""rate, increase, delta and what else looks at neighbouring samples (promql/functions.go, extrapolatedRate)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from obskit.promql.blocks import MANY_STEPS, Block, Bools, Floats, blank
from obskit.promql.clocks import Rows
from obskit.promql.columns import SampleColumns
from obskit.promql.labelsets import Ints
from obskit.promql.windows import RangeVector, Windows, reduced


def rate(windows: Windows | RangeVector) -> Block:
    """Increase per second, extrapolated to the window's borders."""
    return _extrapolated(windows, counter=True, per_second=True)


def increase(windows: Windows | RangeVector) -> Block:
    """Increase of a counter over the window, extrapolated."""
    return _extrapolated(windows, counter=True, per_second=False)


def delta(windows: Windows | RangeVector) -> Block:
    """Difference of a gauge over the window, extrapolated."""
    return _extrapolated(windows, counter=False, per_second=False)


def _extrapolated(windows: Windows | RangeVector, *, counter: bool, per_second: bool) -> Block:
    measure = Measure(windows.span_ms, counter, per_second)
    if isinstance(windows, Windows):
        return _of_windows(windows, measure)
    if len(windows.ends_ms) < MANY_STEPS:
        return windows.folded(lambda band: _of_windows(band, measure))
    return _of_clocks(windows, measure)


def _of_windows(windows: Windows, measure: Measure) -> Block:
    values, times, first, last = windows.samples.values, windows.samples.times_ms, windows.first, windows.last - 1
    reach = Reach.of(windows.counts, windows.nth(times, first), windows.nth(times, last), windows.ends_ms, measure)
    resets = _lost_to_resets(windows) if measure.counter else 0.0
    result = extrapolated(windows.nth(values, first), windows.nth(values, last), resets, reach, measure)
    return windows.block(result, windows.counts >= 2)


@dataclass(frozen=True, slots=True)
class Measure:
    """How long windows are, whether it is counters that are in them, and whether their increase per second is wanted."""

    span_ms: int
    counter: bool
    per_second: bool

    @property
    def seconds(self) -> float:
        """What the increase is divided by."""
        return self.span_ms / 1000 if self.per_second else 1.0


@dataclass(frozen=True, slots=True)
class Reach:
    """How many seconds lie between the outermost samples of windows, and how far these reach out to either side."""

    sampled: Floats
    to_start: Floats
    to_end: Floats

    @classmethod
    def of(cls, counts: Ints, first_ms: Ints, last_ms: Ints, ends_ms: Ints, measure: Measure) -> Self:
        """The reach of windows that end at `ends_ms`, going by the samples within them."""
        sampled = (last_ms - first_ms) / 1000
        average = sampled / (counts - 1)
        threshold = average * 1.1
        to_start = (first_ms - (ends_ms - measure.span_ms)) / 1000
        to_end = (ends_ms - last_ms) / 1000
        average /= 2
        np.copyto(to_start, average, where=to_start >= threshold)
        np.copyto(to_end, average, where=to_end >= threshold)
        return cls(sampled, to_start, to_end)

    def farthest(self, counts: Ints) -> Floats:
        """How far any window of a line reaches out to the left, as a part of what was sampled."""
        farthest: Floats = np.max(self.to_start / self.sampled, axis=1, keepdims=True, where=counts >= 2, initial=0.0)
        return farthest

    def lines(self, rows: Rows, some: Ints) -> Self:
        """The reach of some of these rows."""
        return type(self)(*(rows.lines(getattr(self, column.name), some) for column in fields(self)))

    def not_below_zero(self, first: Floats, result: Floats) -> Self:
        """A counter cannot have been below zero: it does not reach past where it would have started."""
        to_zero = self.sampled * (first / result)
        np.copyto(to_zero, self.to_start, where=~((result > 0) & (first >= 0)))
        return replace(self, to_start=np.minimum(to_zero, self.to_start, out=to_zero))

    def factor(self, measure: Measure) -> Floats:
        """What to multiply by that which was seen between the samples."""
        whole = self.to_start + self.sampled
        whole += self.to_end
        whole /= self.sampled
        whole /= measure.seconds
        return whole


def extrapolated(first: Floats, last: Floats, resets: Floats | float, reach: Reach, measure: Measure) -> Floats:
    """What windows would have from border to border; `resets` is what counters had reached before each reset inside."""
    result = last - first
    if measure.counter:
        result += resets
        reach = reach.not_below_zero(first, result)
    result *= reach.factor(measure)
    return result


def _of_clocks(ranged: RangeVector, measure: Measure) -> Block:
    """The same where there are many steps: what follows from times alone is worked out once per clock."""
    values, present = blank(len(ranged.sets), len(ranged.ends_ms))
    fell = _rows_with_resets(ranged.samples) if measure.counter else np.zeros(0, np.int64)
    for band in ranged.by_clock():
        first_ms, last_ms = band.times_at(band.first), band.times_at(band.last - 1)
        reach = Reach.of(band.counts, first_ms, last_ms, ranged.ends_ms, measure)
        there, factor, farthest = band.counts >= 2, reach.factor(measure), reach.farthest(band.counts)
        for rows in band.rows():
            present[rows.rows] = there[rows.clocks]
            result = rows.read(rows.newest, values[rows.rows])
            first = rows.read(rows.first, np.empty_like(result))
            result -= first
            if not measure.counter:
                result *= factor[rows.clocks]
                continue
            _add_resets(result, rows, fell)
            near = _near_zero(first, result, farthest[rows.clocks])
            nearer = reach.lines(rows, near).not_below_zero(first[near], result[near]) if len(near) else None
            cut = None if nearer is None else result[near] * nearer.factor(measure)
            result *= factor[rows.clocks]
            if cut is not None:
                result[near] = cut
    return Block(ranged.sets, values, present)


def _near_zero(first: Floats, result: Floats, farthest: Floats) -> Ints:
    """The rows in which a counter can have been zero after its window's begin. A quick look, at a row's extremes.

    What stands where a window is empty is as good as any: at worst it makes this careful. So does a NaN.
    """
    lowest = np.minimum.reduce(first, axis=1, keepdims=True)
    most = np.maximum.reduce(result, axis=1, keepdims=True) * (farthest * 1.001)
    return np.flatnonzero(~((lowest >= most) & (lowest >= 0)))


def _lost_to_resets(windows: Windows) -> Floats | float:
    """What counters had reached before each reset inside their window."""
    values = windows.samples.values
    # Most queries meet no reset at all and are done here.
    return _over_pairs(windows, _lost(values)) if len(_rows_with_resets(windows.samples)) else 0.0


def _lost(values: Floats) -> Floats:
    return np.concatenate(([0.0], np.where(values[1:] < values[:-1], values[:-1], 0.0)))


def _rows_with_resets(samples: SampleColumns) -> Ints:
    """The rows in which a value is less than the one before."""
    values, starts = samples.values, samples.starts
    fell = values[1:] < values[:-1]
    borders = starts[1:-1]  # between two series there is no reset
    fell[borders[(borders > 0) & (borders < len(values))] - 1] = False
    return np.flatnonzero(np.bincount(starts.searchsorted(np.flatnonzero(fell) + 1, side="right") - 1))


def _add_resets(result: Floats, rows: Rows, fell: Ints) -> None:
    """Add what counters lost in each window, to those of the rows that are among `fell`."""
    some = fell[(fell >= rows.rows.start) & (fell < rows.rows.stop)] - rows.rows.start if len(fell) else fell
    if len(some):
        first, last = rows.positions(some)
        lost = reduced(np.add, _lost(rows.column.reshape(-1)), np.minimum(first + 1, last), last)
        result[some] += np.where(last - first >= 2, lost, 0.0)


def _over_pairs(windows: Windows, per_pair: Floats) -> Floats:
    """The sum over the neighbours of each window; `per_pair[i]` belongs to samples i-1 and i.

    The window's first sample is skipped: its left neighbour is outside, or another series'.
    """
    return np.where(windows.counts >= 2, windows.reduce(np.add, per_pair, skip=1), 0.0)


def _pairs(changed: Bools) -> Floats:
    return np.concatenate(([0.0], changed))


def changes(windows: Windows) -> Block:
    """How often the value changed."""
    values = windows.samples.values
    before, after = values[:-1], values[1:]
    changed = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return windows.block(_over_pairs(windows, _pairs(changed)), windows.counts > 0)


def resets(windows: Windows) -> Block:
    """How often the value fell."""
    values = windows.samples.values
    return windows.block(_over_pairs(windows, _pairs(values[1:] < values[:-1])), windows.counts > 0)


def irate(windows: Windows) -> Block:
    """Increase per second between the last two samples."""
    return _last_two(windows, counter=True)


def idelta(windows: Windows) -> Block:
    """Difference of the last two samples."""
    return _last_two(windows, counter=False)


def _last_two(windows: Windows, *, counter: bool) -> Block:
    values, times = windows.samples.values, windows.samples.times_ms
    before, after = windows.nth(values, windows.last - 2), windows.nth(values, windows.last - 1)
    elapsed_ms = windows.nth(times, windows.last - 1) - windows.nth(times, windows.last - 2)
    result = between(before, after, elapsed_ms, counter=counter)
    return windows.block(result, (windows.counts >= 2) & (elapsed_ms != 0))


def between(before: Floats, after: Floats, elapsed_ms: Ints, *, counter: bool) -> Floats:
    """The difference of two samples; a counter's per second, and a reset counter began at zero."""
    if counter:
        return np.where(after < before, after, after - before) / (elapsed_ms / 1000)
    return after - before
