"""rate, increase, delta and what else looks at neighbouring samples (promql/functions.go, extrapolatedRate)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from obskit.promql.blocks import Block, Bools, Floats
from obskit.promql.labelsets import Ints
from obskit.promql.windows import Clocks, Windows


def rate(windows: Windows) -> Block:
    """Increase per second, extrapolated to the window's borders."""
    return _of_windows(windows, counter=True, per_second=True)


def increase(windows: Windows) -> Block:
    """Increase of a counter over the window, extrapolated."""
    return _of_windows(windows, counter=True, per_second=False)


def delta(windows: Windows) -> Block:
    """Difference of a gauge over the window, extrapolated."""
    return _of_windows(windows, counter=False, per_second=False)


def _of_windows(windows: Windows, *, counter: bool, per_second: bool) -> Block:
    values, times, clocks = windows.samples.values, windows.samples.times_ms, windows.clocks
    if clocks is None:
        clocks = Clocks(everyone := np.arange(len(windows.first)), everyone)
    # Whose samples have the same times is extrapolated alike.
    first, last = windows.first[clocks.rows], windows.last[clocks.rows]
    ends = Ends(
        last - first,
        windows.nth(times, first),
        windows.nth(values, windows.first),
        windows.nth(times, last - 1),
        windows.nth(values, windows.last - 1),
        _lost_to_resets(windows) if counter else 0.0,
        clocks.spread,
    )
    result = extrapolated(ends, windows.ends_ms, windows.span_ms, counter=counter, per_second=per_second)
    return windows.block(result, clocks.spread(ends.counts >= 2))


def _as_it_is(column: Floats) -> Floats:
    return column


@dataclass(frozen=True, slots=True)
class Ends:
    """The outermost samples of windows; `resets` is what counters had reached before each reset in between.

    Counts and times may be those of fewer windows than there are values: `spread` gives all windows theirs.
    """

    counts: Ints
    first_ms: Ints
    first: Floats
    last_ms: Ints
    last: Floats
    resets: Floats | float
    spread: Callable[[Floats], Floats] = _as_it_is


def extrapolated(ends: Ends, ends_ms: Ints, span_ms: int, *, counter: bool, per_second: bool) -> Floats:
    """What a window that is `span_ms` long and ends at `ends_ms` would have, going by the samples within it."""
    result = ends.last - ends.first
    if counter:
        result += ends.resets
    sampled = (ends.last_ms - ends.first_ms) / 1000
    average = sampled / (ends.counts - 1)
    threshold = average * 1.1
    to_start = (ends.first_ms - (ends_ms - span_ms)) / 1000
    to_end = (ends_ms - ends.last_ms) / 1000
    average /= 2
    np.copyto(to_start, average, where=to_start >= threshold)
    np.copyto(to_end, average, where=to_end >= threshold)
    spread = ends.spread
    if counter and (spread is _as_it_is or _may_reach_zero(ends, result, to_start, sampled)):
        # A counter cannot have been below zero: do not extrapolate past where it would have started.
        sampled, to_start, to_end, spread = spread(sampled), spread(to_start), spread(to_end), _as_it_is
        to_zero = sampled * (ends.first / result)
        np.minimum(to_start, to_zero, out=to_start, where=(result > 0) & (ends.first >= 0))
    to_start += sampled
    to_start += to_end
    to_start /= sampled
    if per_second:
        to_start /= span_ms / 1000
    result *= spread(to_start)
    return result


def _may_reach_zero(ends: Ends, result: Floats, to_start: Floats, sampled: Floats) -> bool:
    """Whether any counter can have been zero after its window's begin. A quick look: no means no."""
    if not len(result):
        return False
    counted = ends.counts >= 2
    reach = float(np.max(to_start / sampled, where=counted, initial=0.0))
    # What stands where a window is empty is as good as any: at worst it makes this careful. So does a NaN.
    return not (ends.first.min() >= result.max() * (reach * 1.001) and ends.first.min() >= 0)


def _lost_to_resets(windows: Windows) -> Floats | float:
    """What counters had reached before each reset inside their window."""
    values = windows.samples.values
    fell = values[1:] < values[:-1]
    # Between two series there is no reset: without these, most queries have none at all and are done here.
    borders = windows.samples.starts[1:-1]
    fell[borders[(borders > 0) & (borders < len(values))] - 1] = False
    if not fell.any():
        return 0.0
    lost = np.concatenate(([0.0], np.where(fell, values[:-1], 0.0)))
    return _over_pairs(windows, lost)


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
