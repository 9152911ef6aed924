"""A query with `@` added to all its selectors: it must give the same whenever it is asked (as upstream's runner checks)."""

from __future__ import annotations

from dataclasses import replace

from obskit.promql.nodes import Aggregate, Binary, Call, Expr, MatrixSelector, Paren, Subquery, Unary, VectorSelector
from obskit.promql.parser import parse
from obskit.promql.plans import TIME_DEPENDENT


def pinned(query: str, at_ms: int) -> Expr | None:
    """The query fixed at a time; None when it depends on the evaluation time in other ways, or has nothing to fix."""
    tree = parse(query)
    nodes = list(tree.walk())
    if any(isinstance(node, Call) and node.name in TIME_DEPENDENT for node in nodes):
        return None
    if not any(isinstance(node, VectorSelector) for node in nodes):
        return None
    return _pin(tree, at_ms / 1000)


def _pin(expr: Expr, at: float) -> Expr:
    if isinstance(expr, VectorSelector | Subquery):
        # What is inside a subquery is evaluated at its steps, and they are fixed with it.
        return expr if expr.shift.at is not None else replace(expr, shift=replace(expr.shift, at=at))
    if isinstance(expr, MatrixSelector):
        vector = _pin(expr.vector, at)
        assert isinstance(vector, VectorSelector)
        return replace(expr, vector=vector)
    if isinstance(expr, Call):
        # info()'s second argument is no selector of its own.
        count = 1 if expr.name == "info" else len(expr.args)
        return replace(expr, args=(*(_pin(arg, at) for arg in expr.args[:count]), *expr.args[count:]))
    if isinstance(expr, Aggregate):
        return replace(expr, expr=_pin(expr.expr, at), param=expr.param and _pin(expr.param, at))
    if isinstance(expr, Binary):
        return replace(expr, lhs=_pin(expr.lhs, at), rhs=_pin(expr.rhs, at))
    return replace(expr, expr=_pin(expr.expr, at)) if isinstance(expr, Paren | Unary) else expr
