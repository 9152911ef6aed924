"""Values of a query at all its steps at once: blocks of [rows, steps] numbers with a mask of what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from obskit.errors import QueryError
from obskit.promql.histogram_values import Histograms, held, none_of
from obskit.promql.labelsets import Groups, Ints, LabelSets

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Kind = TypeVar("Kind", bound=np.generic)

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
    values = np.where(present, block.values[groups.order], 0.0)
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


def reduce_groups(ufunc: np.ufunc, rows: NDArray[Kind], groups: Groups) -> NDArray[Kind]:
    """`ufunc` over the rows of each group, per step. `rows` stand in the groups' order."""
    if rows.shape[1] == 1:
        # One step is the common case (a rule): reduceat is several times faster on one axis.
        reduced: NDArray[Kind] = ufunc.reduceat(rows[:, 0], groups.starts)[:, None]
        return reduced
    result: NDArray[Kind] = ufunc.reduceat(rows, groups.starts, axis=0)
    return result
