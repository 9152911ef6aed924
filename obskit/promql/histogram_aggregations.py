"""Aggregations over groups with native histograms: sum and avg add them up, most others leave them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from obskit.model.histogram_arithmetic import mean, total
from obskit.model.histograms import NativeHistogram
from obskit.promql import histogram_notes as notes
from obskit.promql.blocks import Band, Block, Floats, fold_groups
from obskit.promql.context import Context
from obskit.promql.histogram_values import held, none_of
from obskit.promql.labelsets import Groups
from obskit.promql.nodes import Aggregate

COMBINE: Final = {"sum": total, "avg": mean}
ANY_KIND: Final = frozenset({"count", "group", "count_values", "limitk", "limit_ratio"})
"""Aggregations that do not look at the values, or take them as they are."""


def floats_only(context: Context, expr: Aggregate, block: Block) -> Block:
    """The floats for an aggregation that knows nothing else."""
    if block.has_histogram().any():
        notes.ignored_in_aggregation(context, expr.expr, expr.op)
    return block.floats()


def combine(context: Context, expr: Aggregate, block: Block, groups: Groups, fold: Callable[[Band], Floats]) -> Block:
    """sum and avg: floats by `fold`, histograms added up; a group with both at a step has no value."""
    there = block.has_histogram()
    floats = fold_groups(block.floats(), groups, fold)
    has_floats = floats.present
    has_histograms = fold_groups(block.only(there), groups, lambda band: np.zeros((len(band.starts), 1))).present
    if (has_floats & has_histograms).any():
        notes.mixed_floats_in_group(context, expr.expr)
    cells = none_of(has_floats.shape)
    for group, step in np.argwhere(has_histograms & ~has_floats).tolist():
        rows = [row for row in groups.members(group).tolist() if there[row, step]]
        cells[group, step] = _combined(context, expr, block, rows, step)
    return Block(groups.sets, floats.values, has_floats & ~has_histograms | held(cells), cells)


def _combined(context: Context, expr: Aggregate, block: Block, rows: list[int], step: int) -> NativeHistogram | None:
    assert block.histograms is not None
    histograms: list[NativeHistogram] = [block.histograms[row, step] for row in rows]
    found = COMBINE[expr.op](histograms)
    if found is None:
        odd = next(row for row, one in zip(rows, histograms, strict=True) if one.is_custom != histograms[0].is_custom)
        notes.mixed_schemas(context, expr.expr, block.sets[odd].name)
        return None
    notes.combined(context, expr.expr, found, "aggregation")
    return found.histogram
