"""Walks the tree and computes every node for all steps at once. One Evaluator serves one query.

Samples come from the MetricReader, once per selector. Functions, aggregations and operators stand in modules of their
own and know neither reader nor tree walk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from obskit.errors import QueryError
from obskit.model.samples import STALE_NAN_BITS
from obskit.promql.aggregations import aggregate
from obskit.promql.binary import binary, with_scalar
from obskit.promql.blocks import Block, Value, broadcast, empty, nameless, refuse_equal_series
from obskit.promql.borders import search
from obskit.promql.columns import SampleColumns
from obskit.promql.context import Context, Reading
from obskit.promql.edges import FROM_EDGES, EdgesOf
from obskit.promql.extended import ExtendedWindows, extend, smooth
from obskit.promql.functions import UNLABELLED, apply, finished
from obskit.promql.functions_time import CALENDAR
from obskit.promql.histogram_extended import HistogramExtendedWindows, smooth_histograms
from obskit.promql.histogram_operators import negated
from obskit.promql.histogram_values import unrelated
from obskit.promql.info import InfoRequest, enrich
from obskit.promql.labelsets import Ints
from obskit.promql.nodes import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Modifier,
    Number,
    Paren,
    Shift,
    String,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
    bare,
)
from obskit.promql.plans import Plan
from obskit.promql.selection import Selection
from obskit.promql.spread import Against, Spread, own_numbers, spread
from obskit.promql.ticks import Tick
from obskit.promql.windows import RangeVector


class Evaluator:
    """The evaluation of one plan. `selection` reads the store and counts against the query's budget."""

    def __init__(
        self, plan: Plan, selection: Selection, *, lookback_ms: int, default_step_ms: int, tick: Tick | None = None
    ) -> None:
        self.plan = plan
        self.selection = selection
        self.lookback_ms = lookback_ms
        self.default_step_ms = default_step_ms
        self.tick = tick

    def value(self, expr: Expr, context: Context) -> Value:
        """The value of a node that is no range vector, at the context's steps."""
        if context.steps > 1:
            return self._once(expr, context) if id(expr) in self.plan.invariant else self._value(expr, context)
        if self.tick is None or context.steps == 0:
            return self._value(expr, context)
        return self.tick.value(self.plan, expr, context, self._value)

    def _value(self, expr: Expr, context: Context) -> Value:
        self.selection.check_time()
        if isinstance(expr, Number):
            return np.full(context.steps, expr.value)
        if isinstance(expr, String):
            return expr.value
        if isinstance(expr, Paren):
            return self.value(expr.expr, context)
        if isinstance(expr, VectorSelector):
            return self.instant(expr, context)
        if isinstance(expr, Call):
            return self._call(expr, context)
        if isinstance(expr, Binary):
            return binary(context, expr, self.value(expr.lhs, context), self.value(expr.rhs, context))
        if isinstance(expr, Aggregate):
            return self._aggregate(expr, context)
        if isinstance(expr, Spread | Against):
            return self._of_variants(expr, context)
        assert isinstance(expr, Unary)
        return self._unary(expr, context)

    def _of_variants(self, expr: Spread | Against, context: Context) -> Value:
        block = self.value(expr.expr, context)
        assert isinstance(block, Block)
        if isinstance(expr, Spread):
            return spread(block, expr)
        numbers = own_numbers(block.sets, expr.numbers)
        sides = (block, numbers) if expr.binary.lhs.type is ValueType.VECTOR else (numbers, block)
        return with_scalar(context, expr.binary, block, sides)

    def _once(self, expr: Expr, context: Context) -> Value:
        """A value that is the same at every step (everything below has `@`), computed at the first."""
        value = self.value(expr, context.once())
        if isinstance(value, Block):
            return broadcast(value, context.steps)
        return value if isinstance(value, str) else np.full(context.steps, value[0])

    def _unary(self, expr: Unary, context: Context) -> Value:
        value = self.value(expr.expr, context)
        if expr.op == "+" or isinstance(value, str):
            return value
        if isinstance(value, Block):
            if not context.delayed:
                refuse_equal_series(value)
            return nameless(negated(value), delayed=context.delayed)
        return -value

    def _aggregate(self, expr: Aggregate, context: Context) -> Block:
        param = None if expr.param is None else self.value(expr.param, context)
        block = self.value(expr.expr, context)
        assert isinstance(block, Block)
        return aggregate(context, expr, block, param)

    def _call(self, call: Call, context: Context) -> Value:
        if call.name in ("timestamp", "start_timestamp"):
            return self._timestamp(call, context)
        if call.name == "info":
            return self._info(call, context)
        if not call.args and call.name in CALENDAR:
            values = CALENDAR[call.name](context.seconds())
            return Block(UNLABELLED, values[None, :], np.ones((1, context.steps), bool))
        if context.steps == 1 and call.name in FROM_EDGES:
            block = self._from_edges(call, context)
            if block is not None:
                return finished(context, call, block)
        below = context.below(call.name)
        return apply(context, call, [self._argument(arg, below) for arg in call.args])

    def _from_edges(self, call: Call, context: Context) -> Block | None:
        """A function of a range that only looks at the edges of its window; None when the samples are needed."""
        ranged = bare(call.args[0])
        if not isinstance(ranged, MatrixSelector) or ranged.vector.modifier:
            return None
        end_ms, span_ms = int(self._ends(ranged.vector.shift, context)[0]), self._span(ranged, context)
        found = self.selection.edges(ranged.vector, end_ms - span_ms, end_ms)
        return None if found is None else FROM_EDGES[call.name](EdgesOf(*found, end_ms, span_ms))

    def _argument(self, expr: Expr, context: Context) -> Any:
        if expr.type is not ValueType.MATRIX:
            return self.value(expr, context)
        ranged = bare(expr)
        if isinstance(ranged, MatrixSelector) and ranged.vector.modifier:
            return self._extended(ranged, context)
        return self.ranged(ranged, context)

    def _info(self, call: Call, context: Context) -> Block:
        request = InfoRequest.of(call)
        base = self.value(call.args[0], context)
        assert isinstance(base, Block)
        infos = self._newest(request.selector, context, times=False)
        return enrich(request, base, infos, self._newest(request.selector, context, times=True).values)

    def _timestamp(self, call: Call, context: Context) -> Block:
        """The samples' own times for a bare selector, else the evaluation time (and no start)."""
        arg = bare(call.args[0])
        if isinstance(arg, VectorSelector):
            if call.name == "start_timestamp":
                block = self._newest_starts(arg, context)
            else:
                block = self._newest_times(arg, context)
        elif call.name == "start_timestamp":
            self.value(arg, context)
            return empty(context.steps)
        else:
            block = self.value(arg, context)  # type: ignore[assignment]  # the parser saw to it that this is a vector
            block = block.with_values(np.broadcast_to(context.seconds(), block.values.shape))
        return nameless(block, delayed=context.delayed)

    def _newest_times(self, selector: VectorSelector, context: Context) -> Block:
        """When the newest samples were.

        With `@` upstream forgets the offset, but has read what lies within the lookback of the shifted time, no more:
        found are samples within the lookback of both times.
        """
        shift = selector.shift
        moved_ms = 0 if shift.at is None else context.milliseconds(shift.offset)
        if abs(moved_ms) >= self.lookback_ms:
            return empty(context.steps)
        if moved_ms < 0:
            selector = replace(selector, shift=replace(shift, offset=0.0))
        return self._newest(selector, context, times=True, lookback_ms=self.lookback_ms - abs(moved_ms))

    def instant(self, selector: VectorSelector, context: Context) -> Block:
        """The newest sample of each series within the lookback, unless it is a stale marker."""
        if selector.modifier:
            return self._smoothed(selector, context)
        return self._newest(selector, context, times=False)

    def _newest(
        self, selector: VectorSelector, context: Context, *, times: bool, lookback_ms: int | None = None
    ) -> Block:
        ends = self._ends(selector.shift, context)
        lookback_ms = self.lookback_ms if lookback_ms is None else lookback_ms
        if len(ends) == 1:
            newest = self.selection.newest(selector, int(ends[0]) - lookback_ms, int(ends[0]))
            if newest is not None:
                sets, times_ms, values = newest
                column = (times_ms / 1000 if times else values)[:, None]
                return broadcast(Block(sets, column, np.ones(column.shape, bool)), context.steps)
        return self._newest_of_samples(selector, context, ends, times=times, lookback_ms=lookback_ms)

    def _newest_of_samples(
        self, selector: VectorSelector, context: Context, ends: Ints, *, times: bool, lookback_ms: int
    ) -> Block:
        samples = self.selection.fetch(selector, int(ends[0]) - lookback_ms, int(ends[-1]))
        rows = len(samples.sets)
        self.selection.spend(rows * len(ends))
        if not len(samples.values):
            return Block(samples.sets, np.zeros((rows, context.steps)), np.zeros((rows, context.steps), bool))
        if len(ends) == 1:
            # What was fetched is the lookback window itself, and no series in it is empty.
            newest = samples.starts[1:, None] - 1
            values = samples.values[newest]
            present = values.view(np.int64) != STALE_NAN_BITS
        else:
            newest = search(samples, ends) - 1
            present = newest >= samples.starts[:-1, None]
            newest = np.maximum(newest, 0)
            values = samples.values[newest]
            present &= (samples.times_ms[newest] > ends - lookback_ms) & (values.view(np.int64) != STALE_NAN_BITS)
        histograms = None if samples.histograms is None or times else samples.histograms[newest]
        if times:
            values = samples.times_ms[newest] / 1000
        block = Block(samples.sets, values, present, histograms)
        return block if len(ends) == context.steps else broadcast(block, context.steps)

    def _newest_starts(self, selector: VectorSelector, context: Context) -> Block:
        """Start timestamps of the newest samples in seconds, 0 where unknown."""
        ends = self._ends(selector.shift, context)
        block = self._newest_of_samples(selector, context, ends, times=True, lookback_ms=self.lookback_ms)
        samples = self.selection.fetch(selector, int(ends[0]) - self.lookback_ms, int(ends[-1]))
        if samples.start_ms is None or not len(samples.values):
            return block.with_values(np.zeros(block.values.shape))
        last = np.maximum(search(samples, ends) - 1, 0)
        return block.with_values(np.broadcast_to(samples.start_ms[last] / 1000, block.values.shape))

    def _smoothed(self, selector: VectorSelector, context: Context) -> Block:
        ends, lookback_ms = self._ends(selector.shift, context), self.lookback_ms
        samples = self.selection.fetch(selector, int(ends[0]) - lookback_ms, int(ends[-1]) + lookback_ms)
        samples = samples.without_stale()
        block = smooth(samples.floats(), ends, lookback_ms)
        if samples.histograms is not None:
            block = smooth_histograms(context, selector, samples, ends, block, lookback_ms=lookback_ms)
        return block if len(ends) == context.steps else broadcast(block, context.steps)

    def _extended(self, expr: MatrixSelector, context: Context) -> ExtendedWindows | HistogramExtendedWindows:
        """The windows of a range with `anchored` or `smoothed`."""
        ends, span_ms = self._ends(expr.vector.shift, context), self._span(expr, context)
        smoothed = expr.vector.modifier is Modifier.SMOOTHED
        until_ms = int(ends[-1]) + (self.lookback_ms if smoothed else 0)
        samples = self.selection.fetch(expr.vector, int(ends[0]) - span_ms - self.lookback_ms, until_ms).without_stale()
        floats = extend(samples.floats(), ends, context.steps, span_ms, lookback_ms=self.lookback_ms, smoothed=smoothed)
        if samples.histograms is None:
            return floats
        return HistogramExtendedWindows.of(floats, samples, ends, span_ms, self.lookback_ms)

    def _ends(self, shift: Shift, context: Context) -> Ints:
        """Where the windows of a shifted selector end: one per step, or a single one with `@`."""
        ends = context.at_ms
        if shift.at is not None:
            named = {"start": context.start_ms, "end": context.end_ms}
            at_ms = named[shift.at] if isinstance(shift.at, str) else round(shift.at * 1000)
            ends = np.array([at_ms], np.int64)
        offset_ms = context.milliseconds(shift.offset)
        return ends - offset_ms if offset_ms else ends

    def ranged(self, expr: Expr, context: Context) -> RangeVector:
        """A range vector."""
        expr = bare(expr)
        if isinstance(expr, Subquery):
            return self._subquery(expr, context)
        assert isinstance(expr, MatrixSelector)
        ends = self._ends(expr.vector.shift, context)
        span_ms = self._span(expr, context)
        samples = self.selection.fetch(expr.vector, int(ends[0]) - span_ms, int(ends[-1])).without_stale()
        self.selection.spend(len(samples.sets) * len(ends))
        return RangeVector(samples, ends, context.at_ms, span_ms, self.selection.check_time)

    def _span(self, expr: MatrixSelector | Subquery, context: Context) -> int:
        span_ms = context.milliseconds(expr.range)
        if span_ms <= 0:
            raise QueryError("duration must be greater than 0")
        return span_ms

    def _subquery(self, expr: Subquery, context: Context) -> RangeVector:
        """The inner expression at multiples of the step, its results taken as samples."""
        ends, span_ms = self._ends(expr.shift, context), self._span(expr, context)
        step_ms = self.default_step_ms if expr.step is None else context.milliseconds(expr.step)
        if step_ms <= 0:
            raise QueryError("duration must be greater than 0")
        first = (int(ends[0]) - span_ms) // step_ms * step_ms + step_ms
        count = max(0, (int(ends[-1]) - first) // step_ms + 1)
        self.selection.spend(count)
        grid = first + np.arange(count, dtype=np.int64) * step_ms
        samples = self._samples(expr.expr, replace(context.at(grid), reading=Reading.BUCKETS))
        self.selection.spend(len(samples.sets) * len(ends))
        return RangeVector(samples, ends, context.at_ms, span_ms, self.selection.check_time)

    def _samples(self, expr: Expr, context: Context) -> SampleColumns:
        if not context.steps:
            return SampleColumns(UNLABELLED, np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros(0))
        block = self.value(expr, context)
        assert isinstance(block, Block)
        counts = block.present.sum(axis=1)
        starts = np.concatenate(([0], np.cumsum(counts)))
        self.selection.spend(int(starts[-1]))
        columns = np.nonzero(block.present)[1]
        histograms = None if block.histograms is None else unrelated(block.histograms[block.present])
        return SampleColumns(block.sets, starts, context.at_ms[columns], block.values[block.present], histograms)
