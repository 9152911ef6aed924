"""Binary operators: arithmetic, comparison and sets, between scalars and vectors (promql/engine.go, VectorBinop)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.promql.blocks import Block, Bools, Floats, Value, joined, nameless
from obskit.promql.context import Context
from obskit.promql.histogram_notes import incompatible_types
from obskit.promql.histogram_operators import Operand, operate
from obskit.promql.histogram_values import Histograms, none_of
from obskit.promql.joins import Join, any_in_group, count_in_group, join, refuse_duplicates
from obskit.promql.labelsets import METADATA, Ints, LabelSets
from obskit.promql.nodes import COMPARISONS, SET_OPERATORS, TRIMS, Binary, Cardinality, Matching

ARITHMETIC: Final[dict[str, Callable[[Floats, Floats], Floats]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.float_power,  # np.power takes the root for an exponent of 0.5, which is NaN of -Inf; pow(3) gives +Inf
    "atan2": np.arctan2,
}
COMPARE: Final[dict[str, Callable[[Floats, Floats], Bools]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
EXPLICIT: Final = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
UNIQUE: Final = "multiple matches for labels: grouping labels must ensure unique matches"


def binary(context: Context, expr: Binary, left: Value, right: Value) -> Value:
    """The value of a binary expression."""
    if isinstance(left, Block) and isinstance(right, Block):
        matching = expr.matching or Matching()
        if expr.op in SET_OPERATORS:
            return SETS[expr.op](left, right, matching)
        return _vectors(context, expr, (left, right), matching)
    if isinstance(left, Block):
        return with_scalar(context, expr, left, (left, right))
    if isinstance(right, Block):
        return with_scalar(context, expr, right, (left, right))
    assert isinstance(left, np.ndarray)
    assert isinstance(right, np.ndarray)
    if expr.op in COMPARISONS:
        return COMPARE[expr.op](left, right).astype(float)
    return ARITHMETIC[expr.op](left, right)


def with_scalar(context: Context, expr: Binary, block: Block, sides: tuple[Value, Value]) -> Block:
    """A vector against numbers that go with its steps or with its rows; one of the sides is the vector itself."""
    left, right = (
        Operand(side.values, side.histograms) if isinstance(side, Block) else Operand(np.asarray(side))
        for side in sides
    )
    result = _operated(context, expr, (left, right), block)
    return nameless(result, delayed=context.delayed) if _drops_name(expr) else result


def _drops_name(expr: Binary) -> bool:
    return (expr.op not in COMPARISONS and expr.op not in TRIMS) or expr.bool


def _operated(context: Context, expr: Binary, sides: tuple[Operand, Operand], kept: Block) -> Block:
    """`sides[0] op sides[1]` with the rows of `kept`, whose values a filtering comparison keeps."""
    left, right = sides
    if left.histograms is None and right.histograms is None:
        values, present = _operate(context, expr, (left.values, right.values), kept.values, kept.present)
        return Block(kept.sets, values, present)
    found = operate(
        context,
        expr,
        sides,
        kept.present,
        lambda present: _operate(context, expr, (left.values, right.values), kept.values, present),
    )
    return Block(kept.sets, found.values, found.present, found.histograms)


def _operate(
    context: Context, expr: Binary, sides: tuple[Floats, Floats], kept: Floats, present: Bools
) -> tuple[Floats, Bools]:
    """Values and presence of `sides[0] op sides[1]`; a filtering comparison keeps the values in `kept`."""
    if expr.op in COMPARE:
        holds = COMPARE[expr.op](*sides)
        return (holds.astype(float), present) if expr.bool else (kept, present & holds)
    if expr.op in ARITHMETIC:
        return ARITHMETIC[expr.op](*sides), present
    # `</` and `>/` trim histograms; floats have nothing to trim and are left out.
    if present.any():
        incompatible_types(context, expr, expr.op, ("float", "float"))
    return kept, np.zeros_like(present)


def _vectors(context: Context, expr: Binary, sides: tuple[Block, Block], matching: Matching) -> Block:
    left, right = sides
    swapped = matching.cardinality is Cardinality.ONE_TO_MANY
    table = join(left.sets, right.sets, matching)
    _check(sides, table, matching)
    ours, theirs = table.pairs
    present = left.present[ours] & right.present[theirs]
    if matching.cardinality is Cardinality.ONE_TO_ONE and not table.unique_left:
        _explicit(table, ours, present)
    operands = Operand.of(left, ours), Operand.of(right, theirs)
    sets = _result_sets(context, expr, sides, table, swapped=swapped)
    result = _operated(context, expr, operands, Block(sets, operands[0].values, present))
    if matching.fill_left is not None or matching.fill_right is not None:
        result = _filled(context, expr, sides, table, result)
    return _unique(result)


def _check(sides: tuple[Block, Block], table: Join, matching: Matching) -> None:
    """The one side has at most one row per group."""
    left, right = sides
    # Where a side is empty nothing can match and nothing is refused, unless fill values take its place.
    looked_at = np.logical_or.reduce(left.present, axis=0) & np.logical_or.reduce(right.present, axis=0)
    if matching.fill_left is not None or matching.fill_right is not None:
        looked_at = np.ones_like(looked_at)
    if matching.cardinality is Cardinality.ONE_TO_MANY:
        if not table.unique_left:
            refuse_duplicates(left.only(looked_at), table.left, "left")
    elif not table.unique_right:
        refuse_duplicates(right.only(looked_at), table.right, "right")


def _explicit(table: Join, ours: Ints, present: Bools) -> None:
    """One-to-one: at most one left row of a group has a partner at any step."""
    matched = np.zeros((len(table.left.codes), present.shape[1]), bool)
    np.logical_or.at(matched, ours, present)
    if (count_in_group(table.left, matched) > 1).any():
        raise QueryError(EXPLICIT)


def _unique(block: Block) -> Block:
    try:
        return joined(block)
    except QueryError:
        raise QueryError(UNIQUE) from None


def _result_sets(
    context: Context, expr: Binary, sides: tuple[Block, Block], table: Join, *, swapped: bool
) -> LabelSets:
    """The label sets of the pairs."""
    matching = expr.matching or Matching()
    many, one = (sides[1].sets, sides[0].sets) if swapped else (sides[0].sets, sides[1].sets)
    many_rows, one_rows = table.pairs[::-1] if swapped else table.pairs
    drops = _drops_name(expr)
    key = ("result", one, matching, drops, context.delayed)

    def build() -> LabelSets:
        many_index, one_index = many_rows.tolist(), one_rows.tolist()
        dropped = None
        if context.delayed:
            dropped = np.full(len(many_index), drops)
            if many.dropped is not None:
                dropped |= many.dropped[many_rows]
        return LabelSets(
            len(many_index),
            lambda pair: _result_labels(
                matching, many[many_index[pair]], one[one_index[pair]], drop=drops and not context.delayed
            ),
            dropped=dropped,
        )

    return many.memo(key, build)


def _result_labels(matching: Matching, many: Labels, one: Labels, *, drop: bool) -> Labels:
    if drop:
        many = many.without(*METADATA)
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        return many.only(*matching.labels) if matching.on else many.without(*matching.labels)
    return many.updated({name: one.get(name) for name in matching.include}) if matching.include else many


def _filled(context: Context, expr: Binary, sides: tuple[Block, Block], table: Join, matched: Block) -> Block:
    """The matched rows and those whose missing partner a fill value stands for."""
    left, right = sides
    matching = expr.matching or Matching()
    parts = [matched]
    fill_left, fill_right = matching.fill_left, matching.fill_right
    if matching.cardinality is Cardinality.ONE_TO_MANY:
        # Upstream swaps the sides of group_right but not the fill values: there fill_left stands for the many side.
        fill_left, fill_right = fill_right, fill_left
    if fill_right is not None:
        paired = _partner(table.right_of[table.left.codes], any_in_group(table.right, right.present))
        parts.append(_lonely(context, expr, left.only(~paired), right=fill_right))
    if fill_left is not None:
        paired = _partner(table.left_of[table.right.codes], any_in_group(table.left, left.present))
        parts.append(_lonely(context, expr, right.only(~paired), left=fill_left))
    return concatenate(parts)


def _lonely(
    context: Context, expr: Binary, block: Block, *, left: float | None = None, right: float | None = None
) -> Block:
    """Rows of one side against the fill value of the other."""
    own = Operand(block.values, block.histograms)
    lefts = Operand(np.full_like(block.values, left)) if left is not None else own
    rights = Operand(np.full_like(block.values, right)) if right is not None else own
    result = _operated(context, expr, (lefts, rights), Block(block.sets, lefts.values, block.present))
    matching = expr.matching or Matching()
    many_side = matching.cardinality is (Cardinality.MANY_TO_ONE if right is not None else Cardinality.ONE_TO_MANY)
    drops = _drops_name(expr)

    def change(labels: Labels) -> Labels:
        if drops and not context.delayed:
            labels = labels.without(*METADATA)
        if many_side:
            # The other side has nothing to copy: the listed labels are empty.
            return labels.without(*matching.include)
        return labels.only(*matching.labels) if matching.on else labels.without(*matching.labels)

    sets = block.sets.mapped(change)
    if context.delayed and drops:
        sets.dropped = np.ones(len(sets), bool)
    return result.relabelled(sets)


def _partner(groups: Ints, present: Bools) -> Bools:
    """Where the other side's group has a row; -1 is no group."""
    if not len(present):
        return np.zeros((len(groups), present.shape[1]), bool)
    result: Bools = present[np.maximum(groups, 0)] & (groups >= 0)[:, None]
    return result


def concatenate(parts: list[Block]) -> Block:
    """The rows of several blocks, one behind the other."""
    rows = [labels for part in parts for labels in part.sets.rows()]
    sets = LabelSets.of(rows)
    if any(part.sets.dropped is not None for part in parts):
        sets.dropped = np.concatenate(
            [np.zeros(len(part.sets), bool) if part.sets.dropped is None else part.sets.dropped for part in parts]
        )
    values, present = np.concatenate([part.values for part in parts]), np.concatenate([part.present for part in parts])
    return Block(sets, values, present, _histograms(parts))


def _histograms(parts: list[Block]) -> Histograms | None:
    if all(part.histograms is None for part in parts):
        return None
    return np.concatenate(
        [none_of(part.present.shape) if part.histograms is None else part.histograms for part in parts]
    )


def _and(left: Block, right: Block, matching: Matching) -> Block:
    table = join(left.sets, right.sets, matching)
    there = _partner(table.right_of[table.left.codes], any_in_group(table.right, right.present))
    return left.only(there)


def _unless(left: Block, right: Block, matching: Matching) -> Block:
    table = join(left.sets, right.sets, matching)
    there = _partner(table.right_of[table.left.codes], any_in_group(table.right, right.present))
    return left.only(~there)


def _or(left: Block, right: Block, matching: Matching) -> Block:
    table = join(left.sets, right.sets, matching)
    there = _partner(table.left_of[table.right.codes], any_in_group(table.left, left.present))
    added = right.only(~there)
    if not len(added.sets):
        return left
    if not len(left.sets):
        return added
    both = ("or", right.sets)
    sets = left.sets.memo(both, lambda: concatenate([left, added]).sets)
    values, present = np.concatenate([left.values, added.values]), np.concatenate([left.present, added.present])
    return joined(Block(sets, values, present, _histograms([left, added])))


SETS: Final[dict[str, Callable[[Block, Block, Matching], Block]]] = {"and": _and, "unless": _unless, "or": _or}
