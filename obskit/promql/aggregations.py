"""Aggregations: rows folded by group, at every step at once. Those that choose or rank rows stand in ranking.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from obskit.model.labels import NAME, Labels
from obskit.promql import histogram_aggregations, ranking
from obskit.promql.blocks import Block, Bools, Floats, Value, empty, reduce_groups
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
    if block.histograms is not None and expr.op not in histogram_aggregations.ANY_KIND:
        if expr.op in histogram_aggregations.COMBINE:
            return histogram_aggregations.combine(context, expr, block, groups, FOLDS[expr.op])
        block = histogram_aggregations.floats_only(context, expr, block)
    if expr.op in FOLDS:
        present = reduce_groups(np.logical_or, block.present[groups.order], groups)
        return Block(groups.sets, FOLDS[expr.op](block, groups), present)
    if isinstance(param, str):
        hidden = expr.without and param in (NAME, *expr.grouping)
        return _count_values(block, groups, "" if hidden else param)
    assert isinstance(param, np.ndarray)
    return ranking.RANKINGS[expr.op](context, expr, (block, groups), param)


def _ordered(block: Block, groups: Groups, absent: float) -> Floats:
    return np.where(block.present, block.values, absent)[groups.order]


def _sum(block: Block, groups: Groups) -> Floats:
    return group_sums(block, groups)


def _avg(block: Block, groups: Groups) -> Floats:
    return group_means(block, groups, _count(block, groups))


def _count(block: Block, groups: Groups) -> Floats:
    return reduce_groups(np.add, block.present[groups.order].astype(float), groups)


def _min(block: Block, groups: Groups) -> Floats:
    return reduce_groups(np.fmin, _ordered(block, groups, np.nan), groups)


def _max(block: Block, groups: Groups) -> Floats:
    return reduce_groups(np.fmax, _ordered(block, groups, np.nan), groups)


def _group(block: Block, groups: Groups) -> Floats:
    return np.ones((len(groups.sets), block.steps))


def _variance(block: Block, groups: Groups) -> Floats:
    counts = np.maximum(_count(block, groups), 1)
    codes = groups.codes[groups.order]
    means = reduce_groups(np.add, _ordered(block, groups, 0.0), groups) / counts
    apart = np.where(block.present[groups.order], block.values[groups.order] - means[codes], 0.0)
    # The mean is rounded: what its error adds to the squares is taken out again (two-pass algorithm).
    drift = reduce_groups(np.add, apart, groups) / counts
    result: Floats = reduce_groups(np.add, apart * apart, groups) / counts - drift * drift
    return np.where(result < 0, 0.0, result)


def _deviation(block: Block, groups: Groups) -> Floats:
    return np.sqrt(_variance(block, groups))


FOLDS: Final[dict[str, Callable[[Block, Groups], Floats]]] = {
    "sum": _sum,
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
