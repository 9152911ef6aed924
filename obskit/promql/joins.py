"""Vector matching: which rows of two vectors belong together. Tables are kept with the left side's label sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from obskit.errors import QueryError
from obskit.model.labels import Labels, quote
from obskit.promql.blocks import Block, Bools
from obskit.promql.labelsets import Groups, Ints, LabelSets
from obskit.promql.nodes import Cardinality, Matching


@dataclass(frozen=True, slots=True)
class Join:
    """Rows of two sides by match group.

    `right_of[g]` is the right side's group of the left side's group `g` (-1: none), `left_of` the other way round.
    `pairs` are the rows (left, right) of common groups, in the order of the many side's rows.
    """

    left: Groups
    right: Groups
    right_of: Ints
    left_of: Ints
    pairs: tuple[Ints, Ints]

    @property
    def unique_left(self) -> bool:
        """Whether each group has at most one left row."""
        return len(self.left.sets) == len(self.left.codes)

    @property
    def unique_right(self) -> bool:
        """Whether each group has at most one right row."""
        return len(self.right.sets) == len(self.right.codes)


def join(left: LabelSets, right: LabelSets, matching: Matching) -> Join:
    """The join of two sets of rows, made once for each pair."""
    key = ("join", right, matching.on, matching.labels, matching.cardinality is Cardinality.ONE_TO_MANY)
    return left.memo(key, lambda: _join(left, right, matching))


def _join(left: LabelSets, right: LabelSets, matching: Matching) -> Join:
    ours = left.grouped(matching.labels, without=not matching.on)
    theirs = right.grouped(matching.labels, without=not matching.on)
    number = {labels: group for group, labels in enumerate(theirs.sets.rows())}
    right_of = np.array([number.get(labels, -1) for labels in ours.sets.rows()], np.int64)
    left_of = np.full(len(theirs.sets), -1, np.int64)
    found = np.flatnonzero(right_of >= 0)
    left_of[right_of[found]] = found
    pairs = _pairs(ours, theirs, right_of)
    if matching.cardinality is Cardinality.ONE_TO_MANY:
        order = np.argsort(pairs[1], kind="stable")
        pairs = pairs[0][order], pairs[1][order]
    return Join(ours, theirs, right_of, left_of, pairs)


def _pairs(ours: Groups, theirs: Groups, right_of: Ints) -> tuple[Ints, Ints]:
    rows = np.flatnonzero(right_of[ours.codes] >= 0) if len(ours.codes) else np.zeros(0, np.int64)
    if not len(rows):
        return rows, rows
    groups = right_of[ours.codes[rows]]
    sizes = np.bincount(theirs.codes, minlength=len(theirs.sets))[groups]
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(rows, sizes), theirs.order[np.repeat(theirs.starts[groups], sizes) + within]


def any_in_group(groups: Groups, present: Bools) -> Bools:
    """Where a group has any row, per step."""
    if not len(groups.starts):
        return np.zeros((0, present.shape[1]), bool)
    result: Bools = np.logical_or.reduceat(present[groups.order], groups.starts, axis=0)
    return result


def count_in_group(groups: Groups, present: Bools) -> Ints:
    """How many rows a group has, per step."""
    result: Ints = np.add.reduceat(present[groups.order], groups.starts, axis=0, dtype=np.int64)
    return result


def refuse_duplicates(block: Block, groups: Groups, side: str) -> None:
    """The side that must be unique has two rows in one group at the same step: many-to-many."""
    crowded = np.argwhere(count_in_group(groups, block.present) > 1)
    if not len(crowded):
        return
    group, step = crowded[0].tolist()
    members = [row for row in groups.members(group).tolist() if block.present[row, step]]
    first, second = (_braces(block.sets[row]) for row in members[:2])
    raise QueryError(
        f"found duplicate series for the match group {_braces(groups.sets[group])} on the {side} hand-side of the"
        f" operation: [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )


def _braces(labels: Labels) -> str:
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in labels.pairs) + "}"
