"""histogram_quantile and histogram_fraction on classic buckets (promql/quantile.go)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.promql.blocks import Block, Bools, Floats, empty, joined
from obskit.promql.context import Context
from obskit.promql.functions_labels import check_label_name
from obskit.promql.labelsets import Ints, LabelSets
from obskit.promql.literals import format_number
from obskit.promql.nodes import Call, Expr

SMALL_DELTA: Final = 1e-12
"""Counts that differ relatively less are taken as equal: rounding of rates must not look like a fall."""
FIXED: Final = (
    "input to histogram_quantile needed to be fixed for monotonicity"
    " (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)


@dataclass(frozen=True, slots=True)
class BucketLayout:
    """Which rows are the buckets of which histogram.

    `cells[r]` is the place of row `rows[r]` in a table [histogram, bucket]; `bounds` are the upper bounds there, the
    last column always +Inf. Places without a row are never present.
    """

    sets: LabelSets
    rows: Ints
    cells: Ints
    bounds: Floats
    malformed: tuple[tuple[str, str], ...]
    distinct: bool
    """Whether each row has a place of its own."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Cumulative counts of histograms as [histogram, bucket, step]."""

    layout: BucketLayout
    counts: Floats
    present: Bools

    @property
    def shape(self) -> tuple[int, int]:
        """Histograms and steps."""
        return self.counts.shape[0], self.counts.shape[2]


def _layout(sets: LabelSets) -> BucketLayout:
    rows: list[int] = []
    keys: list[tuple[tuple[str, str], ...]] = []
    bounds: list[float] = []
    malformed: dict[tuple[str, str], None] = {}
    for row, labels in enumerate(sets.rows()):
        bound = _bound(labels.get("le"))
        if bound is None:
            malformed[labels.get("le"), labels.name] = None
            continue
        rows.append(row)
        bounds.append(bound)
        keys.append(tuple(pair for pair in labels.pairs if pair[0] != "le"))
    groups = list(dict.fromkeys(keys))
    number = {key: position for position, key in enumerate(groups)}
    table, cells = _table([number[key] for key in keys], bounds, len(groups))
    made = LabelSets(len(groups), lambda group: Labels(groups[group]), distinct=True).nameless()
    distinct = len(np.unique(cells, return_counts=True)[0]) == len(cells)  # without counts it would load numpy.ma
    return BucketLayout(made, np.array(rows, np.int64), cells, table, tuple(malformed), distinct)


def _table(groups: list[int], bounds: list[float], count: int) -> tuple[Floats, Ints]:
    """The upper bounds of each group in order, padded with +Inf, and the cell of each bucket in that table."""
    found: list[set[float]] = [set() for _ in range(count)]
    for group, bound in zip(groups, bounds, strict=True):
        found[group].add(bound)
    columns = [sorted(column - {np.inf}) for column in found]
    width = max(map(len, columns), default=0) + 1
    table = np.full((count, width), np.inf)
    for group, column in enumerate(columns):
        table[group, : len(column)] = column
    places = [{bound: place for place, bound in enumerate(column)} for column in columns]
    cells = [group * width + places[group].get(bound, width - 1) for group, bound in zip(groups, bounds, strict=True)]
    return table, np.array(cells, np.int64)


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    # Python reads more than Go does: `1_000`, ` 1 `. And a bound that is no number bounds nothing.
    return None if "_" in text or text != text.strip() or math.isnan(bound) else bound


def _buckets(context: Context, block: Block, expr: Expr) -> Buckets:
    layout = block.sets.memo("buckets", lambda: _layout(block.sets))
    for value, name in layout.malformed:
        _warn_malformed(context, expr, value, name)
    groups, width = layout.bounds.shape
    counts = np.zeros((groups * width, block.steps))
    present = np.zeros((groups * width, block.steps), bool)
    there = block.present[layout.rows]
    values = np.where(there, block.values[layout.rows], 0.0)
    if layout.distinct:
        counts[layout.cells], present[layout.cells] = values, there
    else:
        # Two rows may be one bucket (le "1" and "1.0"): their counts add up.
        np.add.at(counts, layout.cells, values)
        np.logical_or.at(present, layout.cells, there)
    shape = (groups, width, block.steps)
    return Buckets(layout, counts.reshape(shape), present.reshape(shape))


def _warn_malformed(context: Context, expr: Expr, value: str, name: str) -> None:
    context.warn(f'bucket label "le" is missing or has a malformed value of "{value}"{_for_metric(name)}', expr)


def _for_metric(name: str) -> str:
    return f' for metric name "{name}"' if name else ""


def _repair(buckets: Buckets) -> tuple[Floats, Bools]:
    """Counts made to ascend, absent buckets repeating the one before; and where a real fall was mended."""
    groups, steps = buckets.shape
    mended = np.zeros((groups, steps), bool)
    if _ascends(buckets):
        return buckets.counts, mended
    counts, present = buckets.counts.copy(), buckets.present
    last, seen = np.zeros((groups, steps)), np.zeros((groups, steps), bool)
    for column in range(counts.shape[1]):
        current, there = counts[:, column], present[:, column]
        close = np.abs(current - last) < SMALL_DELTA * np.minimum(np.abs(current) + np.abs(last), np.finfo(float).max)
        fell = seen & there & ~close & (current < last)
        mended |= fell
        last = np.where(there & ~(seen & (close | fell)), current, last)
        seen |= there
        counts[:, column] = last
    return counts, mended


def _ascends(buckets: Buckets) -> bool:
    """Whether nothing is absent and nothing falls, as is the rule: what is nearly equal must be mended, too."""
    if not buckets.present.all():
        return False
    upper, lower = buckets.counts[:, 1:], buckets.counts[:, :-1]
    return bool(((upper == lower) | (upper - lower >= SMALL_DELTA * (np.abs(upper) + np.abs(lower)))).all())


def _before(buckets: Buckets) -> Ints:
    """For each bucket the column of the present bucket before it, or -1."""
    if buckets.present.all():
        return np.broadcast_to(np.arange(buckets.counts.shape[1])[None, :, None] - 1, buckets.counts.shape)
    columns = np.arange(buckets.counts.shape[1])[None, :, None]
    newest = np.maximum.accumulate(np.where(buckets.present, columns, -1), axis=1)
    return np.concatenate([np.full_like(newest[:, :1], -1), newest[:, :-1]], axis=1)


def _pick(table: Any, column: Ints) -> Any:
    """`table[histogram, column, step]` for a column per histogram and step."""
    return np.take_along_axis(table, column[:, None, :], axis=1)[:, 0, :]


def _quantiles(buckets: Buckets, counts: Floats, q: Floats) -> Floats:
    present, last = buckets.present, counts.shape[1] - 1
    bounds = np.broadcast_to(buckets.layout.bounds[:, :, None], counts.shape)
    before = _before(buckets)
    total = counts[:, last]
    rank = q * total
    reached = (counts >= rank[:, None, :]) & present
    reached[:, last] = True
    column = reached.argmax(axis=1)
    below = _pick(before, column)
    first = below < 0
    bound = _pick(bounds, column)
    lower = np.where(first, 0.0, _pick(bounds, np.maximum(below, 0)))
    under = np.where(first, 0.0, _pick(counts, np.maximum(below, 0)))
    result = lower + (bound - lower) * ((rank - under) / (_pick(counts, column) - under))
    result = np.where(first & (bound <= 0), bound, result)
    result = np.where(column == last, lower, result)
    usable = present[:, last] & (present.sum(axis=1) >= 2) & (total != 0) & ~np.isnan(total)
    result = np.where(usable, result, np.nan)
    return np.where(np.isnan(q), np.nan, np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result)))


def _quantile_block(context: Context, block: Block, q: Floats, exprs: tuple[Expr, Expr]) -> Block:
    context.check_quantile(q, exprs[0])
    buckets = _buckets(context, block, exprs[1])
    if not len(buckets.layout.sets):
        return empty(context.steps)
    counts, mended = _repair(buckets)
    if mended.any():
        for name in block.sets.metric_names() or [""]:
            context.inform(FIXED + _for_metric(name), exprs[1])
    return _distinct(context, Block(buckets.layout.sets, _quantiles(buckets, counts, q), _any(buckets)))


def histogram_quantile(context: Context, call: Call, args: list[Any]) -> Block:
    """`histogram_quantile(q, buckets)`."""
    return _quantile_block(context, args[1], args[0], (call.args[0], call.args[1]))


def histogram_quantiles(context: Context, call: Call, args: list[Any]) -> Block:
    """`histogram_quantiles(buckets, label, q...)`: one row per quantile, named in the label."""
    block, label, *quantiles = args
    check_label_name(label, "invalid label name ")
    parts = []
    for position, q in enumerate(quantiles):
        part = _quantile_block(context, block, q, (call.args[2 + position], call.args[0]))
        shown = open_metrics(float(q[0])) if len(q) else ""
        parts.append(Block(part.sets.mapped(partial(_named, label, shown)), part.values, part.present))
    if not parts:
        raise QueryError("histogram_quantiles needs a quantile")
    rows = [labels for part in parts for labels in part.sets.rows()]
    return joined(
        Block(LabelSets.of(rows), np.concatenate([p.values for p in parts]), np.concatenate([p.present for p in parts]))
    )


def open_metrics(value: float) -> str:
    """A number as OpenMetrics writes it in labels: `1.0`, not `1`."""
    text = format_number(value)
    return f"{text}.0" if text.lstrip("-").isdigit() else text


def _named(label: str, value: str, labels: Labels) -> Labels:
    return labels.updated({label: value})


def histogram_fraction(context: Context, call: Call, args: list[Any]) -> Block:
    """`histogram_fraction(lower, upper, buckets)`: the share of observations between two values."""
    lower, upper, block = args
    buckets = _buckets(context, block, call.args[2])
    if not len(buckets.layout.sets):
        return empty(context.steps)
    total = buckets.counts[:, -1]
    result = (_rank(buckets, upper) - _rank(buckets, lower)) / total
    usable = buckets.present[:, -1] & (total != 0)
    result = np.where(lower >= upper, 0.0, result)
    result = np.where(usable & ~np.isnan(lower) & ~np.isnan(upper), result, np.nan)
    return _distinct(context, Block(buckets.layout.sets, result, _any(buckets)))


def _distinct(context: Context, block: Block) -> Block:
    """Histograms of two names may have the same other labels, which is refused here or at the end of the query."""
    return block if context.delayed else joined(block)


def _any(buckets: Buckets) -> Bools:
    """Where a histogram has a bucket at all."""
    there: Bools = np.logical_or.reduce(buckets.present, axis=1)
    return there


def _rank(buckets: Buckets, value: Floats) -> Floats:
    """How many observations lie below a value, linear within a bucket."""
    groups, steps = buckets.shape
    result, done = np.zeros((groups, steps)), np.zeros((groups, steps), bool)
    rank, lower, seen = np.zeros((groups, steps)), np.full((groups, steps), -np.inf), np.zeros((groups, steps), bool)
    for column in range(buckets.counts.shape[1]):
        there = buckets.present[:, column]
        bound = np.broadcast_to(buckets.layout.bounds[:, column, None], (groups, steps))
        count = buckets.counts[:, column]
        lower = np.where(there & ~seen & (bound > 0), 0.0, lower)
        under = there & ~done & (lower >= value)
        inside = there & ~done & (lower < value) & (bound > value)
        share = np.where(np.isinf(lower) | np.isinf(bound), np.isinf(lower), (value - lower) / (bound - lower))
        result = np.where(under, rank, np.where(inside, rank + (count - rank) * share, result))
        done |= under | inside
        rank, lower = np.where(there, count, rank), np.where(there, bound, lower)
        seen |= there
    total = buckets.counts[:, -1]
    return np.minimum(np.where(done, result, total), total)
