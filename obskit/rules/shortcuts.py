"""Answers that need no evaluation: what a log rule gives while there is not a sample, or too few to reach its limit.

Most rules are quiet most of the time, and an alert that is not there costs a comparison of two numbers. Both answers
are what the engine would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obskit.clock import NS_PER_S
from obskit.logql.engine import Engine, Reading
from obskit.logql.metric_nodes import (
    SET_OPERATORS,
    Binary,
    Expr,
    LabelReplace,
    Number,
    RangeAggregation,
    VectorAggregation,
)
from obskit.logql.samples import Extraction, SampleSeries
from obskit.model.results import Result, Vector
from obskit.store.log_interface import LogReader

NOTED_NS: Final = 2**61
_ROUNDING: Final = 1 + 1e-9
"""A sum of rates may come out a little above the rate of the sum."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an expression asks of the lines, and how far before its evaluation it looks."""

    extraction: Extraction
    lookback_ns: int


class _Nothing:
    """A source of samples that has none, and notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def samples(self, reading: Reading) -> Sequence[SampleSeries]:
        self.asked.append(Asked(reading.extraction, NOTED_NS - reading.start_ns + 1))
        return ()


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """What is known of an expression before its evaluation.

    `empty`: without a sample it gives an empty vector. `enough`: with no more samples than this it does too; None when
    that cannot be told. `compares`: the answer would be wrong if a series were forgotten, not only incomplete.
    """

    asked: tuple[Asked, ...]
    empty: bool
    enough: float | None
    compares: bool

    @classmethod
    def of(cls, expr: Expr, reader: LogReader) -> Shortcuts:
        """Look at an expression once."""
        nothing = _Nothing()
        result = Engine(reader, samples=nothing).instant(expr, NOTED_NS)
        asked = tuple(dict.fromkeys(nothing.asked))
        enough = _limit(expr) if len(asked) == 1 else None
        return cls(asked, result.value == Vector(()), enough, _compares(expr))


NO_ELEMENTS: Final = Result(Vector(()))


def _compares(expr: Expr) -> bool:
    match expr:
        case Binary():
            return expr.op in SET_OPERATORS or _compares(expr.left) or _compares(expr.right)
        case VectorAggregation():
            return expr.op in ("count", "avg", "stddev", "stdvar") or _compares(expr.operand)
        case LabelReplace():
            return _compares(expr.operand)
    return False


def _limit(expr: Expr) -> float | None:
    """Of `count > n`: how many samples are not enough; windows hold no more than memory does."""
    if not isinstance(expr, Binary) or expr.op not in (">", ">=") or expr.returns_bool:
        return None
    if not isinstance(expr.right, Number):
        return None
    counted = expr.left
    if isinstance(counted, VectorAggregation) and counted.op in ("sum", "max", "min", "avg"):
        counted = counted.operand
    if not isinstance(counted, RangeAggregation) or counted.source.unwrap is not None:
        return None
    limit = expr.right.value / _ROUNDING
    if counted.op == "rate":
        limit *= counted.source.range_ns / NS_PER_S
    elif counted.op != "count_over_time":
        return None
    return limit - 1 if expr.op == ">=" else limit
