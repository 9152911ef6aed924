"""Binary operations: number with number, vector with number, vector with vector.

Division and modulo by zero give NaN (PromQL's division gives infinity). A comparison keeps the left value of a pair, or
the vector's value beside a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from obskit.errors import QueryError
from obskit.logql.metric_nodes import COMPARISONS, Binary, Matching, MetricExpr, Number
from obskit.logql.vectors import Block
from obskit.logql.windows import Flags, Floats
from obskit.model.labels import Labels

_Row: TypeAlias = tuple[Labels, Floats, Flags]
_NO_MATCHING: Final = Matching()


def _divide(left: Floats, right: Floats) -> Floats:
    return np.asarray(np.where(right == 0, np.nan, left / right))


_FUNCTIONS: Final[dict[str, Callable[[Floats, Floats], NDArray[Any]]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": _divide,
    "%": np.fmod,
    "^": np.power,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}


def combine(node: Binary, left: Block | float, right: Block | float) -> Block | float:
    """The result of `node` over its evaluated sides."""
    with np.errstate(all="ignore"):
        if isinstance(left, Block) and isinstance(right, Block):
            matching = node.matching or _NO_MATCHING
            rows = _SET[node.op](left, right, matching) if node.op in _SET else _pairs(node, left, right, matching)
            return Block.of(rows, left.steps)
        result = _apply(node.op, _numbers(left), _numbers(right))
        if isinstance(left, Block):
            return _beside_number(node, left, result)
        if isinstance(right, Block):
            return _beside_number(node, right, result)
        return float(result)


def folded(expr: MetricExpr) -> float:
    """The value of an expression of numbers alone."""
    match expr:
        case Binary():
            with np.errstate(all="ignore"):
                return float(_apply(expr.op, _numbers(folded(expr.left)), _numbers(folded(expr.right))))
        case Number():
            return expr.value
    raise TypeError(f"not an expression of numbers: {expr}")


def _numbers(side: Block | float) -> Floats:
    return side.values if isinstance(side, Block) else np.asarray(side, dtype=np.float64)


def _apply(op: str, left: Floats, right: Floats) -> Floats:
    return np.asarray(_FUNCTIONS[op](left, right), dtype=np.float64)


def _beside_number(node: Binary, block: Block, result: Floats) -> Block:
    values, kept = _outcome(node, block.values, result)
    rows = zip(block.labels, values, block.present & kept, strict=True)
    return Block.of(rows, block.steps)


def _outcome(node: Binary, kept_value: Floats, result: Floats) -> tuple[Floats, Flags]:
    """The values of an operation and where it has one: a comparison without `bool` filters."""
    if node.op in COMPARISONS and not node.returns_bool:
        return kept_value, result.astype(np.bool_)
    return result, np.ones(result.shape, dtype=np.bool_)


def _signature(matching: Matching) -> Callable[[Labels], Labels]:
    """What two series must share to belong together."""
    if matching.on:
        return lambda labels: labels.only(*matching.labels)
    return lambda labels: labels.without(*matching.labels)


def _by_signature(block: Block, signature: Callable[[Labels], Labels]) -> dict[Labels, list[_Row]]:
    groups: dict[Labels, list[_Row]] = {}
    for row in block.rows():
        groups.setdefault(signature(row[0]), []).append(row)
    return groups


def _pairs(node: Binary, left: Block, right: Block, matching: Matching) -> Iterator[_Row]:
    """Each series of the "many" side with its partner on the "one" side; QueryError where that is not unique."""
    signature = _signature(matching)
    swapped = matching.group == "group_right"
    many, one = (right, left) if swapped else (left, right)
    partners = _by_signature(one, signature)
    for shared, rows in partners.items():
        _refuse_doubles(rows, shared, "right" if not swapped else "left")
    taken: dict[Labels, Flags] = {}
    for labels, values, present in many.rows():
        shared = signature(labels)
        for partner, other, other_present in partners.get(shared, ()):
            sides = (other, values) if swapped else (values, other)
            outcome, kept = _outcome(node, sides[0], _apply(node.op, *sides))
            kept = kept & present & other_present
            result = _result_labels(labels, partner, matching)
            _refuse_second(taken, result if matching.group else shared, kept, grouped=bool(matching.group))
            yield result, outcome, kept


def _refuse_doubles(rows: list[_Row], shared: Labels, side: str) -> None:
    if len(rows) > 1 and (np.sum([present for _, _, present in rows], axis=0) > 1).any():
        raise QueryError(
            f"found duplicate series on the {side} hand-side of the operation, for the match group {shared}: "
            f"[{rows[0][0]}, {rows[1][0]}]; many-to-many matching not allowed: matching labels must be unique on one side"
        )


def _refuse_second(taken: dict[Labels, Flags], shared: Labels, kept: Flags, *, grouped: bool) -> None:
    before = taken.get(shared)
    if before is not None and (before & kept).any():
        if grouped:
            raise QueryError("multiple matches for labels: grouping labels must ensure unique matches")
        raise QueryError("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")
    taken[shared] = kept if before is None else before | kept


def _result_labels(labels: Labels, partner: Labels, matching: Matching) -> Labels:
    if not matching.group:
        return labels.only(*matching.labels) if matching.on else labels.without(*matching.labels)
    return labels.updated({name: partner.get(name) for name in matching.include}) if matching.include else labels


def _anywhere(rows: list[_Row], steps: int) -> Flags:
    return np.any([present for _, _, present in rows], axis=0) if rows else np.zeros(steps, dtype=np.bool_)


def _and(left: Block, right: Block, matching: Matching) -> Iterator[_Row]:
    signature = _signature(matching)
    others = _by_signature(right, signature)
    for labels, values, present in left.rows():
        yield labels, values, present & _anywhere(others.get(signature(labels), []), left.steps)


def _unless(left: Block, right: Block, matching: Matching) -> Iterator[_Row]:
    signature = _signature(matching)
    others = _by_signature(right, signature)
    for labels, values, present in left.rows():
        yield labels, values, present & ~_anywhere(others.get(signature(labels), []), left.steps)


def _or(left: Block, right: Block, matching: Matching) -> Iterator[_Row]:
    yield from left.rows()
    yield from _unless(right, left, matching)


_SET: Final = {"and": _and, "or": _or, "unless": _unless}
