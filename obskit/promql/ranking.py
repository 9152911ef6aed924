"""Aggregations that order the rows of a group (topk, bottomk, quantile) or choose some (limitk, limit_ratio)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from obskit.errors import QueryError
from obskit.promql import heaps
from obskit.promql.blocks import Block, Bools, Floats
from obskit.promql.context import Context
from obskit.promql.labelsets import Groups, Ints
from obskit.promql.literals import format_number
from obskit.promql.nodes import Aggregate
from obskit.promql.over_time import interpolate

Grouped = tuple[Block, Groups]
NUMBERS_ONLY: Final = {
    **dict.fromkeys(("topk", "bottomk", "limitk"), "Parameter value is NaN"),
    "limit_ratio": "Ratio value is NaN",
}


MAX_TIED: Final = 1 << 19
"""Values that are put on upstream's heap to see which of equals it would keep; of more, those in front are kept."""


@dataclass(frozen=True, slots=True)
class _Cells:
    """The present values, ordered by cell (a group at a step) and within it as asked."""

    rows: Ints
    steps: Ints
    values: Floats
    starts: Ints
    counts: Ints
    cells: Ints

    @property
    def ranks(self) -> Ints:
        """Each value's place within its cell, from 0."""
        return np.arange(len(self.rows)) - np.repeat(self.starts, self.counts)


def _cells(grouped: Grouped, key: Callable[[Floats], Floats], *, nan_last: bool) -> _Cells:
    block, groups = grouped
    rows, steps = np.nonzero(block.present)
    values = block.values[rows, steps]
    cells = groups.codes[rows] * block.steps + steps
    nan = np.isnan(values)
    # lexsort is stable: equal values keep the order of storage.
    order = np.lexsort((np.where(nan, 0.0, key(values)), nan if nan_last else ~nan, cells))
    unique, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
    return _Cells(rows[order], steps[order], values[order], starts, counts, unique)


def refuse_nan(op: str, param: Floats) -> None:
    """These parameters must be numbers, whether there is anything to choose from or not."""
    if np.isnan(param).any():
        raise QueryError(NUMBERS_ONLY[op])


def _how_many(param: Floats) -> Ints:
    wrong = param[np.abs(param) >= 2.0**63]
    if len(wrong):
        raise QueryError(f"Scalar value {format_number(float(wrong[0]))} overflows int64")
    return param.astype(np.int64)


def topk(context: Context, expr: Aggregate, grouped: Grouped, param: Floats) -> Block:
    """The k largest (`bottomk`: smallest) of each group, with all their labels; NaN ranks last."""
    limit = _how_many(param)
    cells = _cells(grouped, np.negative if expr.op == "topk" else np.positive, nan_last=True)
    ordered = context.instant and context.steps == 1
    chosen = cells.ranks < limit[cells.steps]
    rows = cells.rows.copy()
    for cell in _tied(cells, chosen, ordered=ordered).tolist():
        span = slice(int(cells.starts[cell]), int(cells.starts[cell] + cells.counts[cell]))
        kept = heaps.kept(cells.values[span], cells.rows[span], int(limit[cells.steps[span.start]]), expr.op)
        rows[span.start : span.start + len(kept)] = kept
    block = _only(grouped[0], rows[chosen], cells.steps[chosen])
    return block.take(rows[chosen]) if ordered else block


def _tied(cells: _Cells, chosen: Bools, *, ordered: bool) -> Ints:
    """The cells in which it matters that values are equal: where some are chosen and some not, or any are ordered."""
    if len(chosen) < 2:
        return np.zeros(0, np.int64)
    before, after = cells.values[:-1], cells.values[1:]
    equal = (before == after) | (np.isnan(before) & np.isnan(after))
    owners = np.repeat(np.arange(len(cells.counts)), cells.counts)
    equal &= owners[:-1] == owners[1:]
    equal &= chosen[:-1] & (True if ordered else ~chosen[1:])
    tied = np.unique(owners[:-1][equal], return_index=True)[0]
    return tied[np.cumsum(cells.counts[tied]) <= MAX_TIED]


def _only(block: Block, rows: Ints, steps: Ints) -> Block:
    present: Bools = np.zeros(block.present.shape, bool)
    present[rows, steps] = True
    return block.only(present)


def quantile(context: Context, expr: Aggregate, grouped: Grouped, param: Floats) -> Block:
    """The q-quantile of each group."""
    assert expr.param is not None
    context.check_quantile(param, expr.param)
    block, groups = grouped
    cells = _cells(grouped, np.positive, nan_last=False)
    shape = (len(groups.sets), block.steps)
    values, present = np.zeros(shape), np.zeros(shape, bool)
    found = interpolate(cells.values, cells.starts, cells.counts, param[cells.cells % block.steps])
    values.reshape(-1)[cells.cells] = found
    present.reshape(-1)[cells.cells] = True
    return Block(groups.sets, values, present)


def limitk(_context: Context, _expr: Aggregate, grouped: Grouped, param: Floats) -> Block:
    """Some k rows of each group."""
    limit = _how_many(param)
    cells = _cells(grouped, np.zeros_like, nan_last=False)
    order = np.lexsort((cells.rows, np.repeat(cells.cells, cells.counts)))
    chosen = cells.ranks < limit[cells.steps[order]]
    return _only(grouped[0], cells.rows[order][chosen], cells.steps[order][chosen])


def limit_ratio(context: Context, expr: Aggregate, grouped: Grouped, param: Floats) -> Block:
    """About the share r of the rows, always the same ones; a negative r takes the complement of 1 + r."""
    assert expr.param is not None
    for ratio in sorted(set(param[np.abs(param) > 1].tolist())):
        cap = 1 if ratio > 0 else -1
        message = f"ratio value should be between -1 and 1, got {format_number(ratio)}, capping to {cap}"
        context.warn(message, expr.param)
    block = grouped[0]
    ratios = np.clip(param, -1.0, 1.0)[None, :]
    places = block.sets.memo("ratio", lambda: _places(block))[:, None]
    chosen = np.where(ratios >= 0, places < ratios, places >= 1 + ratios)
    return block.only(chosen)


def _places(block: Block) -> Floats:
    """Each row's fixed place in [0, 1). Not Prometheus' hash, which depends on its build."""
    return np.array([zlib.crc32(str(labels).encode()) / 2**32 for labels in block.sets.rows()])


RANKINGS: Final[dict[str, Callable[[Context, Aggregate, Grouped, Floats], Block]]] = {
    "topk": topk,
    "bottomk": topk,
    "quantile": quantile,
    "limitk": limitk,
    "limit_ratio": limit_ratio,
}
