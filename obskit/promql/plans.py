"""What is worked out once per expression: the tree, and the parts that are the same at every step.

Also what others ask of an expression without evaluating it: its selectors, metric names and how far back it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from obskit.model.matchers import exact_name
from obskit.promql.nodes import (
    Aggregate,
    Binary,
    Call,
    Duration,
    Expr,
    MatrixSelector,
    Number,
    Paren,
    Shift,
    String,
    Subquery,
    Unary,
    VectorSelector,
)
from obskit.promql.parser import parse

TIME_DEPENDENT: Final = frozenset(
    {
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "hour",
        "minute",
        "month",
        "year",
        "predict_linear",
        "time",
        "timestamp",
    }
)
"""Functions whose result depends on the evaluation time even when their arguments do not."""

OF_THE_QUERY: Final = frozenset({"start", "end", "range", "step"})
"""Functions that tell the query's own range and step."""

DEFAULT_LOOKBACK_MS: Final = 300_000


@dataclass(frozen=True, slots=True)
class Plan:
    """An expression ready to be evaluated.

    `invariant` holds the ids of nodes that `@` pins to one moment, `repeated` what ticks.py knows of its nodes.
    """

    text: str
    expr: Expr
    invariant: frozenset[int]
    repeated: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, expr: str | Expr, note: Callable[[Expr], Mapping[int, Sequence[int]]] = lambda _: {}) -> Plan:
        """The plan of an expression; `note` says which of its nodes other plans have too.

        Raises QuerySyntaxError when the text is wrong.
        """
        tree = parse(expr) if isinstance(expr, str) else expr
        found: set[int] = set()
        _pinned(tree, found)
        return cls(expr if isinstance(expr, str) else str(expr), tree, frozenset(found), note(tree))


def _pinned(expr: Expr, found: set[int]) -> bool:
    """Whether the node's value is the same at every step; notes the nodes worth computing once."""
    below = [_pinned(child, found) for child in expr.children]
    if isinstance(expr, Number | String):
        return True
    if isinstance(expr, VectorSelector):
        return expr.shift.at is not None
    if isinstance(expr, MatrixSelector):
        return below[0]
    if isinstance(expr, Subquery):
        return expr.shift.at is not None
    pinned = all(below) and not (isinstance(expr, Call) and expr.name in TIME_DEPENDENT)
    if pinned and isinstance(expr, Paren | Call | Binary | Aggregate | Unary):
        found.add(id(expr))
    return pinned


def selectors(expr: Expr) -> list[VectorSelector]:
    """All selectors of an expression, in the order of the text."""
    return [node for node in expr.walk() if isinstance(node, VectorSelector)]


def metric_names(expr: Expr) -> frozenset[str] | None:
    """The metrics an expression reads; None when it may read any (a selector does not pin its name)."""
    if any(isinstance(node, Call) and node.name == "info" for node in expr.walk()):
        return None
    names = {exact_name(selector.matchers) for selector in selectors(expr)}
    return None if None in names else frozenset(name for name in names if name is not None)


def asks_for_range(expr: Expr) -> bool:
    """Whether its value at a moment depends on the range or the step of the query: `@ start()`, `[step()]`, `range()`."""
    return any(_asks_for_range(node) for node in expr.walk())


def _asks_for_range(node: Expr) -> bool:
    if isinstance(node, Call):
        return node.name in OF_THE_QUERY
    durations: list[Duration | None] = []
    if isinstance(node, VectorSelector | Subquery):
        durations.append(node.shift.offset)
    if isinstance(node, MatrixSelector | Subquery):
        durations.append(node.range)
    if isinstance(node, Subquery):
        durations.append(node.step)
    named = isinstance(node, VectorSelector | Subquery) and isinstance(node.shift.at, str)
    return named or any(not isinstance(duration, float | None) for duration in durations)


def longest_range_ms(expr: Expr, *, lookback_ms: int = DEFAULT_LOOKBACK_MS) -> int:
    """How far before its evaluation time an expression looks, with ranges, offsets and lookback.

    What `@` pins is left out: it does not move with the evaluation. Durations that depend on the query's step or range
    count as zero, as they are in an instant query.
    """
    return _reach(expr, 0, lookback_ms)


def _reach(expr: Expr, before_ms: int, lookback_ms: int) -> int:
    if isinstance(expr, VectorSelector):
        return _shifted(expr.shift, before_ms + lookback_ms)
    if isinstance(expr, MatrixSelector):
        # An anchored or smoothed range looks for the sample before it.
        before_ms += lookback_ms if expr.vector.modifier else 0
        return _shifted(expr.vector.shift, before_ms + _milliseconds(expr.range))
    if isinstance(expr, Subquery):
        if expr.shift.at is not None:
            return 0
        before_ms += _milliseconds(expr.range) + _milliseconds(expr.shift.offset)
    return max((_reach(child, before_ms, lookback_ms) for child in expr.children), default=0)


def _shifted(shift: Shift, before_ms: int) -> int:
    return 0 if shift.at is not None else max(0, before_ms + _milliseconds(shift.offset))


def _milliseconds(duration: Duration) -> int:
    return round(duration * 1000) if isinstance(duration, float) else 0
