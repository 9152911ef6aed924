"""The smallest query that still differs: expressions give way to what is within them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from obskit.errors import QueryError
from obskit.promql.nodes import Expr, MatrixSelector, Subquery, VectorSelector
from obskit.promql.parser import parse
from tests.promql.differential.beside import Finding, Question

TRIALS = 200


def shrunk(finding: Finding, compare: Callable[[Question], Finding | None]) -> Finding:
    """A finding of the same kind with a smaller query, if there is one."""
    trials = 0
    while True:
        for query in _smaller(finding.question.query):
            trials += 1
            found = compare(replace(finding.question, query=query)) if trials < TRIALS else None
            if found is not None and found.change == finding.change and _kinds(found) == _kinds(finding):
                finding = found
                break
        else:
            return finding


def _kinds(finding: Finding) -> tuple[bool, bool]:
    return finding.want.kind == "error", finding.got.kind == "error"


def _smaller(query: str) -> list[str]:
    try:
        tree = parse(query)
    except QueryError:
        return []
    texts = {str(expr) for expr in _variants(tree)}
    return sorted((text for text in texts if len(text) < len(str(tree))), key=len)


def _variants(expr: Expr) -> Iterator[Expr]:
    """The tree with one expression replaced by one of the same type within it.

    Nothing is taken out of a subquery: there it would be evaluated at other times (see queries.py).
    """
    for within in _reachable(expr):
        if within.type is expr.type:
            yield within
    for name in ("expr", "param", "lhs", "rhs"):
        child = getattr(expr, name, None)
        if isinstance(child, Expr):
            yield from (_changed(expr, {name: variant}) for variant in _variants(child))
    for index, arg in enumerate(getattr(expr, "args", ())):
        for variant in _variants(arg):
            yield _changed(expr, {"args": (*expr.args[:index], variant, *expr.args[index + 1 :])})  # type: ignore[attr-defined]  # a call


def _changed(expr: Expr, changes: dict[str, Any]) -> Expr:
    return replace(expr, **changes)


def _reachable(expr: Expr) -> Iterator[Expr]:
    if isinstance(expr, Subquery | MatrixSelector | VectorSelector):
        return
    for child in expr.children:
        yield child
        yield from _reachable(child)
