"""Start timestamps: when a counter began, as far as its samples say (promql/functions.go, isStartTimestampReset).

With them a reset is seen though the value rose, and the first increment of a counter born inside the window counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from obskit.promql.blocks import Block, Bools, Floats
from obskit.promql.labelsets import Ints
from obskit.promql.windows import Windows

Stamp = tuple[int, int]
"""Start timestamp (0: unknown) and time of a sample."""


def is_start_reset(before: Stamp, now: Stamp) -> bool:
    """Whether a sample's start timestamp says that the counter began anew after the sample before.

    A start at the very time of the sample before is a reset in a delta series, where that sample had a start of its
    own; OpenTelemetry writes it too when the start of a cumulative series is unknown.
    """
    start, time = now
    if start == 0 or start >= time or start < before[1]:
        return False
    return start > before[1] or 0 < before[0] < before[1]


def overlaps(before: Stamp, now: Stamp) -> bool:
    """Whether a sample claims a part of the time that the sample before spoke for, without being its continuation."""
    return now[0] != 0 and now[0] < before[1] and now[0] != before[0]


def rows_with_overlap(windows: Windows) -> Ints:
    """The rows in which some window holds overlapping samples."""
    starts, times = _starts(windows), windows.samples.times_ms
    found = (starts[1:] != 0) & (starts[1:] < times[:-1]) & (starts[1:] != starts[:-1])
    return np.flatnonzero((_over_pairs(windows, found.astype(float)) > 0).any(axis=1))


def _starts(windows: Windows) -> Ints:
    assert windows.samples.start_ms is not None
    return windows.samples.start_ms


def _resets(windows: Windows) -> Bools:
    """For each sample but the first of all, whether it follows a reset; nothing sensible where a series begins."""
    values, times, starts = windows.samples.values, windows.samples.times_ms, _starts(windows)
    before, now = starts[:-1], starts[1:]
    meets = (now == times[:-1]) & (before > 0) & (before < times[:-1])
    said = (now != 0) & (now < times[1:]) & ((now > times[:-1]) | meets)
    fell: Bools = (values[1:] < values[:-1]) | said
    return fell


def _over_pairs(windows: Windows, per_pair: Floats) -> Floats:
    """The sum over the neighbours within each window."""
    column = np.concatenate((np.zeros(min(1, len(windows.samples.values))), per_pair))
    return np.where(windows.counts >= 2, windows.reduce(np.add, column, skip=1), 0.0)


def rate(windows: Windows) -> Block:
    """Increase per second."""
    block = increase(windows)
    return block.with_values(block.values / (windows.span_ms / 1000))


def increase(windows: Windows) -> Block:
    """Increase of a counter: from its start when that lies in the window, else extrapolated to the left border."""
    times, values, counts = windows.samples.times_ms, windows.samples.values, windows.counts
    first_value, first_time = windows.nth(values, windows.first), windows.nth(times, windows.first)
    last_time, start = windows.nth(times, windows.last - 1), windows.nth(_starts(windows), windows.first)
    lost = _over_pairs(windows, np.where(_resets(windows), values[:-1], 0.0))
    result = windows.nth(values, windows.last - 1) - first_value + lost
    begin = windows.ends_ms - windows.span_ms
    born = (start != 0) & (start > begin) & (start < first_time)
    sampled = (last_time - first_time) / 1000
    average = np.where(counts > 1, sampled / np.maximum(counts - 1, 1), 0.0)
    to_start, to_end = (first_time - begin) / 1000, (windows.ends_ms - last_time) / 1000
    to_start = np.where(to_start >= average * 1.1, average / 2, to_start)
    to_end = np.where(to_end >= average * 1.1, average / 2, to_end)
    to_zero = np.where((result > 0) & (first_value >= 0), sampled * (first_value / result), np.inf)
    to_start = np.where(born, 0.0, np.minimum(to_start, to_zero))
    sampled = np.where(born, (last_time - start) / 1000, sampled)
    result = np.where(born, result + first_value, result)
    return windows.block(result * ((sampled + to_start + to_end) / sampled), (counts >= 2) | ((counts == 1) & born))


def irate(windows: Windows) -> Block:
    """Increase per second between the last two samples."""
    values, times = windows.samples.values, windows.samples.times_ms
    before, after = windows.nth(values, windows.last - 2), windows.nth(values, windows.last - 1)
    elapsed = (windows.nth(times, windows.last - 1) - windows.nth(times, windows.last - 2)) / 1000
    fell = windows.nth(np.concatenate((np.zeros(min(1, len(values)), bool), _resets(windows))), windows.last - 1)
    return windows.block(np.where(fell, after, after - before) / elapsed, (windows.counts >= 2) & (elapsed != 0))


def resets(windows: Windows) -> Block:
    """How often the counter began anew."""
    return windows.block(_over_pairs(windows, _resets(windows).astype(float)), windows.counts > 0)


FOLDS: Final[dict[str, Callable[[Windows], Block]]] = {fold.__name__: fold for fold in (rate, increase, irate, resets)}
"""What heeds start timestamps."""
