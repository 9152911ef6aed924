"""The registry of functions and those that work value by value. Types were checked by the parser.

A function takes the context, its call and its evaluated arguments (Block, Windows, scalars per step or str) and gives
a value. It leaves metric names alone: `apply` drops them, except for the functions that keep them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from obskit.model.labels import EMPTY, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.promql import (
    functions_labels,
    functions_sort,
    histogram_functions,
    histogram_notes,
    histograms,
    over_time,
    rates,
    starts,
)
from obskit.promql.blocks import Block, Bools, Floats, Value, empty, nameless, refuse_equal_series, single
from obskit.promql.context import Context
from obskit.promql.extended import EXTENDED, ExtendedWindows
from obskit.promql.functions_time import CALENDAR
from obskit.promql.histogram_extended import HistogramExtendedWindows
from obskit.promql.labelsets import METADATA, LabelSets
from obskit.promql.nodes import Call, Expr, MatrixSelector, ValueType, VectorSelector, bare
from obskit.promql.windows import RangeVector, Windows

Function = Callable[[Context, Call, list[Any]], Value]
KEEPS_NAME: Final = frozenset(
    {
        "last_over_time",
        "first_over_time",
        "sort",
        "sort_desc",
        "sort_by_label",
        "sort_by_label_desc",
        "label_replace",
        "label_join",
        "info",
        "absent",
        "absent_over_time",
        "histogram_quantile",
        "histogram_quantiles",
        "histogram_fraction",
        "vector",
    }
)
"""Functions that keep metric names, or whose results have none."""

MATH: Final[dict[str, Callable[[Floats], Floats]]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": np.degrees,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": np.radians,
    "sgn": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}

COUNTERS: Final = ("rate", "increase", "irate")
_COUNTER_SUFFIXES: Final = ("_total", "_sum", "_count", "_bucket")


def apply(context: Context, call: Call, args: list[Any]) -> Value:
    """The value of a call."""
    function = FUNCTIONS[call.name]
    mixed = any(map(histogram_functions.has_histograms, args))
    if mixed:
        args = [arg.windows() if isinstance(arg, RangeVector) else arg for arg in args]
    value = histogram_functions.apply(function, context, call, args) if mixed else function(context, call, args)
    if not isinstance(value, Block):
        return value
    if not context.delayed and call.name not in KEEPS_NAME and any(arg.type is ValueType.MATRIX for arg in call.args):
        refuse_equal_series(value)
    if call.name not in COUNTERS:
        return finished(context, call, value)
    _check_starts(context, call, args[0])
    return finished(context, call, value, histogram_functions.names_of_floats(args[0]) if mixed else None)


def finished(context: Context, call: Call, block: Block, names: Iterable[str] | None = None) -> Block:
    """What a call gives, once its rows have their values: without metric names, mostly.

    `names` are the metrics of which it had floats, if not of all.
    """
    if call.name in COUNTERS:
        _check_counters(context, call, block.sets.metric_names() if names is None else names)
    return block if call.name in KEEPS_NAME else nameless(block, delayed=context.delayed)


def _math(change: Callable[[Floats], Floats]) -> Function:
    def function(_context: Context, _call: Call, args: list[Any]) -> Block:
        block: Block = args[0]
        return block.with_values(change(block.values))

    return function


def _fold(fold: Callable[[Windows], Block]) -> Function:
    return lambda _context, call, args: _folded(fold, call, args[0])


def _extrapolated(fold: Callable[[Windows | RangeVector], Block]) -> Function:
    def function(_context: Context, call: Call, args: list[Any]) -> Block:
        ranged = args[0]
        if isinstance(ranged, RangeVector) and ranged.samples.start_ms is None:
            return fold(ranged)
        return _folded(fold, call, ranged)

    return function


def _folded(fold: Callable[[Windows], Block], call: Call, ranged: RangeVector | Windows | ExtendedWindows) -> Block:
    if isinstance(ranged, ExtendedWindows):
        return EXTENDED[call.name](ranged)
    if ranged.samples.start_ms is not None:
        fold = starts.FOLDS.get(call.name, fold)
    return _each(ranged, fold)


def _each(ranged: RangeVector | Windows, fold: Callable[[Windows], Block]) -> Block:
    """A fold of all windows. They are cut out already where histograms were taken from among their samples."""
    return fold(ranged) if isinstance(ranged, Windows) else ranged.folded(fold)


def _check_counters(context: Context, call: Call, names: Iterable[str]) -> None:
    for name in names:
        if not name.endswith(_COUNTER_SUFFIXES):
            message = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket"
            context.inform(f'{message}: "{name}"', call.args[0])


def _check_starts(context: Context, call: Call, ranged: Any) -> None:
    if isinstance(ranged, ExtendedWindows | HistogramExtendedWindows) or call.name == "irate":
        return
    if ranged.samples.start_ms is not None:
        windows = ranged if isinstance(ranged, Windows) else ranged.windows()
        for row in starts.rows_with_overlap(windows).tolist():
            histogram_notes.overlap(context, call.args[0], windows.sets[row].name)


def _round(context: Context, _call: Call, args: list[Any]) -> Block:
    block: Block = args[0]
    nearest = args[1] if len(args) > 1 else np.ones(context.steps)
    inverse = 1.0 / nearest
    return block.with_values(np.floor(block.values * inverse + 0.5) / inverse)


def _clamp(_context: Context, call: Call, args: list[Any]) -> Block:
    block: Block = args[0]
    low = args[1] if call.name != "clamp_max" else np.array([-np.inf])
    high = args[-1] if call.name != "clamp_min" else np.array([np.inf])
    values = _go_max(low, _go_min(high, block.values))
    return Block(block.sets, values, block.present & ~(low > high))


def _go_max(one: Floats, other: Floats) -> Floats:
    """Go's math.Max: +Inf wins over NaN, NaN over everything else."""
    return np.where((one == np.inf) | (other == np.inf), np.inf, np.maximum(one, other))


def _go_min(one: Floats, other: Floats) -> Floats:
    """Go's math.Min: -Inf wins over NaN, NaN over everything else."""
    return np.where((one == -np.inf) | (other == -np.inf), -np.inf, np.minimum(one, other))


def _scalar(_context: Context, _call: Call, args: list[Any]) -> Floats:
    block: Block = args[0]
    one = block.present.sum(axis=0) == 1
    return np.where(one, np.where(block.present, block.values, 0.0).sum(axis=0), np.nan)


def _vector(_context: Context, _call: Call, args: list[Any]) -> Block:
    return single(UNLABELLED, args[0])


UNLABELLED: Final = LabelSets.of((EMPTY,), distinct=True)


def _absent(context: Context, call: Call, args: list[Any]) -> Block:
    block: Block = args[0]
    return _missing(context, call, np.logical_or.reduce(block.present, axis=0))


def _absent_over_time(context: Context, call: Call, args: list[Any]) -> Block:
    there = _each(args[0], over_time.present_over_time).present
    return _missing(context, call, np.logical_or.reduce(there, axis=0))


def _missing(context: Context, call: Call, there: Bools) -> Block:
    if there.all():
        return empty(context.steps)
    return single(LabelSets.of((_implied(call.args[0]),), distinct=True), np.ones(context.steps), ~there)


def _implied(expr: Expr) -> Labels:
    """The labels a selector's equality matchers promise, each only when nothing else is said about it."""
    expr = bare(expr)
    if isinstance(expr, MatrixSelector):
        expr = expr.vector
    if not isinstance(expr, VectorSelector):
        return EMPTY
    by_name: dict[str, list[Matcher]] = {}
    for matcher in expr.matchers:
        by_name.setdefault(matcher.name, []).append(matcher)
    return Labels(
        {
            name: found[0].value
            for name, found in by_name.items()
            if len(found) == 1 and found[0].op is MatchOp.EQUAL and name not in METADATA
        }
    )


def _quantile_over_time(context: Context, call: Call, args: list[Any]) -> Block:
    context.check_quantile(args[0], call.args[0])
    return _each(args[1], lambda windows: over_time.quantile_over_time(windows, args[0]))


def _predict_linear(_context: Context, _call: Call, args: list[Any]) -> Block:
    return _each(args[0], lambda windows: over_time.predict_linear(windows, args[1]))


def _smoothing(_context: Context, _call: Call, args: list[Any]) -> Block:
    functions_labels.check_factors(args[1], args[2])
    return _each(args[0], lambda windows: over_time.double_exponential_smoothing(windows, *args[1:]))


def _query_scalar(value: Callable[[Context], float]) -> Function:
    return lambda context, _call, _args: np.full(context.steps, value(context))


def _extreme(choose: Callable[[Floats, Floats], Floats]) -> Function:
    return lambda _context, _call, args: choose(args[0], args[1])


def _no_floats(context: Context, _call: Call, _args: list[Any]) -> Block:
    """What functions of native histograms give for floats: nothing."""
    return empty(context.steps)


FUNCTIONS: Final[dict[str, Function]] = {
    **{name: _math(change) for name, change in MATH.items()},
    **{name: _fold(fold) for name, fold in over_time.FOLDS.items()},
    **{name: _math(change) for name, change in CALENDAR.items()},
    **dict.fromkeys(histogram_functions.ONLY_HISTOGRAMS, _no_floats),
    "rate": _extrapolated(rates.rate),
    "increase": _extrapolated(rates.increase),
    "irate": _fold(rates.irate),
    "delta": _extrapolated(rates.delta),
    "idelta": _fold(rates.idelta),
    "changes": _fold(rates.changes),
    "resets": _fold(rates.resets),
    "predict_linear": _predict_linear,
    "quantile_over_time": _quantile_over_time,
    "double_exponential_smoothing": _smoothing,
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "scalar": _scalar,
    "vector": _vector,
    "time": lambda context, _call, _args: context.seconds(),
    "pi": _query_scalar(lambda _context: math.pi),
    "start": _query_scalar(lambda context: context.start_ms / 1000),
    "end": _query_scalar(lambda context: context.end_ms / 1000),
    "range": _query_scalar(lambda context: (context.end_ms - context.start_ms) / 1000),
    "step": _query_scalar(lambda context: context.step_ms / 1000),
    "max_of": _extreme(_go_max),
    "min_of": _extreme(_go_min),
    "sort": functions_sort.sort,
    "sort_desc": functions_sort.sort,
    "sort_by_label": functions_sort.sort_by_label,
    "sort_by_label_desc": functions_sort.sort_by_label,
    "label_replace": functions_labels.label_replace,
    "label_join": functions_labels.label_join,
    "histogram_quantile": histograms.histogram_quantile,
    "histogram_quantiles": histograms.histogram_quantiles,
    "histogram_fraction": histograms.histogram_fraction,
}
"""Everything but `timestamp` and `info`, which look at their selector instead of its value (see the evaluator)."""
