"""What the queries of one moment share: an expression that several of them contain is computed once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from obskit.promql.blocks import Value
from obskit.promql.context import Context, Reading
from obskit.promql.nodes import Aggregate, Call, Expr, ValueType, VectorSelector
from obskit.promql.plans import Plan

SHARED: Final = (Aggregate, Call, VectorSelector)


class Repeated:
    """Counts in how many places of how many plans an expression stands: what stands in one place is not worth keeping."""

    def __init__(self) -> None:
        self._numbers = count()
        self._places: dict[Expr, list[int]] = {}

    def forget(self) -> None:
        """Begin again, with other numbers: a tick may still hold values under those of now."""
        self._places.clear()

    def note(self, expr: Expr) -> dict[int, list[int]]:
        """The expressions of a tree that may be shared, by id: number and places (which grow as plans are added)."""
        found = {}
        for node in expr.walk():
            if isinstance(node, SHARED) and node.type is ValueType.VECTOR:
                places = self._places.setdefault(node, [next(self._numbers), 0])
                places[1] += 1
                found[id(node)] = places
        return found


class Tick:
    """The shared values of one moment, for queries of one engine. What was stored after a value was computed is not in
    it: whoever needs to see that begins a new tick.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[int, int, int, Reading], Value] = {}

    def value(self, plan: Plan, expr: Expr, context: Context, compute: Callable[[Expr, Context], Value]) -> Value:
        """The value of an expression at the context's only step: the shared one when it is repeated somewhere."""
        places = plan.repeated.get(id(expr))
        if places is None or places[1] < 2:
            return compute(expr, context)
        key = places[0], int(context.at_ms[0]), context.start_ms, context.reading
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = compute(expr, context)
        return value
