"""Series that share their times, as those of one target do: what depends on times alone is computed once for all.

Their values lie under one another, so that the samples at the edges of their windows are columns of a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.promql.blocks import TILE, Floats, Kind
from obskit.promql.borders import Times, borders
from obskit.promql.columns import SampleColumns
from obskit.promql.labelsets import Ints

FEW_ROWS: Final = 4
"""Clocks of fewer rows than these, on average, are not worth a look at each."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Runs of rows that have the same times: `rows[c]` is the first of a run, `of[row]` the run of each row."""

    rows: Ints
    of: Ints

    @property
    def shared(self) -> bool:
        """Whether any row has its times in common with another."""
        return len(self.rows) < len(self.of)

    def spread(self, per_clock: NDArray[Kind]) -> NDArray[Kind]:
        """A line per clock, repeated for each of its rows."""
        return per_clock.take(self.of, axis=0) if self.shared else per_clock

    def times(self, samples: SampleColumns) -> Times:
        """The times of the clocks, each once."""
        starts = samples.starts
        if not self.shared:
            return Times(starts, samples.times_ms)
        lows, highs = starts[self.rows], starts[self.rows + 1]
        found = [samples.times_ms[low:high] for low, high in zip(lows.tolist(), highs.tolist(), strict=True)]
        return Times(np.concatenate(([0], np.cumsum(highs - lows))), np.concatenate(found))


def clocks_of(samples: SampleColumns) -> Clocks:
    """Which neighbouring rows have the same times."""
    starts, times_ms, counts = samples.starts, samples.times_ms, np.diff(samples.starts)
    everyone = np.arange(len(counts))
    if not len(times_ms):
        return Clocks(everyone, everyone)
    # Only rows that agree in these are compared time by time.
    marks = np.stack((counts, times_ms.take(starts[:-1], mode="clip"), times_ms.take(starts[1:] - 1, mode="clip")))
    begins = np.ones(len(counts), bool)
    begins[1:] = (marks[:, 1:] != marks[:, :-1]).any(axis=0)
    edges = np.flatnonzero(begins)
    if len(edges) * FEW_ROWS > len(counts):
        return Clocks(everyone, everyone)
    for low, high in pairwise([*edges.tolist(), len(counts)]):
        table = times_ms[starts[low] : starts[high]].reshape(high - low, counts[low])
        begins[low + 1 : high] = (table[1:] != table[:-1]).any(axis=1)
    return Clocks(np.flatnonzero(begins), np.cumsum(begins) - 1)


def borders_by_clock(samples: SampleColumns, ends_ms: Ints, span_ms: int) -> tuple[Ints, Ints]:
    """Where the windows of each row begin and end, looked for once per clock."""
    clocks = clocks_of(samples)
    times = clocks.times(samples)
    first, last = borders(times, ends_ms, span_ms)
    if clocks.shared:
        first, last = clocks.spread(first), clocks.spread(last)
        shifts = (samples.starts[:-1] - times.starts[clocks.of])[:, None]
        first += shifts
        last += shifts
    return first, last


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a ClockBand whose windows are read at once.

    `clocks` are their clocks within the band: a line for each row, or one for all, and so are `first` and `newest`. A
    window holds the samples from `first` to `newest` of `column`; where there is one clock, that is a table.
    """

    rows: slice
    clocks: slice | int
    column: Floats
    first: Ints
    newest: Ints

    def read(self, position: Ints, out: Floats) -> Floats:
        """The samples at `first` or at `newest`; anything where a window is empty."""
        if self.column.size:
            return self.column.take(position, axis=-1, mode="clip", out=out)
        out.fill(0.0)
        return out

    def lines(self, per_clock: NDArray[Kind], some: Ints) -> NDArray[Kind]:
        """What a band has per clock, for some of these rows (0 is the first of them) or once for all."""
        lines: NDArray[Kind] = per_clock[self.clocks]
        return lines if isinstance(self.clocks, int) else lines[some]

    def positions(self, some: Ints) -> tuple[Ints, Ints]:
        """Where the windows of some of these rows begin and end in the flat column."""
        if self.column.ndim == 1:
            return self.first[some], self.newest[some] + 1
        begins = some[:, None] * self.column.shape[1]
        return self.first + begins, self.newest + (begins + 1)


@dataclass(frozen=True, slots=True)
class ClockBand:
    """The windows of neighbouring clocks, [clock, step]: how many samples they hold, and the outermost samples' times."""

    samples: SampleColumns
    clocks: Clocks
    low: int
    times: Times
    first: Ints
    last: Ints

    @property
    def counts(self) -> Ints:
        """How many samples each window holds."""
        return self.last - self.first

    def times_at(self, position: Ints) -> Ints:
        """The times of samples; anything where a window is empty."""
        times_ms = self.times.times_ms
        return times_ms.take(position, mode="clip") if len(times_ms) else np.zeros(position.shape, np.int64)

    def rows(self) -> Iterator[Rows]:
        """The rows, as many at once as fit in the cache."""
        starts, values, newest = self.samples.starts, self.samples.values, self.last - 1
        high = self.low + len(self.first)
        if not self.clocks.shared:
            yield Rows(slice(self.low, high), slice(None), values[starts[self.low] : starts[high]], self.first, newest)
            return
        height = _height(self.first.shape[1])
        edges = np.append(self.clocks.rows, len(self.clocks.of))[self.low : high + 1]
        for clock, (top, bottom) in enumerate(pairwise(edges.tolist())):
            begin, end = self.times.starts[clock : clock + 2]
            first, last = self.first[clock] - begin, newest[clock] - begin
            for low in range(top, bottom, height):
                rows = slice(low, min(low + height, bottom))
                table = values[starts[rows.start] : starts[rows.stop]].reshape(rows.stop - low, end - begin)
                yield Rows(rows, clock, table, first, last)


def by_clock(samples: SampleColumns, ends_ms: Ints, span_ms: int) -> Iterator[ClockBand]:
    """The windows of all rows, in bands of clocks that fit in the cache."""
    clocks = clocks_of(samples)
    times, height = clocks.times(samples), _height(len(ends_ms))
    for low in range(0, len(clocks.rows), height):
        part = times.band(low, min(low + height, len(clocks.rows)))
        yield ClockBand(samples, clocks, low, part, *borders(part, ends_ms, span_ms))


def _height(steps: int) -> int:
    return max(1, TILE // max(1, steps))
