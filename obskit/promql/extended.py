"""The experimental range modifiers: `anchored` and `smoothed` (promql/functions.go, extendedRate).

Nothing is extrapolated. An anchored window begins with the newest sample at or before its left border; a smoothed one
has values interpolated at both borders. Samples are looked for up to the lookback outside the window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from obskit.promql import starts
from obskit.promql.blocks import Block, Bools, Floats
from obskit.promql.borders import search
from obskit.promql.columns import SampleColumns
from obskit.promql.labelsets import Ints
from obskit.promql.rates import changes, resets
from obskit.promql.windows import Windows


@dataclass(frozen=True, slots=True)
class ExtendedWindows:
    """Windows that may use samples outside: `first` and `last` (included) are the samples at or beyond the borders."""

    samples: SampleColumns
    first: Ints
    last: Ints
    begins_ms: Ints
    ends_ms: Ints
    present: Bools
    smoothed: bool

    @property
    def span_s(self) -> float:
        """The length of the windows as written."""
        return float(self.ends_ms[0] - self.begins_ms[0]) / 1000

    def at(self, position: Ints) -> tuple[Floats, Ints]:
        """Value and time of the samples at these positions; anything where there is none."""
        if not len(self.samples.values):
            return np.zeros(position.shape), np.zeros(position.shape, np.int64)
        return self.samples.values.take(position, mode="clip"), self.samples.times_ms.take(position, mode="clip")


def extend(
    samples: SampleColumns, ends_ms: Ints, steps: int, span_ms: int, *, lookback_ms: int, smoothed: bool
) -> ExtendedWindows:
    """The extended windows `(end - span, end]`, at one end for all steps or one per step."""
    begins_ms = ends_ms - span_ms
    low = search(samples, begins_ms - lookback_ms)
    high = search(samples, ends_ms + (lookback_ms if smoothed else 0))
    first = np.maximum(search(samples, begins_ms) - 1, low)
    # Smoothed: the first sample at or after the right border; else the last one up to it.
    last = np.minimum(search(samples, ends_ms - 1), high - 1) if smoothed else high - 1
    present = high > low
    if len(samples.times_ms):
        present &= (samples.times_ms.take(last, mode="clip") > begins_ms) & (
            samples.times_ms.take(first, mode="clip") <= ends_ms
        )
    shape = (len(samples.starts) - 1, steps)
    return ExtendedWindows(
        samples,
        np.broadcast_to(first, shape),
        np.broadcast_to(last, shape),
        np.broadcast_to(begins_ms, steps),
        np.broadcast_to(ends_ms, steps),
        np.broadcast_to(present, shape),
        smoothed,
    )


def _left(windows: ExtendedWindows, *, counter: bool) -> Floats:
    value, time = windows.at(windows.first)
    if not windows.smoothed:
        return value
    following, then = windows.at(windows.first + 1)
    # A counter that was reset on the way began anew at zero.
    start = np.where(counter & (following < value), 0.0, value)
    between = start + (following - start) * (windows.begins_ms - time) / (then - time)
    return np.where(time < windows.begins_ms, between, value)


def _right(windows: ExtendedWindows, *, counter: bool) -> Floats:
    value, time = windows.at(windows.last)
    if not windows.smoothed:
        return value
    earlier, then = windows.at(windows.last - 1)
    has_earlier = windows.last > windows.samples.starts[:-1, None]
    target = np.where(counter & (value < earlier), value + earlier, value)
    between = earlier + (target - earlier) * (windows.ends_ms - then) / (time - then)
    return np.where((time > windows.ends_ms) & has_earlier, between, value)


def _difference(windows: ExtendedWindows, *, counter: bool) -> Floats:
    left, right = _left(windows, counter=counter), _right(windows, counter=counter)
    return right - left + (_lost_to_resets(windows, left, right) if counter else 0.0)


def _lost_to_resets(windows: ExtendedWindows, left: Floats, right: Floats) -> Floats:
    """What the counter had reached before each reset, from the left border's value to the right border's."""
    begin = windows.first + (windows.at(windows.first)[1] <= windows.begins_ms)
    end = np.maximum(windows.last + (windows.at(windows.last)[1] < windows.ends_ms), begin)
    inner = Windows(windows.samples, begin, end, windows.ends_ms, windows.ends_ms, 0)
    values = windows.samples.values
    fell = np.concatenate((np.zeros(min(1, len(values))), np.where(values[1:] < values[:-1], values[:-1], 0.0)))
    within = np.where(inner.counts >= 2, inner.reduce(np.add, fell, skip=1), 0.0)
    entering, leaving = windows.at(begin)[0], windows.at(end - 1)[0]
    edges = np.where(entering < left, left, 0.0) + np.where(right < leaving, leaving, 0.0)
    return np.where(end > begin, within + edges, np.where(right < left, left, 0.0))


def _rate(windows: ExtendedWindows) -> Block:
    return Block(windows.samples.sets, _difference(windows, counter=True) / windows.span_s, windows.present)


def _increase(windows: ExtendedWindows) -> Block:
    return Block(windows.samples.sets, _difference(windows, counter=True), windows.present)


def _delta(windows: ExtendedWindows) -> Block:
    return Block(windows.samples.sets, _difference(windows, counter=False), windows.present)


def _anchored(fold: Callable[[Windows], Block]) -> Callable[[ExtendedWindows], Block]:
    """The fold of a plain window that starts at the anchor."""

    def folded(windows: ExtendedWindows) -> Block:
        plain = Windows(windows.samples, windows.first, windows.last + 1, windows.ends_ms, windows.ends_ms, 0)
        return Block(windows.samples.sets, fold(plain).values, windows.present)

    return folded


def _resets(windows: Windows) -> Block:
    return resets(windows) if windows.samples.start_ms is None else starts.resets(windows)


EXTENDED: Final[dict[str, Callable[[ExtendedWindows], Block]]] = {
    "rate": _rate,
    "increase": _increase,
    "delta": _delta,
    "changes": _anchored(changes),
    "resets": _anchored(_resets),
}


def smooth(samples: SampleColumns, ends_ms: Ints, lookback_ms: int) -> Block:
    """`selector smoothed`: the value between the samples around each moment, or the newest when none follows."""
    last = search(samples, ends_ms) - 1
    high = search(samples, ends_ms + lookback_ms)
    present = last >= samples.starts[:-1, None]
    if not len(samples.values):
        return Block(samples.sets, np.zeros(last.shape), present)
    value, time = samples.values.take(last, mode="clip"), samples.times_ms.take(last, mode="clip")
    following, then = samples.values.take(last + 1, mode="clip"), samples.times_ms.take(last + 1, mode="clip")
    present = present & (time > ends_ms - lookback_ms)
    between = value + (following - value) * (ends_ms - time) / (then - time)
    return Block(samples.sets, np.where((last + 1 < high) & (time < ends_ms), between, value), present)
