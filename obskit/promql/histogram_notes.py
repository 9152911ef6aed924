"""What Prometheus warns of and informs about when histograms are involved (util/annotations)."""

from __future__ import annotations

from typing import Literal

from obskit.model.histogram_arithmetic import Combined
from obskit.promql.context import Context, Reading
from obskit.promql.literals import quote_string
from obskit.promql.nodes import Expr

Operation = Literal["addition", "subtraction", "aggregation"]


def mixed_floats(context: Context, expr: Expr, name: str) -> None:
    """A range holds floats and histograms, and the function cannot take both."""
    context.warn(f"encountered a mix of histograms and floats for metric name {quote_string(name)}", expr)


def mixed_floats_in_group(context: Context, expr: Expr) -> None:
    """A group holds floats and histograms."""
    context.warn("encountered a mix of histograms and floats for aggregation", expr)


def mixed_schemas(context: Context, expr: Expr, name: str) -> None:
    """Exponential buckets met custom ones."""
    message = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name"
    context.warn(f"{message} {quote_string(name)}", expr)


def mixed_with_classic(context: Context, expr: Expr, name: str) -> None:
    """The same histogram is there in both forms."""
    context.warn(f"vector contains a mix of classic and native histograms{_named(name)}", expr)


def not_counter(context: Context, expr: Expr, name: str) -> None:
    """A gauge where a counter is needed."""
    context.warn(f"this native histogram metric is not a counter: {quote_string(name)}", expr)


def not_gauge(context: Context, expr: Expr, name: str) -> None:
    """A counter where a gauge is needed."""
    context.warn(f"this native histogram metric is not a gauge: {quote_string(name)}", expr)


def overlap(context: Context, expr: Expr, name: str) -> None:
    """A sample claims to have started before the one before it ended."""
    message = "sample has start time that overlaps with previous sample timestamp for metric"
    context.warn(f"{message} {quote_string(name)}", expr)


def incompatible_layouts(context: Context, expr: Expr, operator: str) -> None:
    """An operator between exponential and custom buckets."""
    context.warn(f"incompatible bucket layout encountered for binary operator {operator}", expr)


def incompatible_types(context: Context, expr: Expr, operator: str, sides: tuple[str, str]) -> None:
    """An operator between types it does not know ("float", "histogram")."""
    left, right = sides
    message = f'incompatible sample types encountered for binary operator "{operator}": {left} {operator} {right}'
    context.inform(message, expr)


def combined(context: Context, expr: Expr, found: Combined, operation: Operation, *, collisions: bool = True) -> None:
    """What was noticed when histograms were added up or subtracted.

    Prometheus knows of resets in stored samples only where it reads nothing but counts (histogram_stats_iterator.go).
    """
    if found.collision and collisions and context.reading is Reading.COUNTS:
        context.warn(f"conflicting counter resets during histogram {operation}", expr)
    if found.reconciled:
        context.inform(f"mismatched custom buckets were reconciled during {operation}", expr)


def ignored_in_range(context: Context, expr: Expr, name: str) -> None:
    """A function of floats found histograms beside them."""
    message = "ignored histograms in a range containing both floats and histograms for metric name"
    context.inform(f"{message} {quote_string(name)}", expr)


def ignored_in_aggregation(context: Context, expr: Expr, operator: str) -> None:
    """An aggregation of floats found histograms."""
    context.inform(f"ignored histogram in {operator} aggregation", expr)


def nan_in_quantile(context: Context, expr: Expr, name: str, *, lost: bool) -> None:
    """A quantile is skewed by observations of NaN, or lies among them (`lost`)."""
    what = "NaN" if lost else "skewed higher"
    context.inform(f"input to histogram_quantile has NaN observations, result is {what}{_named(name)}", expr)


def nan_in_fraction(context: Context, expr: Expr, name: str) -> None:
    """A fraction is of a histogram with observations of NaN."""
    message = "input to histogram_fraction has NaN observations, which are excluded from all fractions"
    context.inform(f"{message}{_named(name)}", expr)


def _named(name: str) -> str:
    return f" for metric name {quote_string(name)}" if name else ""
