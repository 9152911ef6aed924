"""Evaluates LogQL over a LogReader: metric queries at one time or over a range, and log lines.

Each range is read once for all steps; everything above it works on whole blocks of series and steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from obskit.errors import QueryError
from obskit.logql.binary import combine
from obskit.logql.nodes import (
    ERROR_LABEL,
    Binary,
    Expr,
    Grouping,
    LabelReplace,
    LogQuery,
    MetricExpr,
    Number,
    RangeAggregation,
    VectorAggregation,
    VectorOf,
    longest_range_ns,
    stream_selectors,
)
from obskit.logql.pipeline import Extraction, Pipeline, read_samples
from obskit.logql.units import NS_PER_MS
from obskit.logql.vectors import Block, aggregate, replace_labels
from obskit.logql.windows import Times, Windows
from obskit.model.labels import EMPTY, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.results import Element, Matrix, RangeSeries, Result, Scalar, Vector
from obskit.store.interface import LogReader

__all__ = ["Engine", "LogLine", "longest_range_ns", "stream_selectors"]

MAX_STEPS: Final = 11_000
_SUMMED: Final = frozenset({"count_over_time", "rate", "bytes_over_time", "bytes_rate", "sum_over_time"})
_OF_BYTES: Final = frozenset({"bytes_over_time", "bytes_rate"})
_ONE_GROUP: Final = Grouping(())


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a log query found. `t_ns` is Unix nanoseconds; `labels` are its stream's, its metadata and parsed."""

    t_ns: int
    line: str
    labels: Labels


class Engine:
    """Evaluates parsed LogQL. `max_lines` bounds a log query, `max_series` a metric query's result."""

    def __init__(self, reader: LogReader, *, max_lines: int = 5000, max_series: int = 500) -> None:
        self._reader = reader
        self._max_lines = max_lines
        self._max_series = max_series

    def instant(self, expr: Expr, at_ns: int) -> Result:
        """A Vector, or a Scalar for an expression of numbers. QueryError for a log query: it has no value."""
        found = self._evaluate(_metric(expr), np.array([at_ns], dtype=np.int64))
        t_ms = at_ns // NS_PER_MS
        if not isinstance(found, Block):
            return Result(Scalar(found, t_ms))
        self._check_size(found)
        return Result(Vector(tuple(Element(labels, float(values[0]), t_ms) for labels, values, _ in found.rows())))

    def range(self, expr: Expr, start_ns: int, end_ns: int, step_ns: int) -> Result:
        """A Matrix with a point at `start_ns`, and every `step_ns` after it up to and including `end_ns`."""
        if step_ns <= 0 or end_ns < start_ns:
            raise QueryError("a range needs a step above 0 and must not end before it starts")
        if (end_ns - start_ns) // step_ns >= MAX_STEPS:
            raise QueryError(f"exceeded maximum resolution of {MAX_STEPS:,} points per time series: take a longer step")
        expr = _metric(expr)
        _refuse_in_range(expr)
        times = np.arange(start_ns, end_ns + 1, step_ns, dtype=np.int64)
        found = self._evaluate(expr, times)
        if not isinstance(found, Block):
            found = _constant(found, len(times))
        self._check_size(found)
        times_ms = times // NS_PER_MS
        return Result(
            Matrix(
                tuple(
                    RangeSeries(labels, times_ms[present].tolist(), values[present].tolist())
                    for labels, values, present in found.rows()
                )
            )
        )

    def lines(self, expr: Expr, start_ns: int, end_ns: int, *, limit: int, newest_first: bool) -> Iterator[LogLine]:
        """At most `limit` lines with `start_ns <= t < end_ns`, in order of time. Lines that failed a parser are among
        them, with `__error__`. QueryError for a metric query."""
        if not isinstance(expr, LogQuery):
            raise QueryError("a metric query answers with numbers, not with lines")
        pipeline = Pipeline(expr)
        records = self._reader.select(
            expr.matchers, start_ns, end_ns, containing=pipeline.containing, newest_first=newest_first
        )
        entries = (LogLine(entry.t_ns, entry.line, Labels(entry.labels)) for entry in pipeline.entries(records))
        return islice(entries, max(0, min(limit, self._max_lines)))

    def _check_size(self, block: Block) -> None:
        if len(block.labels) > self._max_series:
            raise QueryError(f"maximum of series ({self._max_series}) reached for a single query")

    def _evaluate(self, expr: MetricExpr, times: Times) -> Block | float:
        match expr:
            case Number():
                return expr.value
            case VectorOf():
                return _constant(expr.value, len(times))
            case RangeAggregation():
                return self._range_aggregation(expr, times, expr.grouping)
            case VectorAggregation():
                return self._vector_aggregation(expr, times)
            case LabelReplace():
                return replace_labels(expr, self._vector(expr.operand, times))
            case Binary():
                return combine(expr, self._evaluate(expr.left, times), self._evaluate(expr.right, times))

    def _vector(self, expr: MetricExpr, times: Times) -> Block:
        found = self._evaluate(expr, times)
        assert isinstance(found, Block), "the parser lets no number through here"
        return found

    def _vector_aggregation(self, node: VectorAggregation, times: Times) -> Block:
        operand = node.operand
        if (
            node.op == "sum"
            and isinstance(operand, RangeAggregation)
            and operand.op in _SUMMED
            and operand.grouping is None
        ):
            # A sum of sums may be grouped line by line: fewer series, and parsers that nobody needs are left out.
            return aggregate(node, self._range_aggregation(operand, times, node.grouping or _ONE_GROUP))
        return aggregate(node, self._vector(operand, times))

    def _range_aggregation(self, node: RangeAggregation, times: Times, grouping: Grouping | None) -> Block:
        source = node.source
        absent = node.op == "absent_over_time"
        value = "bytes" if node.op in _OF_BYTES else "lines"
        extraction = Extraction(source.query, value, source.unwrap, _ONE_GROUP if absent else grouping)
        pipeline = Pipeline(source.query, wanted=extraction.wanted)
        ends = times - source.offset_ns
        records = self._reader.select(
            source.query.matchers, int(ends[0]) - source.range_ns + 1, int(ends[-1]) + 1, containing=pipeline.containing
        )
        all_windows = [Windows(series, ends, source.range_ns) for series in read_samples(extraction, pipeline, records)]
        _refuse_errors(all_windows)
        if absent:
            return _absent(source.query, all_windows, len(times))
        return Block.of(
            ((windows.series.labels, *windows.aggregate(node.op, node.parameter)) for windows in all_windows),
            len(times),
        )


def _metric(expr: Expr) -> MetricExpr:
    if isinstance(expr, LogQuery):
        raise QueryError(
            "log queries are not supported as an instant query type, please change your query to a range query type"
        )
    return expr


def _refuse_in_range(expr: MetricExpr) -> None:
    match expr:
        case VectorAggregation():
            if expr.op == "approx_topk":
                raise QueryError("approx_topk is only supported in instant queries")
            _refuse_in_range(expr.operand)
        case LabelReplace():
            _refuse_in_range(expr.operand)
        case Binary():
            _refuse_in_range(expr.left)
            _refuse_in_range(expr.right)
        case _:
            return


def _refuse_errors(all_windows: list[Windows]) -> None:
    """A sample made of a line that failed a stage would be a wrong number: the query fails, and says how to go on."""
    for windows in all_windows:
        labels = windows.series.labels
        error = labels.get(ERROR_LABEL)
        if error and windows.counts.any():
            raise QueryError(
                f"pipeline error: '{error}' for series: '{labels}'.\n"
                f'Use a label filter to intentionally skip this error. (e.g | __error__!="{error}").\n'
                'To skip all potential errors you can match empty errors.(e.g __error__="")\n'
                'The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__="" )'
            )


def _absent(query: LogQuery, all_windows: list[Windows], steps: int) -> Block:
    """1 where no series has a sample, with the labels that an equality matcher alone pins."""
    empty = np.ones(steps, dtype=np.bool_)
    for windows in all_windows:
        empty &= windows.counts == 0
    return Block.of([(_pinned(query.matchers), np.ones(steps), empty)], steps)


def _pinned(matchers: tuple[Matcher, ...]) -> Labels:
    names = [matcher.name for matcher in matchers]
    return Labels(
        (matcher.name, matcher.value)
        for matcher in matchers
        if matcher.op is MatchOp.EQUAL and names.count(matcher.name) == 1
    )


def _constant(value: float, steps: int) -> Block:
    return Block.of([(EMPTY, np.full(steps, value), np.ones(steps, dtype=np.bool_))], steps)
