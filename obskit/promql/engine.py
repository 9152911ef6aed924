"""The PromQL engine: an expression and a time to a vector, a range of times to a matrix.

It keeps what is expensive between queries: plans (parsed expressions) and label sets with what was derived from them.
Samples come through the MetricReader protocol; where they lie is the store's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from obskit.errors import QueryError
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import EMPTY
from obskit.model.results import Element, Matrix, RangeSeries, Result, Scalar, String, Vector
from obskit.promql.blocks import Block, Value, joined
from obskit.promql.context import Context, Notes
from obskit.promql.evaluator import Evaluator
from obskit.promql.families import Answer, Family
from obskit.promql.histogram_values import Histograms
from obskit.promql.labelsets import Ints
from obskit.promql.nodes import Expr, ValueType
from obskit.promql.plans import Plan
from obskit.promql.selection import KnownSets, Limits, Selection
from obskit.promql.ticks import Repeated, Tick
from obskit.promql.windows import Windows
from obskit.store.interface import MetricReader

MAX_PLANS: Final = 16_384
LIMITS: Final = Limits()
NO_HISTOGRAMS: Final[Mapping[int, NativeHistogram]] = MappingProxyType({})


class Engine:
    """Evaluates PromQL over a reader.

    A query that goes beyond one of its `limits` (or `max_steps`) is refused with a QueryError that names it.
    `lookback_ms` is how old a sample may be to count as current, `default_step_ms` the step of subqueries without one.
    `delayed_name_removal` drops metric names at the end of the query instead of in each function (Prometheus' flag
    promql-delayed-name-removal). Not thread-safe: one engine per thread.
    """

    def __init__(
        self,
        reader: MetricReader,
        *,
        lookback_ms: int = 300_000,
        limits: Limits = LIMITS,
        max_steps: int = 11_000,
        default_step_ms: int = 60_000,
        delayed_name_removal: bool = False,
    ) -> None:
        self._reader = reader
        self._lookback_ms = lookback_ms
        self._limits = limits
        self._max_steps = max_steps
        self._default_step_ms = default_step_ms
        self._delayed = delayed_name_removal
        self._known = KnownSets()
        self._plans: dict[str | int, Plan] = {}
        self._repeated = Repeated()

    def instant(self, expr: str | Expr, at_ms: int, tick: Tick | None = None) -> Result:
        """The value of an expression at one moment (Unix milliseconds).

        Queries with the same `tick` share what they have in common; annotations of a shared part come with the first.
        Raises QuerySyntaxError when the text is wrong, QueryError when it cannot be evaluated.
        """
        plan = self._plan(expr)
        context = self._context(plan, np.array([at_ms], np.int64), 0)
        evaluator = self._evaluator(plan, tick)
        if plan.expr.type is ValueType.MATRIX:
            with np.errstate(all="ignore"):
                return _result(_raw(evaluator.ranged(plan.expr, context).windows()), context.notes)
        with np.errstate(all="ignore"):  # IEEE arithmetic: 1/0 is Inf, and nobody needs to hear of it
            value = evaluator.value(plan.expr, context)
        if isinstance(value, str):
            return _result(String(value, at_ms), context.notes)
        if isinstance(value, Block):
            return _result(_vector(joined(value), at_ms), context.notes)
        return _result(Scalar(float(value[0]), at_ms), context.notes)

    def answers(self, family: Family, at_ms: int, tick: Tick | None = None) -> Mapping[int, Answer]:
        """What the members of a family answer at one moment; those that answer nothing are left out.

        Raises QueryError when one of them has no answer or they cannot be evaluated as one: ask them one by one.
        """
        return self._answers(family, np.array([at_ms], np.int64), 0, tick)[0]

    def answers_ahead(self, family: Family, start_ms: int, end_ms: int, step_ms: int) -> Sequence[Mapping[int, Answer]]:
        """What the members of a family answer at start, start + step, … up to end; QueryError as above.

        They get what they would get at each of these moments, unless one of them asks for the range of the query
        (plans.asks_for_range).
        """
        return self._answers(family, self._grid(start_ms, end_ms, step_ms), step_ms)

    def _answers(
        self, family: Family, at_ms: Ints, step_ms: int, tick: Tick | None = None
    ) -> Sequence[Mapping[int, Answer]]:
        plan = self._plan(family.expr)
        context = self._context(plan, at_ms, step_ms, int(at_ms[-1]))
        with np.errstate(all="ignore"):
            value = self._evaluator(plan, tick).value(plan.expr, context)
        assert isinstance(value, Block)
        return family.answers(value)

    def range(self, expr: str | Expr, start_ms: int, end_ms: int, step_ms: int) -> Result:
        """The values of an expression at start, start + step, … up to end, as a matrix ordered by labels.

        Raises QueryError for a range vector or a string, and for more steps than the engine allows.
        """
        plan = self._plan(expr)
        if plan.expr.type not in (ValueType.SCALAR, ValueType.VECTOR):
            raise QueryError(
                f'invalid expression type "{plan.expr.type}" for range query, must be Scalar or instant Vector'
            )
        at_ms = self._grid(start_ms, end_ms, step_ms)
        context = self._context(plan, at_ms, step_ms, end_ms)
        with np.errstate(all="ignore"):  # IEEE arithmetic: 1/0 is Inf, and nobody needs to hear of it
            value = self._evaluator(plan).value(plan.expr, context)
        return _result(_matrix(value, at_ms), context.notes)

    def _grid(self, start_ms: int, end_ms: int, step_ms: int) -> Ints:
        if step_ms <= 0:
            raise QueryError("zero or negative query resolution step widths are not accepted. Try a positive integer")
        if end_ms < start_ms:
            raise QueryError("end timestamp must not be before start time")
        steps = (end_ms - start_ms) // step_ms + 1
        if steps - 1 > self._max_steps:
            raise QueryError(
                f"exceeded maximum resolution of {self._max_steps:,} points per timeseries."
                " Try decreasing the query resolution (?step=XX)"
            )
        return start_ms + np.arange(steps, dtype=np.int64) * step_ms

    def _plan(self, expr: str | Expr) -> Plan:
        # Trees are found by identity: a plan holds its tree, so the id stays the tree's own.
        key = expr if isinstance(expr, str) else id(expr)
        plan = self._plans.get(key)
        if plan is not None:
            return plan
        plan = self._plans[key] = Plan.of(expr, self._repeated.note)
        if len(self._plans) > MAX_PLANS:
            self._plans.clear()
            self._repeated.forget()
            plan = self._plans[key] = Plan.of(expr, self._repeated.note)
        return plan

    def _context(self, plan: Plan, at_ms: Ints, step_ms: int, end_ms: int | None = None) -> Context:
        start = int(at_ms[0])
        return Context(
            text=plan.text,
            start_ms=start,
            end_ms=start if end_ms is None else end_ms,
            step_ms=step_ms,
            at_ms=at_ms,
            delayed=self._delayed,
            notes=Notes(),
        )

    def _evaluator(self, plan: Plan, tick: Tick | None = None) -> Evaluator:
        return Evaluator(
            plan,
            Selection(self._reader, self._known, self._limits),
            lookback_ms=self._lookback_ms,
            default_step_ms=self._default_step_ms,
            tick=tick,
        )


def _result(value: Vector | Matrix | Scalar | String, notes: Notes) -> Result:
    return Result(value, tuple(notes.warnings), tuple(notes.infos))


def _vector(block: Block, at_ms: int) -> Vector:
    rows = block.alive().tolist()
    found = block.histograms
    return Vector(
        tuple(
            Element(block.sets.final(row), float(block.values[row, 0]), at_ms, None if found is None else found[row, 0])
            for row in rows
        )
    )


def _matrix(value: Value, at_ms: Ints) -> Matrix:
    if isinstance(value, Block):
        return Matrix(tuple(_rows(joined(value), at_ms)))
    assert not isinstance(value, str)
    return Matrix((RangeSeries(EMPTY, at_ms.tolist(), value.tolist()),))


def _by_position(histograms: Histograms) -> dict[int, NativeHistogram]:
    return {position: one for position, one in enumerate(histograms.tolist()) if one is not None}


def _rows(block: Block, at_ms: Ints) -> Iterator[RangeSeries]:
    """The rows that have a value, in the order of their labels. Most have one at every step: these share their times.

    Values are handed over as they are in memory: a million float objects take as long to make as the query itself.
    """
    alive: list[bool] = np.logical_or.reduce(block.present, axis=1).tolist()
    whole: list[bool] = np.logical_and.reduce(block.present, axis=1).tolist()
    times_ms, values, final = at_ms.tolist(), list(block.values), block.sets.final
    for row in block.sets.order():
        if not alive[row]:
            continue
        times, kept, histograms = times_ms, values[row], NO_HISTOGRAMS
        if not whole[row]:
            there = block.present[row]
            times, kept = at_ms[there].tolist(), kept[there]
        if block.histograms is not None:
            histograms = _by_position(block.histograms[row][block.present[row]])
        yield RangeSeries(final(row), times, memoryview(kept), histograms)


def _sorted(series: Iterable[RangeSeries]) -> Matrix:
    return Matrix(tuple(sorted(series, key=lambda one: one.labels.pairs)))


def _raw(windows: Windows) -> Matrix:
    """The samples of a range vector at one moment."""
    samples, found = windows.samples, windows.samples.histograms
    return _sorted(
        RangeSeries(
            samples.sets.final(row),
            samples.times_ms[first:last].tolist(),
            samples.values[first:last].tolist(),
            {} if found is None else _by_position(found[first:last]),
        )
        for row, (first, last) in enumerate(zip(windows.first[:, 0].tolist(), windows.last[:, 0].tolist(), strict=True))
        if last > first
    )
