"""What changed between Prometheus 2.42 and 3.x, each with the way by which a difference is shown to be just that.

Left-open ranges, dot-all patterns and the grammar of 3.x are kept out of the generated data and queries; the tests
of test_differential.py assert them one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Self, TypeVar

import numpy as np

from obskit.promql import aggregations, binary, edges, ranking, rates
from obskit.promql.blocks import Band, Floats
from obskit.promql.labelsets import Ints
from obskit.promql.nodes import COMPARISONS, Binary, Expr, ValueType
from obskit.promql.parser import parse
from obskit.promql.rates import Measure, Reach
from tests.promql.differential.heaps import ranked_by_heap

Item = TypeVar("Item")


def in_words_of_2_42(query: str) -> str:
    """The query with the names that functions had in 2.42."""
    return query.replace("double_exponential_smoothing", "holt_winters")


# What is computed in another way: obskit does it in the old way for a moment.


@contextmanager
def as_in_2_42(names: Sequence[str]) -> Iterator[None]:
    """Within, obskit's engine does these things as 2.42 did."""
    with ExitStack() as stack:
        for name in names:
            for table, replaced in COMPUTED[name]:
                stack.enter_context(_replaced(table, replaced))
        yield


def combinations_of_changes() -> Iterator[Sequence[str]]:
    """One after the other, then two at a time, and so on."""
    for size in range(1, len(COMPUTED) + 1):
        yield from combinations(COMPUTED, size)


@contextmanager
def _replaced(table: dict[str, Item], items: dict[str, Item]) -> Iterator[None]:
    before = {name: table[name] for name in items}
    table.update(items)
    try:
        yield
    finally:
        table.update(before)


@dataclass(frozen=True, slots=True)
class _FormerReach(Reach):
    """2.42 looked for the counter's zero first and at the distance to the border then; 3.x the other way round.

    Where the first sample is far from the border, a counter now begins half an interval before it, or at its zero when
    that is nearer (promql/functions.go, extrapolatedRate).
    """

    to_border: Floats
    average: Floats

    @classmethod
    def of(cls, counts: Ints, first_ms: Ints, last_ms: Ints, ends_ms: Ints, measure: Measure) -> Self:
        now = Reach.of(counts, first_ms, last_ms, ends_ms, measure)
        to_border = (first_ms - (ends_ms - measure.span_ms)) / 1000
        return cls(now.sampled, now.to_start, now.to_end, to_border, now.sampled / (counts - 1))

    def not_below_zero(self, first: Floats, result: Floats) -> Self:
        to_zero = np.where((result > 0) & (first >= 0), self.sampled * (first / result), np.inf)
        to_start = np.minimum(self.to_border, to_zero)
        return replace(self, to_start=np.where(to_start < self.average * 1.1, to_start, self.average / 2))


def _everyone(first: Floats, _result: Floats, _farthest: Floats) -> Ints:
    return np.arange(len(first))


def _by_cell(fold: Callable[[list[float]], float]) -> Callable[[Band], Floats]:
    """An aggregation that folds the values of one group at one step."""

    def aggregation(band: Band) -> Floats:
        result = np.zeros((len(band.starts), band.values.shape[1]))
        for group, step in np.ndindex(*result.shape):
            values = band.cell(group, step)
            result[group, step] = fold(values) if values else 0.0
        return result

    return aggregation


def _variance(values: list[float]) -> float:
    """2.42 did not look whether the first value is a number: an infinite one alone had the variance 0."""
    mean, squares = values[0], 0.0
    for count, value in enumerate(values[1:], 2):
        apart = value - mean
        mean += apart / count
        squares += apart * (value - mean)
    return squares / len(values)


def _mean(values: list[float]) -> float:
    """2.42 moved the mean from value to value."""
    mean = values[0]
    for count, value in enumerate(values[1:], 2):
        if math.isinf(mean) and (value == mean or math.isfinite(value)):
            continue
        mean += value / count - mean / count
    return mean


COMPUTED: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "extrapolation to zero": [
        (vars(rates), {"Reach": _FormerReach, "_near_zero": _everyone}),
        (vars(edges), {"Reach": _FormerReach}),
    ],
    "sums without compensation": [(aggregations.FOLDS, {"sum": _by_cell(sum), "avg": _by_cell(_mean)})],
    "variance of infinity": [
        (
            aggregations.FOLDS,
            {"stdvar": _by_cell(_variance), "stddev": _by_cell(lambda values: math.sqrt(_variance(values)))},
        )
    ],
    "what topk keeps of equals": [(ranking.RANKINGS, {"topk": ranked_by_heap, "bottomk": ranked_by_heap})],
    "atan2 keeps the name": [
        (
            vars(binary),
            {"_drops_name": lambda expr: (expr.op not in COMPARISONS or expr.bool) and expr.op != "atan2"},
        )
    ],
}
"""By name: where the engine finds it, and what 2.42 had in its place."""


# What is refused on one side: Prometheus is asked in a way that makes 2.42 accept or refuse it too.


def with_units(query: str) -> str:
    """The query with `s` after each duration that has no unit: a number of seconds since 3.0."""
    return re.sub(r"(\[|:|offset -?)(\d+)(?=[\]: )]|$)", r"\1\2s", query)


def with_bool(query: str) -> str:
    """The query with `bool` at each comparison of vectors.

    Since 3.9 duplicates are refused also when the comparison drops them; with `bool` 2.42 refuses them too.
    """
    return str(_with_bool(parse(query)))


def _with_bool(expr: Expr) -> Expr:
    changed: dict[str, Any] = {}
    for name in ("expr", "param", "lhs", "rhs"):
        child = getattr(expr, name, None)
        if isinstance(child, Expr):
            changed[name] = _with_bool(child)
    if hasattr(expr, "args"):
        changed["args"] = tuple(map(_with_bool, expr.args))
    if isinstance(expr, Binary) and expr.op in COMPARISONS and _vectors(expr):
        changed["bool"] = True
    return replace(expr, **changed)


def _vectors(expr: Binary) -> bool:
    return expr.lhs.type is ValueType.VECTOR and expr.rhs.type is ValueType.VECTOR
