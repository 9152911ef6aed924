"""The edges of windows, from the rings: the first, last and last but one sample of each series, counts and resets.

Most series had no stale marker and no reset since the window began: of these only the edges are looked at. Of the
others every sample in the window is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from obskit.model.samples import STALE_NAN_BITS
from obskit.store.packing import Times, Values
from obskit.store.rings import Block, Counts, Gathered, Rings, of
from obskit.store.rounds import bits_of


@dataclass(frozen=True, slots=True)
class EdgeColumns:
    """The columns of interface.Edges, a row per slot asked for; meaningless where `count` is 0."""

    count: NDArray[np.int64]
    first_ms: Times
    first: Values
    previous_ms: Times
    previous: Values
    last_ms: Times
    last: Values
    resets: Values

    @classmethod
    def empty(cls, size: int) -> Self:
        """Columns to be filled, of one piece of memory: glibc keeps pieces as large as one that was freed at hand, and
        a fresh page costs more than what is computed of it."""
        whole, real = np.int64, np.float64
        types = (whole, whole, real, whole, real, whole, real, real)
        piece = np.empty((len(types), size), np.int64)
        columns: Iterator[NDArray[Any]] = (row.view(kind) for row, kind in zip(piece, types, strict=True))
        return cls(*columns)

    def columns(self) -> Iterator[NDArray[Any]]:
        """Each of them, in this order."""
        yield self.count
        yield self.first_ms
        yield self.first
        yield self.previous_ms
        yield self.previous
        yield self.last_ms
        yield self.last
        yield self.resets

    def having(self, mask: NDArray[np.bool_]) -> EdgeColumns:
        """The rows of the mask."""
        fewer = EdgeColumns.empty(int(mask.sum()))
        for column, kept in zip(self.columns(), fewer.columns(), strict=True):
            np.compress(mask, column, out=kept)
        return fewer


def edges_of(
    rings: Rings, blocks: Sequence[Block], start_ms: int, end_ms: int, guess: Counts | None
) -> tuple[EdgeColumns, Counts]:
    """The edges of `start_ms < t <= end_ms`, and what to give as `guess` next time for a window of this length."""
    if len(blocks) == 1:
        return _edges_of_block(rings, blocks[0], start_ms, end_ms, guess)
    size = blocks[-1].rows.stop if blocks else 0
    found, after = EdgeColumns.empty(size), np.empty(size, np.int32)
    for block in blocks:
        rows = block.rows
        part, after[rows] = _edges_of_block(rings, block, start_ms, end_ms, None if guess is None else guess[rows])
        for column, piece in zip(found.columns(), part.columns(), strict=True):
            column[rows] = piece
    return found, after


def _edges_of_block(
    rings: Rings, block: Block, start_ms: int, end_ms: int, guess: Counts | None
) -> tuple[EdgeColumns, Counts]:
    slots, which = block.slots, block.which
    after, first = rings.ages(which).first_after(start_ms, guess)
    last_ms, last = rings.newest_ms.take(slots), rings.newest.take(slots)
    single = after == 1
    found = EdgeColumns(
        after.astype(np.int64),
        rings.times_at(first),
        rings.lanes.values.take(first),
        np.where(single, last_ms, of(rings.previous_ms, which)),
        np.where(single, last, of(rings.previous, which)),
        last_ms,
        last,
        np.zeros(len(slots)),
    )
    uneven = (((last_ms > end_ms) | (of(rings.uneven_ms, which) > start_ms)) & (after > 0)).nonzero()[0]
    if len(uneven):
        closer = _edges_of_samples(rings.gather(slots[uneven], start_ms, end_ms))
        for column, better in zip(found.columns(), closer.columns(), strict=True):
            column[uneven] = better
    return found, after


def newest_of(
    rings: Rings, blocks: Sequence[Block], start_ms: int, end_ms: int
) -> tuple[NDArray[np.bool_], Times, Values]:
    """Which slots' newest sample in the window is not a stale marker (nor missing), and that sample of each slot."""
    size = blocks[-1].rows.stop if blocks else 0
    times, values, having = np.empty(size, np.int64), np.empty(size), np.empty(size, np.bool_)
    for rows, slots, which in blocks:
        times[rows], values[rows] = of(rings.newest_ms, which), of(rings.newest, which)
        ahead = np.flatnonzero(times[rows] > end_ms)
        if len(ahead):
            ages = rings.ages(slots[ahead])
            skipped = ages.count_after(end_ms)
            places = ages.places(np.minimum(skipped, ages.held - 1))
            times[ahead + rows.start] = rings.times_at(places)
            values[ahead + rows.start] = rings.lanes.values.take(places)
        having[rows] = (times[rows] > start_ms) & (times[rows] <= end_ms)
    having &= bits_of(values) != STALE_NAN_BITS
    return having, times, values


def _edges_of_samples(samples: Gathered) -> EdgeColumns:
    counts, times, values = samples
    owner = np.repeat(np.arange(len(counts)), counts)
    real = bits_of(values) != STALE_NAN_BITS
    if not real.all():
        owner, times, values = owner[real], times[real], values[real]
        counts = np.bincount(owner, minlength=len(counts))
    dropped = np.flatnonzero((values[1:] < values[:-1]) & (owner[1:] == owner[:-1]))
    resets = np.bincount(owner[dropped], values[dropped], minlength=len(counts)).astype(np.float64)
    if not len(values):  # something to take from, for rows that are not looked at
        times, values = np.zeros(1, np.int64), np.zeros(1)
    ends = np.cumsum(counts)
    first = np.minimum(ends - counts, len(values) - 1)
    last = np.maximum(ends - 1, 0)
    previous = np.where(counts > 1, last - 1, last)
    return EdgeColumns(
        counts, times[first], values[first], times[previous], values[previous], times[last], values[last], resets
    )
