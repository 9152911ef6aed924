"""Which expressions differ only in numbers and in the values of equality matchers, and how such a family is one query.

The comparison at the top is done for all members at once, and labels are made for what survives it: a thousand rules
that have nothing to say cost a few array operations. A family gives exactly what its members would give one by one,
or a QueryError, upon which the members are asked one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.errors import PatternError, QueryError
from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.promql.binary import COMPARE
from obskit.promql.blocks import Block, Bools, joined
from obskit.promql.functions import MATH
from obskit.promql.functions_time import CALENDAR
from obskit.promql.labelsets import Ints, LabelSets
from obskit.promql.nodes import (
    COMPARISONS,
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Number,
    Paren,
    Unary,
    ValueType,
    VectorSelector,
    bare,
)
from obskit.promql.spread import MAX_ROWS, TOO_MANY_ROWS, VARIANT, Against, Spread, variants_of, without_variant

ROW_BY_ROW: Final = frozenset(
    {
        *MATH,
        *CALENDAR,
        "clamp",
        "clamp_max",
        "clamp_min",
        "histogram_fraction",
        "histogram_quantile",
        "label_join",
        "label_replace",
        "round",
    }
)
"""Functions of a vector that give each variant what it would get alone."""
AGGREGATIONS: Final = frozenset(
    {"sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "topk", "bottomk", "quantile"}
)
MAX_ALTERNATIVES: Final = 2_000
"""Values of one matcher: more make a pattern that RE2 may refuse."""

Answer = list[tuple[Labels, float]]
_Change = Callable[[Matcher], Matcher | None]


class _UnfitError(Exception):
    """The expression is for itself."""


@dataclass(slots=True)
class _Blanks:
    """What was taken out of an expression, in the order of the text."""

    values: list[str]
    numbers: list[float]


@dataclass(frozen=True, slots=True)
class _Shape:
    """An expression `pattern op number` (or the other way round) with blanks in its pattern; op "" is no comparison."""

    pattern: Expr
    op: str = ""
    flipped: bool = False


@dataclass(frozen=True, slots=True)
class _Member:
    """One expression of a shape: what it has in the blanks, and the number it is compared with."""

    index: int
    blanks: tuple[tuple[str, ...], tuple[float, ...]]
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Expressions evaluated as one: `members` are their places in the sequence given to `families`."""

    members: tuple[int, ...]
    expr: Expr
    variants: Ints
    op: str
    flipped: bool
    thresholds: NDArray[np.float64]

    def answers(self, block: Block) -> list[dict[int, Answer]]:
        """What each member answers at each step of the value of `expr`; members without elements are left out."""
        block = joined(block)
        if block.has_histogram().any():
            raise QueryError("histograms are asked for one by one")
        rows, owners = block.sets.memo(("members", self), lambda: self._pairs(block.sets))
        holds = block.present[rows]
        if self.op:
            holds &= self._compared(block.values[rows], owners)
        found: list[dict[int, Answer]] = [{} for _ in range(block.steps)]
        pairs, steps = np.nonzero(holds)
        for pair, step in zip(pairs.tolist(), steps.tolist(), strict=True):
            row = int(rows[pair])
            element = without_variant(block.sets.final(row)), float(block.values[row, step])
            found[step].setdefault(self.members[owners[pair]], []).append(element)
        return found

    def _compared(self, values: NDArray[np.float64], owners: Ints) -> Bools:
        thresholds = self.thresholds[owners][:, None]
        return COMPARE[self.op](thresholds, values) if self.flipped else COMPARE[self.op](values, thresholds)

    def _pairs(self, sets: LabelSets) -> tuple[Ints, Ints]:
        """Rows and the members (by position) they belong to, member after member."""
        codes = variants_of(sets) if int(self.variants.max()) else np.zeros(len(sets), np.int64)
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(int(self.variants.max()) + 2))
        counts = np.diff(starts)[self.variants]
        if counts.sum() > MAX_ROWS:
            raise QueryError(TOO_MANY_ROWS)
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return order[np.repeat(starts[self.variants], counts) + within], np.repeat(np.arange(len(counts)), counts)


def families(exprs: Sequence[Expr], *, at_least: int = 2) -> list[Family]:
    """The families of `at_least` so many among some expressions; those in no family are for themselves."""
    by_shape: dict[_Shape, list[_Member]] = {}
    for index, expr in enumerate(exprs):
        try:
            shape, member = _taken_apart(index, expr)
        except _UnfitError:
            continue
        by_shape.setdefault(shape, []).append(member)
    found = []
    for shape, members in by_shape.items():
        if len(members) >= at_least:
            with suppress(_UnfitError):
                found.append(_family(shape, members))
    return found


def _taken_apart(index: int, expr: Expr) -> tuple[_Shape, _Member]:
    blanks = _Blanks([], [])
    whole, op, flipped, threshold = bare(expr), "", False, 0.0
    inner = whole
    if isinstance(whole, Binary) and whole.op in COMPARISONS and not whole.bool:
        left, right = bare(whole.lhs), bare(whole.rhs)
        if isinstance(right, Number) and left.type is ValueType.VECTOR:
            inner, op, threshold = left, whole.op, right.value
        elif isinstance(left, Number) and right.type is ValueType.VECTOR:
            inner, op, flipped, threshold = right, whole.op, True, left.value
    if inner.type is not ValueType.VECTOR:
        raise _UnfitError
    shape = _Shape(_blanked(inner, blanks), op, flipped)
    return shape, _Member(index, (tuple(blanks.values), tuple(blanks.numbers)), threshold)


def _blanked(expr: Expr, blanks: _Blanks) -> Expr:
    """The expression with blanks for what may differ; what is taken out is noted."""
    if isinstance(expr, Paren):
        return replace(expr, expr=_blanked(expr.expr, blanks))
    if isinstance(expr, Unary):
        return replace(expr, expr=_blanked(expr.expr, blanks))
    if isinstance(expr, Aggregate):
        if expr.op not in AGGREGATIONS or not isinstance(expr.param, Number | None):
            raise _UnfitError
        return replace(expr, expr=_blanked(expr.expr, blanks))
    if isinstance(expr, Binary):
        return replace(expr, lhs=_operand(expr.lhs, expr.rhs, blanks), rhs=_operand(expr.rhs, expr.lhs, blanks))
    if isinstance(expr, VectorSelector):
        return _blank_selector(expr, blanks)
    if isinstance(expr, Call):
        return _blank_call(expr, blanks)
    raise _UnfitError


def _operand(expr: Expr, other: Expr, blanks: _Blanks) -> Expr:
    if isinstance(expr, Number) and other.type is ValueType.VECTOR:
        blanks.numbers.append(expr.value)
        return Number(0.0)
    if expr.type is ValueType.SCALAR:
        return _constant(expr)
    return _blanked(expr, blanks)


def _constant(expr: Expr) -> Expr:
    """A scalar or string that is the same for all variants: it reads no series."""
    if any(isinstance(node, VectorSelector) for node in expr.walk()):
        raise _UnfitError
    return expr


def _blank_selector(selector: VectorSelector, blanks: _Blanks) -> VectorSelector:
    matchers = []
    for matcher in selector.matchers:
        blank = matcher.op is MatchOp.EQUAL and matcher.name != NAME
        if blank:
            blanks.values.append(matcher.value)
        matchers.append(_blank(matcher.name) if blank else matcher)
    return replace(selector, matchers=tuple(matchers))


@lru_cache(maxsize=1024)
def _blank(label: str) -> Matcher:
    return Matcher(label, MatchOp.EQUAL, "")


def _blank_call(call: Call, blanks: _Blanks) -> Call:
    if _reads_selector(call):
        return replace(call, args=tuple(_blank_argument(arg, blanks) for arg in call.args))
    if call.name not in ROW_BY_ROW or not any(arg.type is ValueType.VECTOR for arg in call.args):
        raise _UnfitError
    return replace(
        call,
        args=tuple(_blanked(arg, blanks) if arg.type is ValueType.VECTOR else _constant(arg) for arg in call.args),
    )


def _reads_selector(call: Call) -> bool:
    """Whether a call computes each series' value from its samples: `rate(x[5m])`, `timestamp(x)`."""
    ranges = [bare(arg) for arg in call.args if arg.type is ValueType.MATRIX]
    if call.name == "absent_over_time" or not all(isinstance(arg, MatrixSelector) for arg in ranges):
        raise _UnfitError
    return bool(ranges) or (call.name == "timestamp" and isinstance(bare(call.args[0]), VectorSelector))


def _blank_argument(expr: Expr, blanks: _Blanks) -> Expr:
    if isinstance(expr, Paren):
        return _blank_argument(expr.expr, blanks)
    if isinstance(expr, MatrixSelector):
        return replace(expr, vector=_blank_selector(expr.vector, blanks))
    return _blank_selector(expr, blanks) if isinstance(expr, VectorSelector) else _constant(expr)


def _family(shape: _Shape, members: Sequence[_Member]) -> Family:
    number: dict[tuple[tuple[str, ...], tuple[float, ...]], int] = {}
    variants = np.array([number.setdefault(member.blanks, len(number)) for member in members], np.int64)
    return Family(
        members=tuple(member.index for member in members),
        expr=_Filling(list(number)).fill(shape.pattern),
        variants=variants,
        op=shape.op,
        flipped=shape.flipped,
        thresholds=np.array([member.threshold for member in members]),
    )


class _Filling:
    """Puts the blanks of all variants back into a pattern, as one tree."""

    def __init__(self, variants: Sequence[tuple[tuple[str, ...], tuple[float, ...]]]) -> None:
        self._count = len(variants)
        self._several = self._count > 1
        self._values: Iterator[tuple[str, ...]] = zip(*(values for values, _ in variants), strict=True)
        self._numbers: Iterator[tuple[float, ...]] = zip(*(numbers for _, numbers in variants), strict=True)

    def fill(self, expr: Expr) -> Expr:
        """The tree below a node, visited in the order in which the blanks were made."""
        if isinstance(expr, Paren | Unary):
            return replace(expr, expr=self.fill(expr.expr))
        if isinstance(expr, Aggregate):
            grouping = expr.grouping if expr.without or not self._several else (*expr.grouping, VARIANT)
            return replace(expr, expr=self.fill(expr.expr), grouping=grouping)
        if isinstance(expr, Binary):
            return self._binary(expr)
        if isinstance(expr, Call) and not _reads_selector(expr):
            args = [self.fill(arg) if arg.type is ValueType.VECTOR else arg for arg in expr.args]
            return replace(expr, args=tuple(args))
        return self._spread(expr)

    def _binary(self, expr: Binary) -> Expr:
        if expr.lhs.type is ValueType.VECTOR and expr.rhs.type is ValueType.VECTOR:
            matching = expr.matching
            if self._several and matching is not None and matching.on:
                matching = replace(matching, labels=(*matching.labels, VARIANT))
            return replace(expr, lhs=self.fill(expr.lhs), rhs=self.fill(expr.rhs), matching=matching)
        vector_left = expr.lhs.type is ValueType.VECTOR
        scalar = expr.rhs if vector_left else expr.lhs
        if not isinstance(scalar, Number):
            return replace(expr, lhs=self.fill(expr.lhs)) if vector_left else replace(expr, rhs=self.fill(expr.rhs))
        # Blanks lie in the order of the text: the number's comes before the vector's when it stands on the left.
        numbers = () if vector_left else next(self._numbers)
        filled = self.fill(expr.lhs if vector_left else expr.rhs)
        numbers = numbers or next(self._numbers)
        if len(set(numbers)) > 1:
            return Against(expr=filled, binary=expr, numbers=np.array(numbers))
        number = Number(numbers[0])
        return replace(expr, lhs=filled, rhs=number) if vector_left else replace(expr, lhs=number, rhs=filled)

    def _spread(self, expr: Expr) -> Expr:
        """A selector, or a call on one, of all variants; each variant has its rows of it."""
        names: list[str] = []
        columns: list[tuple[str, ...]] = []

        def general(matcher: Matcher) -> Matcher | None:
            if matcher.op is not MatchOp.EQUAL or matcher.name == NAME:
                return matcher
            column = next(self._values)
            if len(set(column)) == 1:
                return Matcher(matcher.name, MatchOp.EQUAL, column[0])
            names.append(matcher.name)
            columns.append(column)
            return _any_of(matcher.name, dict.fromkeys(column))

        whole = _with_matchers(expr, general)
        if not self._several:
            return whole
        wanted = tuple(zip(*columns, strict=True)) or ((),) * self._count
        return Spread(expr=whole, names=tuple(names), wanted=wanted)


def _with_matchers(expr: Expr, change: _Change) -> Expr:
    if isinstance(expr, VectorSelector):
        return _changed(expr, change)
    if isinstance(expr, MatrixSelector):
        return replace(expr, vector=_changed(expr.vector, change))
    if isinstance(expr, Call):
        return replace(expr, args=tuple(_with_matchers(arg, change) for arg in expr.args))
    return expr


def _changed(selector: VectorSelector, change: _Change) -> VectorSelector:
    matchers = tuple(matcher for matcher in map(change, selector.matchers) if matcher is not None)
    if not matchers:
        raise _UnfitError  # all series of all metrics would be read
    return replace(selector, matchers=matchers)


def _any_of(name: str, values: Collection[str]) -> Matcher | None:
    """A matcher of all these values; None when they are too many: more is read then, and handed out all the same."""
    if len(values) > MAX_ALTERNATIVES:
        return None
    try:
        return Matcher(name, MatchOp.REGEX, "|".join(map(re.escape, values)))
    except PatternError:
        return None
