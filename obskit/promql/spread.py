"""Many queries of one shape as one: the rows of each query ("variant") side by side, told apart by a hidden label.

What is the same for all variants is computed once and its rows are handed out; from there on aggregations and joins
keep the variants apart as they would any other label. Which queries are of one shape is decided in families.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.promql.blocks import Block, Floats
from obskit.promql.labelsets import Ints, LabelSets, numbered
from obskit.promql.nodes import Binary, Expr

VARIANT: Final = "\0variant"
"""No label of a user: NUL is in no metric name, and sorts first."""
MAX_ROWS: Final = 1_000_000
TOO_MANY_ROWS: Final = "too many rows to evaluate the queries as one"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Spread(Expr):
    """The rows of `expr` that each variant selects: those whose labels `names` have the values `wanted[variant]`."""

    expr: Expr
    names: tuple[str, ...]
    wanted: tuple[tuple[str, ...], ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.expr,)

    def __str__(self) -> str:
        return str(self.expr)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Against(Expr):
    """A binary operator between a vector and a number of each variant's own, on the side where `binary` has one."""

    expr: Expr
    binary: Binary
    numbers: NDArray[np.float64]

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.expr,)

    def __str__(self) -> str:
        return str(self.binary)


def spread(block: Block, node: Spread) -> Block:
    """The rows of a block handed out to the variants, variant after variant."""
    rows, sets = block.sets.memo(("spread", node), lambda: _handed_out(block.sets, node))
    return block.take(rows).relabelled(sets)


def _handed_out(sets: LabelSets, node: Spread) -> tuple[Ints, LabelSets]:
    by_values: dict[Hashable, list[int]] = {}
    for row, values in enumerate(sets.keys(node.names, without=False)):
        by_values.setdefault(values, []).append(row)
    found = [by_values.get(values, []) for values in node.wanted]
    counts = np.array([len(rows) for rows in found], np.int64)
    if counts.sum() > MAX_ROWS:
        raise QueryError(TOO_MANY_ROWS)
    rows = np.fromiter((row for of_variant in found for row in of_variant), np.int64, int(counts.sum()))
    variants = np.repeat(np.arange(len(found)), counts)

    def keys(names: tuple[str, ...], without: bool) -> Iterator[Hashable]:
        codes, _ = numbered(sets.keys(tuple(name for name in names if name != VARIANT), without=without))
        of_rows = codes[rows].tolist()
        return zip(variants.tolist(), of_rows, strict=True) if without or VARIANT in names else iter(of_rows)

    # Labels are built late here too: most rows are only counted by their variant.
    made = LabelSets(
        len(rows),
        lambda row: sets.passing(int(rows[row])).updated({VARIANT: str(variants[row])}),
        dropped=None if sets.dropped is None else sets.dropped[rows],
        distinct=sets.distinct,
        keys=keys,
    )
    return rows, made


def variants_of(sets: LabelSets) -> Ints:
    """The variant of each row."""
    return sets.memo("variants", lambda: np.array([int(key[0]) for key in _variant_keys(sets)], np.int64))


def _variant_keys(sets: LabelSets) -> Iterator[tuple[str | int, ...]]:
    """A key per row that begins with its variant: its label's text, or the number it was handed out with."""
    return sets.keys((VARIANT,), without=False)  # type: ignore[return-value]  # keys by names are tuples


def own_numbers(sets: LabelSets, numbers: NDArray[np.float64]) -> Floats:
    """Each row's number, as a column."""
    return numbers[variants_of(sets)][:, None]


def without_variant(labels: Labels) -> Labels:
    """The labels as the query itself would have them."""
    return labels.without(VARIANT) if VARIANT in labels else labels
