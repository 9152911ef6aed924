"""Range vectors with histograms among the samples: the *_over_time functions, changes and resets.

Histograms are rare and large: their windows are walked one by one. Windows of floats only go the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from obskit.model.histogram_arithmetic import Combined, is_reset, mean, total
from obskit.model.histograms import NativeHistogram
from obskit.promql import histogram_notes as notes
from obskit.promql.blocks import Block, Bools
from obskit.promql.context import Context
from obskit.promql.histogram_values import Histograms, held, none_of
from obskit.promql.labelsets import Ints
from obskit.promql.nodes import Call, ValueType
from obskit.promql.starts import is_start_reset
from obskit.promql.windows import Windows

Fold = Callable[[Windows], Block]


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of one window in order of time; `histograms` has None where a float is. `starts_ms` may be zeros."""

    row: int
    step: int
    times_ms: list[int]
    values: list[float]
    histograms: list[NativeHistogram | None]
    starts_ms: list[int]


@dataclass(frozen=True)
class MixedWindows:
    """Windows over floats and histograms, and what each window holds of them."""

    windows: Windows

    @cached_property
    def floats(self) -> Windows:
        """The same windows without the histograms."""
        whole = self.windows
        kept = np.concatenate(([0], np.cumsum(~self._is_histogram)))
        floats = whole.samples.floats()
        return replace(whole, samples=floats, first=kept[whole.first], last=kept[whole.last])

    @cached_property
    def _is_histogram(self) -> Bools:
        assert self.windows.samples.histograms is not None
        return held(self.windows.samples.histograms)

    @cached_property
    def counts(self) -> Ints:
        """How many histograms each window holds."""
        counts: Ints = self.windows.counts - self.floats.counts
        return counts

    @property
    def only_floats(self) -> Bools:
        """Where there are floats and nothing else."""
        found: Bools = (self.counts == 0) & (self.floats.counts > 0)
        return found

    @property
    def mixed(self) -> Bools:
        """Where there are both."""
        found: Bools = (self.counts > 0) & (self.floats.counts > 0)
        return found

    def each(self, where: Bools) -> Iterator[Window]:
        """The windows at some places."""
        samples = self.windows.samples
        assert samples.histograms is not None
        for row, step in np.argwhere(where).tolist():
            span = slice(int(self.windows.first[row, step]), int(self.windows.last[row, step]))
            times = samples.times_ms[span].tolist()
            starts = [0] * len(times) if samples.start_ms is None else samples.start_ms[span].tolist()
            yield Window(row, step, times, samples.values[span].tolist(), samples.histograms[span].tolist(), starts)

    def block(self, floats: Block, histograms: Histograms) -> Block:
        """Results: floats where a window has only those, histograms where there is one."""
        found = held(histograms)
        return Block(floats.sets, floats.values, floats.present & self.only_floats | found, histograms)

    def cells(self) -> Histograms:
        """Room for a result per window."""
        return none_of(self.windows.first.shape)

    def name(self, row: int) -> str:
        """The metric name of a row."""
        return self.windows.sets[row].name


def warn_of_mixed(context: Context, call: Call, mixed: MixedWindows) -> None:
    """Warn of each row with a window that has both."""
    for row in np.flatnonzero(mixed.mixed.any(axis=1)).tolist():
        notes.mixed_floats(context, call.args[0], mixed.name(row))


def floats_only(context: Context, call: Call, windows: Windows) -> Windows:
    """The floats of windows for a function that knows nothing else."""
    mixed = MixedWindows(windows)
    expr = next(arg for arg in call.args if arg.type is ValueType.MATRIX)
    for row in np.flatnonzero(mixed.mixed.any(axis=1)).tolist():
        notes.ignored_in_range(context, expr, mixed.name(row))
    return mixed.floats


def combine_over_time(fold: Fold, context: Context, call: Call, windows: Windows) -> Block:
    """sum_over_time and avg_over_time."""
    combine: Callable[[list[NativeHistogram]], Combined | None] = mean if call.name == "avg_over_time" else total
    mixed = MixedWindows(windows)
    warn_of_mixed(context, call, mixed)
    cells = mixed.cells()
    for window in mixed.each((mixed.counts > 0) & ~mixed.mixed):
        found = combine([one for one in window.histograms if one is not None])
        if found is None:
            notes.mixed_schemas(context, call.args[0], mixed.name(window.row))
            continue
        notes.combined(context, call.args[0], found, "aggregation")
        cells[window.row, window.step] = found.histogram
    return mixed.block(fold(mixed.floats), cells)


def pick_over_time(fold: Fold, _context: Context, call: Call, windows: Windows) -> Block:
    """first_over_time and last_over_time, of whatever kind the sample is."""
    assert windows.samples.histograms is not None
    block = fold(windows)
    position = windows.first if call.name == "first_over_time" else windows.last - 1
    return replace(block, histograms=windows.nth(windows.samples.histograms, position))


def count_steps(fold: Fold, _context: Context, call: Call, windows: Windows) -> Block:
    """changes and resets. From a float to a histogram, or back, is both."""
    mixed = MixedWindows(windows)
    block = fold(mixed.floats)
    values, present = block.values.copy(), windows.counts > 0
    counted = changed if call.name == "changes" else was_reset
    for window in mixed.each(mixed.counts > 0):
        values[window.row, window.step] = sum(counted(window, after) for after in range(1, len(window.times_ms)))
    return Block(block.sets, values, present)


def changed(window: Window, after: int) -> bool:
    """Whether a sample differs from the one before it."""
    before, now = window.histograms[after - 1 : after + 1]
    if before is not None or now is not None:
        return before != now
    old, new = window.values[after - 1 : after + 1]
    return old != new and not (np.isnan(old) and np.isnan(new))


def was_reset(window: Window, after: int) -> bool:
    """Whether a counter was reset before a sample."""
    before, now = window.histograms[after - 1 : after + 1]
    if (before is None) != (now is None) or started_anew(window, after):
        return True
    if before is None or now is None:
        return window.values[after] < window.values[after - 1]
    return is_reset(now, before)


def started_anew(window: Window, after: int) -> bool:
    """Whether a sample's start timestamp says that its counter began after the sample before."""
    starts, times = window.starts_ms, window.times_ms
    return is_start_reset((starts[after - 1], times[after - 1]), (starts[after], times[after]))
