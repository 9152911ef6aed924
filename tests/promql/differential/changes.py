"""What changed between Prometheus 2.42 and 3.x, each with the way by which a difference is shown to be just that.

Left-open ranges, dot-all patterns and the grammar of 3.x are kept out of the generated data and queries; the tests
of test_differential.py assert them one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from obskit.promql import functions, rates
from obskit.promql.blocks import Block
from obskit.promql.nodes import COMPARISONS, Binary, Expr, ValueType
from obskit.promql.parser import parse
from obskit.promql.windows import Windows


def in_words_of_2_42(query: str) -> str:
    """The query with the names that functions had in 2.42."""
    return query.replace("double_exponential_smoothing", "holt_winters")


@contextmanager
def extrapolating_as_2_42() -> Iterator[None]:
    """Within, rate and increase extrapolate as 2.42 did: the counter's zero first, the distance to the border then.

    3.x turns that round: where the first sample is far from the border, a counter begins half an interval before it,
    or at its zero when that is nearer.
    """
    names = ("rate", "increase")
    before = {name: functions.FUNCTIONS[name] for name in names}
    for name in names:
        functions.FUNCTIONS[name] = _extrapolated(per_second=name == "rate")
    try:
        yield
    finally:
        functions.FUNCTIONS.update(before)


def _extrapolated(*, per_second: bool) -> functions.Function:
    def function(_context: Any, _call: Any, args: list[Any]) -> Block:
        windows: Windows = args[0]
        times, values = windows.samples.times_ms, windows.samples.values
        first = windows.nth(values, windows.first)
        result = windows.nth(values, windows.last - 1) - first + rates._lost_to_resets(windows)
        first_time, last_time = windows.nth(times, windows.first), windows.nth(times, windows.last - 1)
        sampled = (last_time - first_time) / 1000
        average = sampled / (windows.counts - 1)
        to_start = (first_time - (windows.ends_ms - windows.span_ms)) / 1000
        to_end = (windows.ends_ms - last_time) / 1000
        to_zero = np.where((result > 0) & (first >= 0), sampled * (first / result), np.inf)
        to_start = np.minimum(to_start, to_zero)
        to_start, to_end = (np.where(to < average * 1.1, to, average / 2) for to in (to_start, to_end))
        factor = (sampled + to_start + to_end) / sampled / (windows.span_ms / 1000 if per_second else 1)
        return windows.block(result * factor, windows.counts >= 2)

    return function


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
