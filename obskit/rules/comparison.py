"""Splits what a rule measures from what it compares it with: of `A > B`, and of `A > B and C`, A and B.

The answer of such a rule is A where it is over the limit, and nothing where it is not; A alone tells the value all the
time, and whether there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from obskit.model.context import Limit
from obskit.promql import nodes as promql
from obskit.promql.nodes import Aggregate, Binary, Call, Cardinality, Expr, Matching, ValueType

_NARROWING: Final = frozenset({"and", "unless"})
_CHOOSING: Final = frozenset({"topk", "bottomk", "limitk", "limit_ratio", "count_values"})
_TURNED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_ABSENT: Final = frozenset({"absent", "absent_over_time"})


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison. An element belongs to a result whose labels are the same, but for those `ignored`, or of
    those that are in `on`."""

    query: Any
    on: frozenset[str] | None = None
    ignored: frozenset[str] = frozenset()

    def tells(self, name: str) -> bool:
        """Whether a label must be the same."""
        return name in self.on if self.on is not None else name not in self.ignored


@dataclass(frozen=True, slots=True)
class Comparison:
    """`measured` is the side whose value the rule gives; `limit` is the other one where it has elements of its own,
    `bound` where it is a number.

    With `steady`, a side without an element has no data; else it may lack one because of what the data say.
    """

    measured: Side
    limit: Side | None = None
    steady: bool = False
    bound: Limit | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that have elements."""
        return (self.measured,) if self.limit is None else (self.measured, self.limit)


def comparison_of(query: Any) -> Comparison | None:
    """The comparison at the top of a rule's expression (PromQL or LogQL); None when there is none that filters."""
    return _of_metrics(query) if isinstance(query, Expr) else _of_logs(query)


def _of_logs(query: Any) -> Comparison | None:
    from obskit.logql import metric_nodes as logql  # noqa: PLC0415 - whose rules are all over metrics never loads it

    if not isinstance(query, logql.Binary):
        return None
    if query.op in _NARROWING:
        return comparison_of(query.left)
    if query.op not in logql.COMPARISONS or query.returns_bool:
        return None
    constant = isinstance(query.left, logql.Number)
    # Where no lines are, there is no element: in logs, silence is no lack of data.
    number, measured = (query.left, query.right) if constant else (query.right, query.left)
    bound = _bound(query.op, number.value, turned=constant) if isinstance(number, logql.Number) else None
    return Comparison(Side(measured), bound=bound)


def _of_metrics(query: Expr) -> Comparison | None:
    expr = promql.bare(query)
    if not isinstance(expr, Binary) or expr.bool:
        return None
    if expr.op in _NARROWING:
        return _of_metrics(expr.lhs)
    if expr.op not in promql.COMPARISONS:
        return None
    if expr.lhs.type is ValueType.SCALAR:
        return _of_metrics(expr.rhs) or _beside_number(expr, expr.rhs, expr.lhs)
    inner = _of_metrics(expr.lhs)
    if inner is not None:
        return inner
    if expr.rhs.type is ValueType.SCALAR:
        return _beside_number(expr, expr.lhs, expr.rhs)
    matching = expr.matching or Matching()
    left, right = _side(expr.lhs, matching), _side(expr.rhs, matching)
    # The side of the many gives its labels to the result, all but those that the other side lends it.
    if matching.cardinality is Cardinality.MANY_TO_ONE:
        left = Side(expr.lhs, ignored=frozenset(matching.include))
    elif matching.cardinality is Cardinality.ONE_TO_MANY:
        right = Side(expr.rhs, ignored=frozenset(matching.include))
    return Comparison(left, right, steady=_steady(expr.lhs) and _steady(expr.rhs))


def _beside_number(expr: Binary, measured: Expr, other: Expr) -> Comparison:
    number = promql.bare(other)
    bound = _bound(expr.op, number.value, turned=other is expr.lhs) if isinstance(number, promql.Number) else None
    return Comparison(Side(measured), steady=_steady(measured), bound=bound)


def _bound(op: str, value: float, *, turned: bool) -> Limit:
    """The limit as it stands behind the measured side: `2 < x` is `x > 2`."""
    return Limit(_TURNED.get(op, op) if turned else op, value)


def _side(query: Expr, matching: Matching) -> Side:
    names = frozenset(matching.labels)
    return Side(query, on=names) if matching.on else Side(query, ignored=names | frozenset(matching.include))


def _steady(query: Expr) -> bool:
    """Whether an element lacks only when its data do: nothing inside filters, chooses, or answers what is not there."""
    return not any(_selects_by_value(node) for node in query.walk())


def _selects_by_value(node: Expr) -> bool:
    if isinstance(node, Binary):
        return node.op in promql.SET_OPERATORS or (node.op in promql.COMPARISONS and not node.bool)
    if isinstance(node, Call):
        return node.name in _ABSENT
    return isinstance(node, Aggregate) and node.op in _CHOOSING
