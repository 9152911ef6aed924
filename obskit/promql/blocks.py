"""Values of a query at all its steps at once: blocks of [rows, steps] numbers with a mask of what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from obskit.errors import QueryError
from obskit.model.reused import COLUMNS
from obskit.promql.histogram_values import Histograms, held, none_of
from obskit.promql.labelsets import Groups, Ints, LabelSets

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Kind = TypeVar("Kind", bound=np.generic)

TILE: Final = 1 << 15
"""Cells computed at once: what is written between two steps of a calculation stays in the processor's cache."""
MANY_STEPS: Final = 32

SAME_LABELSET = "vector cannot contain metrics with the same labelset"


@dataclass(frozen=True, slots=True)
class Block:
    """An instant vector at every step. A value counts only where `present`; a NaN may well be present.

    Where `histograms` holds one it is the element, and the value means nothing.
    """

    sets: LabelSets
    values: Floats
    present: Bools
    histograms: Histograms | None = None

    @property
    def steps(self) -> int:
        """How many steps."""
        return int(self.values.shape[1])

    def with_values(self, values: Floats) -> Block:
        """Other values for the same rows, floats all of them."""
        return Block(self.sets, values, self.present)

    def relabelled(self, sets: LabelSets) -> Block:
        """Other labels for the same rows."""
        return Block(sets, self.values, self.present, self.histograms)

    def only(self, present: Bools) -> Block:
        """The same rows where `present` holds too."""
        return Block(self.sets, self.values, self.present & present, self.histograms)

    def take(self, rows: Ints) -> Block:
        """Some rows, in the given order."""
        histograms = None if self.histograms is None else self.histograms[rows]
        return Block(self.sets.take(rows), self.values[rows], self.present[rows], histograms)

    def has_histogram(self) -> Bools:
        """Where the element is a histogram."""
        if self.histograms is None:
            return np.zeros_like(self.present)
        return self.present & held(self.histograms)

    def floats(self) -> Block:
        """The same rows where the element is a float."""
        if self.histograms is None:
            return self
        return Block(self.sets, self.values, self.present & ~held(self.histograms))

    def alive(self) -> Ints:
        """The rows that have a value at any step."""
        if self.steps == 1:
            return np.flatnonzero(self.present[:, 0])
        return np.flatnonzero(self.present.any(axis=1))


Value = Block | Floats | str
"""What an expression gives: a vector, a scalar per step, or a string."""


def empty(steps: int) -> Block:
    """No rows."""
    return Block(NO_SETS, np.empty((0, steps)), np.empty((0, steps), bool))


NO_SETS = LabelSets.of((), distinct=True)


def single(sets: LabelSets, values: Floats, present: Bools | None = None) -> Block:
    """One row."""
    return Block(sets, values[None, :], np.ones((1, len(values)), bool) if present is None else present[None, :])


def blank(rows: int, steps: int) -> tuple[Floats, Bools]:
    """Room for the values of a block and for what is there, of one piece of memory that may have been used before."""
    cells, shape = rows * steps, (rows, steps)
    memory = COLUMNS.take(9 * cells) if cells > TILE else np.empty(9 * cells, np.uint8)
    return memory[: 8 * cells].view(np.float64).reshape(shape), memory[8 * cells :].view(bool).reshape(shape)


def broadcast(block: Block, steps: int) -> Block:
    """A block of one step at many steps."""
    if block.steps == steps:
        return block
    shape = (len(block.sets), steps)
    histograms = None if block.histograms is None else np.broadcast_to(block.histograms, shape)
    return Block(block.sets, np.broadcast_to(block.values, shape), np.broadcast_to(block.present, shape), histograms)


def nameless(block: Block, *, delayed: bool) -> Block:
    """The block without metric names: at once (rows that become equal are joined or refused), or marked for the end."""
    if delayed:
        return block.relabelled(block.sets.marked())
    return joined(block.relabelled(block.sets.nameless()))


def refuse_equal_series(block: Block) -> None:
    """QueryError where two rows that have values, at whatever steps, are the same without their metric names.

    Functions of range vectors refuse that; what works step by step joins such rows while they do not overlap.
    """
    groups = block.sets.nameless().duplicates()
    if groups is None:
        return
    alive: Bools = np.logical_or.reduce(block.present, axis=1)
    if (np.add.reduceat(alive[groups.order], groups.starts, dtype=np.int64) > 1).any():
        raise QueryError(SAME_LABELSET)


def joined(block: Block) -> Block:
    """Rows with equal labels made one; QueryError where two of them have a value at the same step."""
    groups = block.sets.duplicates()
    if groups is None:
        return block
    present = block.present[groups.order]
    if (np.add.reduceat(present, groups.starts, axis=0, dtype=np.int64) > 1).any():
        raise QueryError(SAME_LABELSET)
    values = np.where(present, block.values[groups.order], -0.0)  # nothing changes when this is added to it
    return Block(
        groups.sets,
        np.add.reduceat(values, groups.starts, axis=0),
        np.logical_or.reduceat(present, groups.starts, axis=0),
        _joined_histograms(block, groups),
    )


def _joined_histograms(block: Block, groups: Groups) -> Histograms | None:
    if block.histograms is None:
        return None
    rows, steps = np.nonzero(block.has_histogram())
    made = none_of((len(groups.sets), block.steps))
    made[groups.codes[rows], steps] = block.histograms[rows, steps]
    return made


@dataclass(frozen=True, slots=True)
class Band:
    """Some groups of rows at some steps, group by group: what is folded at once. `starts` is where each group begins."""

    values: Floats
    present: Bools
    starts: Ints

    @property
    def sizes(self) -> Ints:
        """How many rows each group has."""
        return np.diff(self.starts, append=len(self.values))

    def spread(self, per_group: NDArray[Kind]) -> NDArray[Kind]:
        """A line per group, repeated for each of its rows."""
        return np.repeat(per_group, self.sizes, axis=0)

    def or_else(self, absent: float) -> Floats:
        """The values, and something else where there is none."""
        return self.values if self.present.all() else np.where(self.present, self.values, absent)

    def reduce(self, ufunc: np.ufunc, rows: NDArray[Kind]) -> NDArray[Kind]:
        """`ufunc` over the rows of each group, per step."""
        steps = rows.shape[1]
        if steps == 1:
            # One step is the common case (a rule): reduceat is several times faster on one axis.
            reduced: NDArray[Kind] = ufunc.reduceat(rows[:, 0], self.starts)[:, None]
            return reduced
        if steps < MANY_STEPS:
            few: NDArray[Kind] = ufunc.reduceat(rows, self.starts, axis=0)
            return few
        # reduceat goes down the rows of one step after the other; this adds up whole rows, in the same order.
        edges = pairwise([*self.starts.tolist(), len(rows)])
        return np.array([ufunc.reduce(rows[low:high], axis=0) for low, high in edges])

    def cell(self, group: int, step: int) -> list[float]:
        """The values of one group at one step."""
        rows = slice(int(self.starts[group]), int(self.starts[group] + self.sizes[group]))
        values: list[float] = self.values[rows, step][self.present[rows, step]].tolist()
        return values


def fold_groups(block: Block, groups: Groups, fold: Callable[[Band], Floats]) -> Block:
    """What `fold` makes of each group of rows at each step where it has any: in bands that fit in the cache."""
    if len(groups.order) * block.steps <= TILE:
        band = Band(block.values[groups.order], block.present[groups.order], groups.starts)
        return Block(groups.sets, fold(band), band.reduce(np.logical_or, band.present))
    values, present = blank(len(groups.sets), block.steps)
    for chosen, rows, steps in _bands(groups, block.steps):
        band = Band(
            block.values[rows, steps], block.present[rows, steps], groups.starts[chosen] - groups.starts[chosen][0]
        )
        values[chosen, steps] = fold(band)
        present[chosen, steps] = band.reduce(np.logical_or, band.present)
    return Block(groups.sets, values, present)


def _bands(groups: Groups, steps: int) -> Iterator[tuple[slice, Ints | slice, slice]]:
    """Groups, their rows and steps: some groups at all steps, or a large one at some."""
    ends = np.append(groups.starts[1:], len(groups.order))
    low = 0
    while low < len(ends):
        begin = int(groups.starts[low])
        high = max(low + 1, int(np.searchsorted(ends, begin + TILE // max(1, steps), side="right")))
        rows = groups.order[begin : int(ends[high - 1])]
        width = max(MANY_STEPS, TILE // len(rows))
        for step in range(0, max(1, steps), width):
            yield slice(low, high), _as_slice(rows), slice(step, step + width)
        low = high


def _as_slice(rows: Ints) -> Ints | slice:
    """Neighbouring rows as a slice: they are not copied then."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all()) else rows
