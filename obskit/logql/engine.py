"""Evaluates LogQL over a LogReader: metric queries at one time or over a range, and log lines.

Each range is read once for all steps; everything above it works on whole blocks of series and steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple, Protocol, Self

import numpy as np

from obskit.errors import QueryError
from obskit.logql.binary import combine
from obskit.logql.entries import Entry
from obskit.logql.log_nodes import ERROR_LABEL, PRESERVE_LABEL, LogQuery
from obskit.logql.metric_nodes import (
    Binary,
    Expr,
    Grouping,
    LabelReplace,
    MetricExpr,
    Number,
    RangeAggregation,
    VectorAggregation,
    VectorOf,
    longest_range_ns,
    stream_selectors,
)
from obskit.logql.pipeline import Pipeline
from obskit.logql.samples import Extraction, SampleSeries, read_samples, samples_of_counts
from obskit.logql.stages import Demands
from obskit.logql.units import NS_PER_MS
from obskit.logql.vectors import Block, aggregate, replace_labels
from obskit.logql.windows import Times, Windows
from obskit.model.labels import EMPTY, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.results import Element, Matrix, RangeSeries, Result, Scalar, Vector
from obskit.store.log_interface import MINUTE_NS, LogReader, Progress

__all__ = ["Engine", "LogLine", "Progress", "Reading", "SampleSource", "longest_range_ns", "stream_selectors"]

MAX_STEPS: Final = 11_000
_SUMMED: Final = frozenset({"count_over_time", "rate", "bytes_over_time", "bytes_rate", "sum_over_time"})
_OF_BYTES: Final = frozenset({"bytes_over_time", "bytes_rate"})
_COUNTED: Final = frozenset({"count_over_time", "rate", *_OF_BYTES})
_ONE_GROUP: Final = Grouping(())


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a log query found. `t_ns` is Unix nanoseconds.

    Its labels by where they come from: of the stream, of the line's metadata, of the query's stages. No name is there
    twice.
    """

    t_ns: int
    line: str
    stream: Labels
    metadata: Labels
    parsed: Labels

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """What has passed the stages."""
        return cls(entry.t_ns, entry.line, *entry.categories)

    @property
    def labels(self) -> Labels:
        """All of them together."""
        return Labels.keeping_empty({**self.stream, **self.metadata, **self.parsed})


class _Run(NamedTuple):
    """An evaluation: its steps, and who is told how far it is."""

    times: Times
    progress: Progress


@dataclass(frozen=True, slots=True)
class Reading:
    """What a range aggregation asks for: the samples of the windows of `range_ns` that end at `ends_ns`.

    Of `counted` ones only the sums by window matter. `now_ns` is what templates call now.
    """

    extraction: Extraction
    ends_ns: Times
    range_ns: int
    counted: bool
    now_ns: int
    progress: Progress = field(default_factory=Progress)

    @property
    def start_ns(self) -> int:
        """The first time that belongs to a window."""
        return int(self.ends_ns[0]) - self.range_ns + 1

    @property
    def end_ns(self) -> int:
        """The first time that belongs to none."""
        return int(self.ends_ns[-1]) + 1


class SampleSource(Protocol):
    """Where range aggregations find their samples: a store that is read, or windows that are kept in memory."""

    def samples(self, reading: Reading) -> Sequence[SampleSeries]:
        """The series with samples in the windows, sorted by labels; there may be samples around them."""
        ...


class _Stored:
    """Samples made of the lines of a store."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def samples(self, reading: Reading) -> Sequence[SampleSeries]:
        found = self._of_counts(reading) if reading.counted else None
        if found is not None:
            return found
        extraction = reading.extraction
        pipeline = Pipeline(extraction.query, extraction.demands(reading.now_ns), reading.progress)
        within = extraction.query.matchers, reading.start_ns, reading.end_ns
        blocks = self._reader.blocks(*within, containing=pipeline.containing, scan=pipeline.scan)
        return read_samples(extraction, pipeline, blocks)

    def _of_counts(self, reading: Reading) -> list[SampleSeries] | None:
        """From the counts that the store keeps by minute, where they are all that is asked for."""
        extraction, ends = reading.extraction, reading.ends_ns
        if (
            extraction.query.stages
            or extraction.unwrap
            or extraction.wanted is None
            or (ends - ends[0]).max() % MINUTE_NS
        ):
            return None
        if len(ends) > 1 and (ends[1] - ends[0]) % MINUTE_NS:
            return None
        counts = self._reader.counts(extraction.query.matchers, reading.start_ns, reading.end_ns)
        return None if counts is None else samples_of_counts(extraction, counts)


class Engine:
    """Evaluates parsed LogQL. `max_lines` bounds a log query, `max_series` a metric query's result.

    Metric queries are answered from `samples`; without it, from the lines that `reader` finds. A `progress` is counted up
    while a query reads lines, and can end it from another thread: QueryError then.
    """

    def __init__(
        self, reader: LogReader, *, max_lines: int = 5000, max_series: int = 500, samples: SampleSource | None = None
    ) -> None:
        self._reader = reader
        self._samples = samples or _Stored(reader)
        self._max_lines = max_lines
        self._max_series = max_series

    def instant(self, expr: Expr, at_ns: int, *, progress: Progress | None = None) -> Result:
        """A Vector, or a Scalar for an expression of numbers. QueryError for a log query: it has no value."""
        found = self._evaluate(_metric(expr), _Run(np.array([at_ns], dtype=np.int64), progress or Progress()))
        t_ms = at_ns // NS_PER_MS
        if not isinstance(found, Block):
            return Result(Scalar(found, t_ms))
        self._check_size(found)
        return Result(Vector(tuple(Element(labels, float(values[0]), t_ms) for labels, values, _ in found.rows())))

    def range(
        self, expr: Expr, start_ns: int, end_ns: int, step_ns: int, *, progress: Progress | None = None
    ) -> Result:
        """A Matrix with a point at `start_ns`, and every `step_ns` after it up to and including `end_ns`."""
        if step_ns <= 0 or end_ns < start_ns:
            raise QueryError("a range needs a step above 0 and must not end before it starts")
        if (end_ns - start_ns) // step_ns >= MAX_STEPS:
            raise QueryError(f"exceeded maximum resolution of {MAX_STEPS:,} points per time series: take a longer step")
        expr = _metric(expr)
        _refuse_in_range(expr)
        times = np.arange(start_ns, end_ns + 1, step_ns, dtype=np.int64)
        found = self._evaluate(expr, _Run(times, progress or Progress()))
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

    def lines(
        self,
        expr: Expr,
        start_ns: int,
        end_ns: int,
        *,
        limit: int,
        newest_first: bool,
        progress: Progress | None = None,
    ) -> Iterator[LogLine]:
        """At most `limit` lines with `start_ns <= t < end_ns`, in order of time. Lines that failed a parser are among
        them, with `__error__`. QueryError for a metric query."""
        if not isinstance(expr, LogQuery):
            raise QueryError("a metric query answers with numbers, not with lines")
        pipeline = Pipeline(expr, Demands(now_ns=end_ns), progress)
        blocks = self._reader.blocks(
            expr.matchers,
            start_ns,
            end_ns,
            containing=pipeline.containing,
            newest_first=newest_first,
            scan=pipeline.scan,
        )
        entries = pipeline.ordered(blocks, newest_first=newest_first)
        return islice(map(LogLine.of, entries), max(0, min(limit, self._max_lines)))

    def _check_size(self, block: Block) -> None:
        if len(block.labels) > self._max_series:
            raise QueryError(f"maximum of series ({self._max_series}) reached for a single query")

    def _evaluate(self, expr: MetricExpr, run: _Run) -> Block | float:
        match expr:
            case Number():
                return expr.value
            case VectorOf():
                return _constant(expr.value, len(run.times))
            case RangeAggregation():
                return self._range_aggregation(expr, run, expr.grouping)
            case VectorAggregation():
                return self._vector_aggregation(expr, run)
            case LabelReplace():
                return replace_labels(expr, self._vector(expr.operand, run))
            case Binary():
                return combine(expr, self._evaluate(expr.left, run), self._evaluate(expr.right, run))

    def _vector(self, expr: MetricExpr, run: _Run) -> Block:
        found = self._evaluate(expr, run)
        assert isinstance(found, Block), "the parser lets no number through here"
        return found

    def _vector_aggregation(self, node: VectorAggregation, run: _Run) -> Block:
        operand = node.operand
        if (
            node.op == "sum"
            and isinstance(operand, RangeAggregation)
            and operand.op in _SUMMED
            and operand.grouping is None
        ):
            # A sum of sums may be grouped line by line: fewer series, and parsers that nobody needs are left out.
            return aggregate(node, self._range_aggregation(operand, run, node.grouping or _ONE_GROUP))
        return aggregate(node, self._vector(operand, run))

    def _range_aggregation(self, node: RangeAggregation, run: _Run, grouping: Grouping | None) -> Block:
        source = node.source
        absent = node.op == "absent_over_time"
        value = "bytes" if node.op in _OF_BYTES else "lines"
        extraction = Extraction(source.query, value, source.unwrap, _ONE_GROUP if absent else grouping)
        ends = run.times - source.offset_ns
        counted = node.op in _COUNTED
        reading = Reading(extraction, ends, source.range_ns, counted, int(run.times[-1]), run.progress)
        found = self._samples.samples(reading)
        all_windows = [Windows(series, ends, source.range_ns) for series in found]
        _refuse_errors(all_windows)
        if absent:
            return _absent(source.query, all_windows, len(run.times))
        return Block.of(
            ((windows.series.labels, *windows.aggregate(node.op, node.parameter)) for windows in all_windows),
            len(run.times),
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
        if error and PRESERVE_LABEL not in labels and windows.counts.any():
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
