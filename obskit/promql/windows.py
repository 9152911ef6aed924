"""Range vectors: which samples of a flat block lie in which window, and folding them without a loop per sample.

Samples stay where the reader put them (series after series); a window is a pair of positions into them. Windows of
neighbouring steps overlap, and numpy's reduceat takes overlapping pairs as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.samples import STALE_NAN_BITS
from obskit.promql.blocks import TILE, Block, Bools, Floats, Kind, blank
from obskit.promql.histogram_values import Histograms, held
from obskit.promql.labelsets import Ints, LabelSets

CHUNK: Final = 1 << 20
"""Samples laid out at once by `fold_segments`: 8 MB per column."""
FEW_BORDERS: Final = 8
"""For fewer borders than these a search is cheaper than counting all samples."""


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """Samples of some series, flat: row `i` owns `starts[i]:starts[i + 1]`.

    Where `histograms` (None: there are none) holds one it is the sample. `start_ms` are the samples' start timestamps,
    0 where unknown; None when all are.
    """

    sets: LabelSets
    starts: Ints
    times_ms: Ints
    values: Floats
    histograms: Histograms | None = None
    start_ms: Ints | None = None

    def without_stale(self) -> SampleColumns:
        """The samples that are no stale markers; series that keep none stay as empty rows."""
        if not np.isnan(self.values.max(initial=0.0)):
            return self
        stale = self.values.view(np.int64) == STALE_NAN_BITS
        return self.only(~stale) if stale.any() else self

    def only(self, keep: Bools) -> SampleColumns:
        """Some of the samples; series that keep none stay as empty rows."""
        kept = np.concatenate(([0], np.cumsum(keep)))
        return SampleColumns(
            self.sets,
            kept[self.starts],
            self.times_ms[keep],
            self.values[keep],
            None if self.histograms is None else self.histograms[keep],
            None if self.start_ms is None else self.start_ms[keep],
        )

    def band(self, rows: slice) -> SampleColumns:
        """The samples of neighbouring rows, not copied."""
        starts = self.starts[rows.start : rows.stop + 1]
        kept = slice(int(starts[0]), int(starts[-1]))
        return SampleColumns(
            self.sets.take(np.arange(rows.start, rows.stop)),
            starts - kept.start,
            self.times_ms[kept],
            self.values[kept],
            None if self.histograms is None else self.histograms[kept],
            None if self.start_ms is None else self.start_ms[kept],
        )

    def clocks(self) -> Clocks:
        """Which neighbouring rows have the same times, as the series of one target do."""
        counts, times = np.diff(self.starts), self.times_ms
        of_row_before = np.arange(len(times)) - np.repeat(counts, counts)
        unlike = np.concatenate(([0], np.cumsum(times != times[of_row_before])))
        begins = np.diff(unlike[self.starts]) > 0
        begins[1:] |= counts[1:] != counts[:-1]
        begins[:1] = True
        return Clocks(np.flatnonzero(begins), np.cumsum(begins) - 1)

    def floats(self) -> SampleColumns:
        """The samples that are floats."""
        if self.histograms is None:
            return self
        return replace(self.only(~held(self.histograms)), histograms=None)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Runs of rows that have the same times: `rows[c]` is the first of a run, `of[row]` the run of each row."""

    rows: Ints
    of: Ints

    def spread(self, per_clock: NDArray[Kind]) -> NDArray[Kind]:
        """A line per clock, repeated for each of its rows."""
        return per_clock if len(self.rows) == len(self.of) else per_clock.take(self.of, axis=0)


def _nothing() -> None:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over samples: row `r` at step `s` holds the samples `first[r, s]:last[r, s]`.

    `ends_ms[s]` is the right border at a step (after offset and `@`), `at_ms[s]` the step's own time. `between` is called
    between two pieces of work, and may raise. `clocks` (None: nobody looked) tells rows whose windows hold samples of
    the same times.
    """

    samples: SampleColumns
    first: Ints
    last: Ints
    ends_ms: Ints
    at_ms: Ints
    span_ms: int
    between: Callable[[], None] = _nothing
    clocks: Clocks | None = None

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
        pairs = np.empty((*self.first.shape, 2), np.int64)
        pairs[..., 0] = np.minimum(self.first + skip, self.last)
        pairs[..., 1] = self.last
        # The last window ends behind the last sample, where reduceat wants something to stand.
        padded = np.append(column, column[-1:])
        result: Floats = ufunc.reduceat(padded, pairs.reshape(-1))[::2].reshape(self.first.shape)
        return result

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
        clocks = None
        if len(ends_ms) == 1:
            first, last = samples.starts[:-1, None], samples.starts[1:, None]
        else:
            clocks = samples.clocks()
            first, last = _borders_by_clock(samples, clocks, ends_ms, self.span_ms)
        if len(ends_ms) != len(self.at_ms):
            first, last = np.broadcast_to(first, shape), np.broadcast_to(last, shape)
            ends_ms = np.broadcast_to(ends_ms, len(self.at_ms))
        return Windows(samples, first, last, ends_ms, self.at_ms, self.span_ms, self.between, clocks)

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


def _borders_by_clock(samples: SampleColumns, clocks: Clocks, ends_ms: Ints, span_ms: int) -> tuple[Ints, Ints]:
    """Where the windows begin and end, looked for once per clock."""
    if len(clocks.rows) == len(clocks.of):
        return _borders(samples, ends_ms, span_ms)
    counts = np.diff(samples.starts)
    is_first = np.zeros(len(counts), bool)
    is_first[clocks.rows] = True
    starts = np.concatenate(([0], np.cumsum(counts[clocks.rows])))
    times_ms = samples.times_ms[np.repeat(is_first, counts)]
    found = _borders(SampleColumns(samples.sets, starts, times_ms, times_ms.view(np.float64)), ends_ms, span_ms)
    first, last = map(clocks.spread, found)
    shifts = (samples.starts[:-1] - starts[clocks.of])[:, None]
    first += shifts
    last += shifts
    return first, last


def _borders(samples: SampleColumns, ends_ms: Ints, span_ms: int) -> tuple[Ints, Ints]:
    """Where the windows begin and end."""
    step_ms = _spacing(ends_ms)
    if not step_ms or span_ms % step_ms or span_ms // step_ms > len(ends_ms):
        return search(samples, ends_ms - span_ms), search(samples, ends_ms)
    # A window begins where another one ended some steps before: one look for both.
    back = span_ms // step_ms
    both = search(samples, int(ends_ms[0]) - span_ms + step_ms * np.arange(len(ends_ms) + back))
    return both[:, : len(ends_ms)], both[:, back:]


def search(samples: SampleColumns, borders_ms: Ints) -> Ints:
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


def _count_up(samples: SampleColumns, borders_ms: Ints, step_ms: int) -> Ints:
    """Each sample lies before one first border: counted there and summed up, without a search per border."""
    rows, width = len(samples.starts) - 1, len(borders_ms) + 1
    cells = np.clip((samples.times_ms - (int(borders_ms[0]) - step_ms + 1)) // step_ms, 0, width - 1)
    cells += np.repeat(np.arange(rows) * width, np.diff(samples.starts))
    counts = np.bincount(cells, minlength=rows * width).reshape(rows, width)
    counts[:, 0] += samples.starts[:-1]
    return np.cumsum(counts[:, :-1], axis=1)


def _bisect(samples: SampleColumns, borders_ms: Ints) -> Ints:
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
