"""Functions whose arguments hold native histograms. Those that know nothing of them get the floats only.

What is done with windows stands in histogram_windows.py and histogram_rates.py; here are the dispatch and the functions
of instant vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.promql import histogram_notes as notes
from obskit.promql import histogram_rates, histogram_windows
from obskit.promql.blocks import Block, Bools, Floats, Value, joined
from obskit.promql.context import Context
from obskit.promql.histogram_estimates import fraction, quantile, variance
from obskit.promql.histogram_extended import HistogramExtendedWindows, extended
from obskit.promql.histogram_windows import Fold
from obskit.promql.histograms import open_metrics
from obskit.promql.labelsets import METADATA, Ints, LabelSets
from obskit.promql.nodes import Call, Expr
from obskit.promql.windows import RangeVector, Windows

Function = Callable[[Context, Call, list[Any]], Value]


def has_histograms(arg: object) -> bool:
    """Whether an argument holds histograms."""
    if isinstance(arg, Block):
        return arg.histograms is not None
    return isinstance(arg, HistogramExtendedWindows) or (
        isinstance(arg, RangeVector) and arg.samples.histograms is not None
    )


def apply(function: Function, context: Context, call: Call, args: list[Any]) -> Value:
    """The value of a call with histograms among its arguments."""
    if isinstance(args[0], HistogramExtendedWindows):
        return extended(function, context, call, args[0])
    if call.name in ANY_KIND:
        return function(context, call, args)
    if call.name in OF_WINDOWS:
        return OF_WINDOWS[call.name](_fold(function, context, call), context, call, args[0])
    if call.name in OF_VECTORS:
        return OF_VECTORS[call.name](function, context, call, args)
    return function(context, call, [_floats(context, call, arg) for arg in args])


def names_of_floats(arg: object) -> list[str]:
    """The metrics of which a range has floats, in order of appearance."""
    if isinstance(arg, HistogramExtendedWindows):
        samples = arg.floats.samples
    else:
        assert isinstance(arg, Windows)
        samples = arg.samples.floats()
    names = (samples.sets[row].name for row in np.flatnonzero(np.diff(samples.starts)).tolist())
    return [name for name in dict.fromkeys(names) if name]


def _fold(function: Function, context: Context, call: Call) -> Fold:
    def fold(windows: Windows) -> Block:
        block = function(context, call, [windows])
        assert isinstance(block, Block)
        return block

    return fold


def _floats(context: Context, call: Call, arg: Any) -> Any:
    if isinstance(arg, Block):
        return arg.floats()
    if isinstance(arg, Windows) and arg.samples.histograms is not None:
        return histogram_windows.floats_only(context, call, arg)
    return arg


def _number(read: Callable[[NativeHistogram], float]) -> Callable[[Function, Context, Call, list[Any]], Block]:
    def function(_floats: Function, _context: Context, _call: Call, args: list[Any]) -> Block:
        return _each(args[0], lambda _row, _step, histogram: read(histogram))

    return function


def _each(block: Block, read: Callable[[int, int, NativeHistogram], float]) -> Block:
    """A number for each histogram; floats are left out."""
    there = block.has_histogram()
    values = np.zeros(there.shape)
    assert block.histograms is not None
    for row, step in np.argwhere(there).tolist():
        values[row, step] = read(row, step, block.histograms[row, step])
    return Block(block.sets, values, there)


def _average(histogram: NativeHistogram) -> float:
    return float(np.divide(histogram.sum, histogram.count))


def _histogram_quantile(function: Function, context: Context, call: Call, args: list[Any]) -> Block:
    classic, native = _split(context, call.args[1], args[1])
    found = function(context, call, [args[0], classic])
    assert isinstance(found, Block)
    return _beside(found, _quantiles(context, call.args[1], native, args[0]))


def _histogram_quantiles(function: Function, context: Context, call: Call, args: list[Any]) -> Block:
    classic, native = _split(context, call.args[0], args[0])
    found = function(context, call, [classic, *args[1:]])
    assert isinstance(found, Block)
    for q in args[2:]:
        part = _quantiles(context, call.args[0], native, q)
        change = partial(_with_label, args[1], open_metrics(float(q[0])) if len(q) else "")
        found = _beside(found, part.relabelled(part.sets.mapped(change)))
    return found


def _with_label(name: str, value: str, labels: Labels) -> Labels:
    return labels.updated({name: value})


def _quantiles(context: Context, expr: Expr, native: Block, q: Floats) -> Block:
    names = _names(native)

    def read(row: int, step: int, histogram: NativeHistogram) -> float:
        estimate = quantile(float(q[step]), histogram)
        if estimate.has_nan:
            notes.nan_in_quantile(context, expr, names[row], lost=math.isnan(estimate.value))
        return estimate.value

    return _nameless(_each(native, read))


def _histogram_fraction(function: Function, context: Context, call: Call, args: list[Any]) -> Block:
    lower, upper, block = args
    classic, native = _split(context, call.args[2], block)
    names = _names(native)

    def read(row: int, step: int, histogram: NativeHistogram) -> float:
        estimate = fraction(float(lower[step]), float(upper[step]), histogram)
        if estimate.has_nan:
            notes.nan_in_fraction(context, call.args[2], names[row])
        return estimate.value

    found = function(context, call, [lower, upper, classic])
    assert isinstance(found, Block)
    return _beside(found, _nameless(_each(native, read)))


def _names(block: Block) -> list[str]:
    return [labels.name for labels in block.sets.rows()]


def _split(context: Context, expr: Expr, block: Block) -> tuple[Block, Block]:
    """The rows of classic buckets and those of native histograms; where both have the same labels neither counts."""
    native, floats = block.has_histogram(), block.floats().present
    keys: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for row in np.flatnonzero(floats.any(axis=1)).tolist():
        labels = block.sets[row]
        if "le" in labels:
            keys.setdefault(labels.without("le").pairs, []).append(row)
    for row in np.flatnonzero(native.any(axis=1)).tolist():
        rows = keys.get(block.sets[row].pairs, [])
        both: Bools = native[row] & np.logical_or.reduce(floats[rows], axis=0) if rows else np.zeros(block.steps, bool)
        if both.any():
            notes.mixed_with_classic(context, expr, block.sets[row].name)
            native[row] &= ~both
            floats[rows] &= ~both
    return _rows_with(replace(block, histograms=None), floats), _rows_with(block, native)


def _rows_with(block: Block, present: Bools) -> Block:
    rows: Ints = np.flatnonzero(present.any(axis=1))
    return block.only(present).take(rows)


def _nameless(block: Block) -> Block:
    return block.relabelled(block.sets.mapped(lambda labels: labels.without(*METADATA)))


def _beside(one: Block, other: Block) -> Block:
    """The rows of both."""
    sets = LabelSets.of([*one.sets.rows(), *other.sets.rows()])
    values, present = np.concatenate([one.values, other.values]), np.concatenate([one.present, other.present])
    return joined(Block(sets, values, present))


ANY_KIND: Final = frozenset(
    {
        "absent",
        "absent_over_time",
        "present_over_time",
        "count_over_time",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "label_replace",
        "label_join",
        "sort_by_label",
        "sort_by_label_desc",
    }
)
"""Functions that do not look at the values, or pass them on."""

OF_WINDOWS: Final[dict[str, Callable[[Fold, Context, Call, Windows], Block]]] = {
    "sum_over_time": histogram_windows.combine_over_time,
    "avg_over_time": histogram_windows.combine_over_time,
    "first_over_time": histogram_windows.pick_over_time,
    "last_over_time": histogram_windows.pick_over_time,
    "changes": histogram_windows.count_steps,
    "resets": histogram_windows.count_steps,
    "rate": histogram_rates.extrapolated,
    "increase": histogram_rates.extrapolated,
    "delta": histogram_rates.extrapolated,
    "irate": histogram_rates.between_last_two,
    "idelta": histogram_rates.between_last_two,
}

OF_VECTORS: Final[dict[str, Callable[[Function, Context, Call, list[Any]], Block]]] = {
    "histogram_count": _number(lambda histogram: histogram.count),
    "histogram_sum": _number(lambda histogram: histogram.sum),
    "histogram_avg": _number(_average),
    "histogram_stdvar": _number(variance),
    "histogram_stddev": _number(lambda histogram: float(np.sqrt(variance(histogram)))),
    "histogram_quantile": _histogram_quantile,
    "histogram_quantiles": _histogram_quantiles,
    "histogram_fraction": _histogram_fraction,
}
ONLY_HISTOGRAMS: Final = ("histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev", "histogram_stdvar")
"""Functions that leave floats out."""
