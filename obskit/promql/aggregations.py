"""Aggregations: rows folded by group, at every step at once. Those that choose or rank rows stand in ranking.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from obskit.model.labels import NAME, Labels
from obskit.promql import histogram_aggregations, ranking
from obskit.promql.blocks import Band, Block, Bools, Floats, Value, empty, fold_groups
from obskit.promql.context import Context
from obskit.promql.functions_labels import check_label_name
from obskit.promql.labelsets import Groups, Ints, LabelSets
from obskit.promql.literals import format_number
from obskit.promql.nodes import Aggregate
from obskit.promql.sums import group_means, group_sums


def aggregate(context: Context, expr: Aggregate, block: Block, param: Value | None) -> Block:
    """The value of an aggregation. Nothing in, nothing out: an empty vector has no sum."""
    if expr.op == "count_values":
        assert isinstance(param, str)
        check_label_name(param, "invalid label name ")
    if isinstance(param, np.ndarray) and expr.op in ranking.NUMBERS_ONLY:
        ranking.refuse_nan(expr.op, param)
    if not len(block.sets):
        return empty(context.steps)
    groups = block.sets.grouped(expr.grouping, without=expr.without)
    if context.instant and context.steps == 1 and not _in_order(block, groups):
        block = block.take(block.alive())
        groups = block.sets.grouped(expr.grouping, without=expr.without)
    if block.histograms is not None and expr.op not in histogram_aggregations.ANY_KIND:
        if expr.op in histogram_aggregations.COMBINE:
            return histogram_aggregations.combine(context, expr, block, groups, FOLDS[expr.op])
        block = histogram_aggregations.floats_only(context, expr, block)
    if expr.op in FOLDS:
        return fold_groups(block, groups, FOLDS[expr.op])
    if isinstance(param, str):
        hidden = expr.without and param in (NAME, *expr.grouping)
        return _count_values(block, groups, "" if hidden else param)
    assert isinstance(param, np.ndarray)
    return ranking.RANKINGS[expr.op](context, expr, (block, groups), param)


def _in_order(block: Block, groups: Groups) -> bool:
    """Whether groups stand in the order of their first elements, also without the rows that have no value."""
    if block.present.all():
        return True
    rows = len(block.present)
    first = np.minimum.reduceat(np.where(block.present[groups.order, 0], groups.order, rows), groups.starts)
    return bool((np.diff(first[first < rows]) > 0).all())


def _count(band: Band) -> Floats:
    return band.reduce(np.add, band.present.astype(float))


def _avg(band: Band) -> Floats:
    return group_means(band, _count(band))


def _min(band: Band) -> Floats:
    return band.reduce(np.fmin, band.or_else(np.nan))


def _max(band: Band) -> Floats:
    return band.reduce(np.fmax, band.or_else(np.nan))


def _group(band: Band) -> Floats:
    return np.ones((len(band.starts), band.values.shape[1]))


def _variance(band: Band) -> Floats:
    counts = np.maximum(_count(band), 1)
    means = band.reduce(np.add, band.or_else(0.0)) / counts
    apart = np.where(band.present, band.values - band.spread(means), 0.0)
    # The mean is rounded: what its error adds to the squares is taken out again (two-pass algorithm).
    drift = band.reduce(np.add, apart) / counts
    result: Floats = band.reduce(np.add, apart * apart) / counts - drift * drift
    return np.where(result < 0, 0.0, result)


def _deviation(band: Band) -> Floats:
    return np.sqrt(_variance(band))


FOLDS: Final[dict[str, Callable[[Band], Floats]]] = {
    "sum": group_sums,
    "avg": _avg,
    "min": _min,
    "max": _max,
    "count": _count,
    "group": _group,
    "stddev": _deviation,
    "stdvar": _variance,
}


def _count_values(block: Block, groups: Groups, label: str) -> Block:
    """How many rows of each group have each value; the value becomes a label.

    `without` takes that label away again when it names it (`label` is empty then): all values count as one.
    """
    found: dict[Labels, Ints] = {}
    rows, steps = np.nonzero(block.present)
    for row, step in zip(rows.tolist(), steps.tolist(), strict=True):
        labels = groups.sets[groups.codes[row]]
        if label:
            histogram = None if block.histograms is None else block.histograms[row, step]
            text = _plain(block.values[row, step]) if histogram is None else str(histogram)
            labels = labels.updated({label: text})
        counts = found.setdefault(labels, np.zeros(block.steps, np.int64))
        counts[step] += 1
    if not found:
        return empty(block.steps)
    values = np.array(list(found.values()), float)
    present: Bools = values > 0
    return Block(LabelSets.of(list(found), distinct=True), values, present)


def _plain(value: float) -> str:
    """The shortest decimal without exponent, as Go's `strconv 'f', -1`."""
    if not np.isfinite(value):
        return format_number(value)
    return str(np.format_float_positional(value, trim="-"))
