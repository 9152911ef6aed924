"""rate, increase, delta and what else looks at neighbouring samples (promql/functions.go, extrapolatedRate)."""

from __future__ import annotations

import numpy as np

from obskit.promql.blocks import Block, Bools, Floats
from obskit.promql.windows import Windows


def rate(windows: Windows) -> Block:
    """Increase per second, extrapolated to the window's borders."""
    return _extrapolated(windows, counter=True, per_second=True)


def increase(windows: Windows) -> Block:
    """Increase of a counter over the window, extrapolated."""
    return _extrapolated(windows, counter=True, per_second=False)


def delta(windows: Windows) -> Block:
    """Difference of a gauge over the window, extrapolated."""
    return _extrapolated(windows, counter=False, per_second=False)


def _extrapolated(windows: Windows, *, counter: bool, per_second: bool) -> Block:
    counts = windows.counts
    times, values = windows.samples.times_ms, windows.samples.values
    first_value: Floats = windows.nth(values, windows.first)
    result = windows.nth(values, windows.last - 1) - first_value
    if counter:
        result = result + _lost_to_resets(windows)
    first_time, last_time = windows.nth(times, windows.first), windows.nth(times, windows.last - 1)
    sampled = (last_time - first_time) / 1000
    average = sampled / (counts - 1)
    to_start = (first_time - (windows.ends_ms - windows.span_ms)) / 1000
    to_end = (windows.ends_ms - last_time) / 1000
    to_start = np.where(to_start >= average * 1.1, average / 2, to_start)
    to_end = np.where(to_end >= average * 1.1, average / 2, to_end)
    if counter:
        # A counter cannot have been below zero: do not extrapolate past where it would have started.
        to_zero = np.where((result > 0) & (first_value >= 0), sampled * (first_value / result), np.inf)
        to_start = np.minimum(to_start, to_zero)
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor = factor / (windows.span_ms / 1000)
    return windows.block(result * factor, counts >= 2)


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
    return _instant(windows, counter=True)


def idelta(windows: Windows) -> Block:
    """Difference of the last two samples."""
    return _instant(windows, counter=False)


def _instant(windows: Windows, *, counter: bool) -> Block:
    values, times = windows.samples.values, windows.samples.times_ms
    before, after = windows.nth(values, windows.last - 2), windows.nth(values, windows.last - 1)
    elapsed = (windows.nth(times, windows.last - 1) - windows.nth(times, windows.last - 2)) / 1000
    result = after - before
    if counter:
        result = np.where(after < before, after, result) / elapsed
    return windows.block(result, (windows.counts >= 2) & (elapsed != 0))
