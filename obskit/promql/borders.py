"""Where windows begin and end among the samples of each row: positions found for all rows and steps at once."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from obskit.promql.labelsets import Ints

FEW_BORDERS: Final = 8
"""For fewer borders than these a search is cheaper than counting all samples."""


class Timed(Protocol):
    """Times of samples, ascending in each row: row `i` owns `starts[i]:starts[i + 1]`."""

    @property
    def starts(self) -> Ints:
        """Where rows begin, and the end of the last."""
        ...

    @property
    def times_ms(self) -> Ints:
        """The times."""
        ...


class Times(NamedTuple):
    """Nothing but times."""

    starts: Ints
    times_ms: Ints

    def band(self, low: int, high: int) -> Times:
        """Those of neighbouring rows."""
        starts = self.starts[low : high + 1]
        return Times(starts - starts[0], self.times_ms[int(starts[0]) : int(starts[-1])])


def borders(samples: Timed, ends_ms: Ints, span_ms: int) -> tuple[Ints, Ints]:
    """Where the windows `(end - span, end]` begin, and where they end."""
    step_ms = _spacing(ends_ms)
    if not step_ms or span_ms % step_ms or span_ms // step_ms > len(ends_ms):
        return search(samples, ends_ms - span_ms), search(samples, ends_ms)
    # A window begins where another one ended some steps before: one look for both.
    back = span_ms // step_ms
    both = search(samples, int(ends_ms[0]) - span_ms + step_ms * np.arange(len(ends_ms) + back))
    return both[:, : len(ends_ms)], both[:, back:]


def search(samples: Timed, borders_ms: Ints) -> Ints:
    """For each row and border the position behind the row's last sample with `t <= border`."""
    rows = len(samples.starts) - 1
    if not len(samples.times_ms):
        return np.zeros((rows, len(borders_ms)), np.int64)
    step_ms = _spacing(borders_ms)
    return _count_up(samples, borders_ms, step_ms) if step_ms else _bisect(samples, borders_ms)


def _spacing(borders_ms: Ints) -> int:
    """The distance of many borders that are evenly spaced; else 0."""
    if len(borders_ms) < FEW_BORDERS:
        return 0
    step_ms = int(borders_ms[1] - borders_ms[0])
    return step_ms if step_ms > 0 and (np.diff(borders_ms) == step_ms).all() else 0


def _count_up(samples: Timed, borders_ms: Ints, step_ms: int) -> Ints:
    """Each sample lies before one first border: counted there and summed up, without a search per border."""
    rows, width = len(samples.starts) - 1, len(borders_ms) + 1
    cells = np.clip((samples.times_ms - (int(borders_ms[0]) - step_ms + 1)) // step_ms, 0, width - 1)
    cells += np.repeat(np.arange(rows) * width, np.diff(samples.starts))
    counts = np.bincount(cells, minlength=rows * width).reshape(rows, width)
    counts[:, 0] += samples.starts[:-1]
    return np.cumsum(counts[:, :-1], axis=1)


def _bisect(samples: Timed, borders_ms: Ints) -> Ints:
    """One binary search over all rows: times are shifted by row so that the whole column ascends."""
    rows = len(samples.starts) - 1
    low, high = int(samples.times_ms.min()) - 1, int(samples.times_ms.max())
    # Borders far away from all samples (`@ 1e15`) must not push the keys out of 64 bits.
    borders_ms = np.clip(borders_ms, low, high)
    width = high - low + 1
    shift = np.arange(rows) * width - low
    keys = samples.times_ms + np.repeat(shift, np.diff(samples.starts))
    wanted = borders_ms[None, :] + shift[:, None]
    return np.searchsorted(keys, wanted.reshape(-1), side="right").reshape(wanted.shape)
