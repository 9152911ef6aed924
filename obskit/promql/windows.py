"""Range vectors: which samples of a flat block lie in which window, and folding them without a loop per sample.

Samples stay where the reader put them (series after series); a window is a pair of positions into them. Windows of
neighbouring steps overlap, and numpy's reduceat takes overlapping pairs as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.promql.blocks import TILE, Block, Bools, Floats, Kind, blank
from obskit.promql.clocks import ClockBand, borders_by_clock, by_clock
from obskit.promql.columns import SampleColumns
from obskit.promql.labelsets import Ints, LabelSets

CHUNK: Final = 1 << 20
"""Samples laid out at once by `fold_segments`: 8 MB per column."""


def _nothing() -> None:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over samples: row `r` at step `s` holds the samples `first[r, s]:last[r, s]`.

    `ends_ms[s]` is the right border at a step (after offset and `@`), `at_ms[s]` the step's own time. `between` is called
    between two pieces of work, and may raise.
    """

    samples: SampleColumns
    first: Ints
    last: Ints
    ends_ms: Ints
    at_ms: Ints
    span_ms: int
    between: Callable[[], None] = _nothing

    @property
    def sets(self) -> LabelSets:
        """The label sets of the rows."""
        return self.samples.sets

    @property
    def counts(self) -> Ints:
        """How many samples each window holds."""
        return self.last - self.first

    def block(self, values: Floats, present: Bools) -> Block:
        """The windows' rows with these values."""
        return Block(self.sets, values, present)

    def nth(self, column: NDArray[Kind], position: Ints) -> NDArray[Kind]:
        """The column at these positions; anything where a window is empty."""
        if not len(column):
            return np.zeros(position.shape, column.dtype)
        return column.take(position, mode="clip")

    def reduce(self, ufunc: np.ufunc, column: NDArray[Any], *, skip: int = 0) -> Floats:
        """`ufunc` over the column in each window, less its first `skip` samples; anything where nothing is left."""
        if not len(column):
            return np.zeros(self.first.shape)
        if not skip and self._gapless(len(column)):
            whole: Floats = ufunc.reduceat(column, self.first[:, 0])[:, None]
            return whole
        return reduced(ufunc, column, np.minimum(self.first + skip, self.last), self.last)

    def _gapless(self, samples: int) -> bool:
        """Whether the windows are the rows' samples one behind the other: one step, nothing outside, none empty."""
        first, last = self.first[:, 0], self.last[:, 0]
        return (
            self.first.shape[1] == 1
            and bool((first < last).all())
            and bool((first[1:] == last[:-1]).all())
            and int(last[-1]) == samples
        )

    def fold_segments(self, fold: Callable[[Segments], Floats], *, timeless: bool = False) -> Floats:
        """`fold` over all windows with samples, laid out one behind the other in pieces of bounded size.

        `timeless`: the result depends on the samples alone, so that a window that is the same as at the step before
        need not be folded again.
        """
        if not timeless or self.first.shape[1] < 2:
            return self._folded(fold, self.counts > 0)
        changed = np.ones(self.first.shape, bool)
        changed[:, 1:] = (self.first[:, 1:] != self.first[:, :-1]) | (self.last[:, 1:] != self.last[:, :-1])
        out = self._folded(fold, changed & (self.counts > 0))
        newest = np.maximum.accumulate(np.where(changed, np.arange(self.first.shape[1]), 0), axis=1)
        return np.take_along_axis(out, newest, axis=1)

    def _folded(self, fold: Callable[[Segments], Floats], wanted: Bools) -> Floats:
        out = np.full(self.first.shape, np.nan)
        flat = out.reshape(-1)
        filled = np.flatnonzero(wanted)
        first, counts = self.first.reshape(-1)[filled], self.counts.reshape(-1)[filled]
        piece = np.cumsum(counts) // CHUNK
        for chosen in np.split(np.arange(len(filled)), np.flatnonzero(np.diff(piece)) + 1):
            if len(chosen):
                self.between()
                windows = filled[chosen]
                flat[windows] = fold(self._segments(first[chosen], counts[chosen], windows))
        return out

    def _segments(self, first: Ints, counts: Ints, windows: Ints) -> Segments:
        starts = np.cumsum(counts) - counts
        index = np.repeat(first - starts, counts) + np.arange(int(counts.sum()))
        return Segments(
            self.samples.values[index],
            self.samples.times_ms[index],
            starts,
            counts,
            self.at_ms[windows % len(self.at_ms)],
            windows % len(self.at_ms),
        )


def reduced(ufunc: np.ufunc, column: NDArray[Any], first: Ints, last: Ints) -> Floats:
    """`ufunc` over `column[first:last]`, whatever the shape of these; anything where that is empty."""
    pairs = np.empty((*first.shape, 2), np.int64)
    pairs[..., 0] = first
    pairs[..., 1] = last
    # The last window ends behind the last sample, where reduceat wants something to stand.
    padded = np.append(column, column[-1:])
    result: Floats = ufunc.reduceat(padded, pairs.reshape(-1))[::2].reshape(first.shape)
    return result


@dataclass(frozen=True, slots=True)
class Segments:
    """Windows laid out one behind the other, none of them empty; `at_ms` and `steps` tell each window's step."""

    values: Floats
    times_ms: Ints
    starts: Ints
    counts: Ints
    at_ms: Ints
    steps: Ints

    def sum(self, column: Floats) -> Floats:
        """The sum of a column per window."""
        result: Floats = np.add.reduceat(column, self.starts)
        return result

    def spread(self, per_window: NDArray[Kind]) -> NDArray[Kind]:
        """A value per window, repeated for each of its samples."""
        return np.repeat(per_window, self.counts)

    @property
    def owners(self) -> Ints:
        """The window of each sample."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


@dataclass(frozen=True, slots=True)
class RangeVector:
    """A range vector at every step: some samples, and the windows `(end - span, end]` that will be cut out of them.

    Where there is only one end, the samples must be those of its window and no others. The other fields are as in
    Windows.
    """

    samples: SampleColumns
    ends_ms: Ints
    at_ms: Ints
    span_ms: int
    between: Callable[[], None] = _nothing

    @property
    def sets(self) -> LabelSets:
        """The label sets of the rows."""
        return self.samples.sets

    def windows(self) -> Windows:
        """All windows at once."""
        samples, ends_ms, shape = self.samples, self.ends_ms, (len(self.sets), len(self.at_ms))
        if len(ends_ms) == 1:
            first, last = samples.starts[:-1, None], samples.starts[1:, None]
        else:
            first, last = borders_by_clock(samples, ends_ms, self.span_ms)
        if len(ends_ms) != len(self.at_ms):
            first, last = np.broadcast_to(first, shape), np.broadcast_to(last, shape)
            ends_ms = np.broadcast_to(ends_ms, len(self.at_ms))
        return Windows(samples, first, last, ends_ms, self.at_ms, self.span_ms, self.between)

    def folded(self, fold: Callable[[Windows], Block]) -> Block:
        """What `fold` makes of the windows, row by row: in bands that fit in the cache, and in bounded memory."""
        rows, steps = len(self.sets), len(self.at_ms)
        height = max(1, TILE // max(1, steps))
        if rows <= height:
            return fold(self.windows())
        values, present = blank(rows, steps)
        for top in range(0, rows, height):
            self.between()
            band = slice(top, min(top + height, rows))
            block = fold(replace(self, samples=self.samples.band(band)).windows())
            values[band], present[band] = block.values, block.present
        return Block(self.sets, values, present)

    def by_clock(self) -> Iterator[ClockBand]:
        """The windows of rows that share their times found together, for what needs no more than their edges."""
        for band in by_clock(self.samples, self.ends_ms, self.span_ms):
            self.between()
            yield band
