"""Operators with native histograms on a side, element by element (promql/engine.go, vectorElemBinop)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from obskit.model.histogram_arithmetic import Combined, difference, total
from obskit.model.histograms import NativeHistogram
from obskit.promql import histogram_notes as notes
from obskit.promql.blocks import Block, Bools, Floats
from obskit.promql.context import Context
from obskit.promql.histogram_estimates import trim_lower, trim_upper
from obskit.promql.histogram_values import Histograms, held, none_of
from obskit.promql.labelsets import Ints
from obskit.promql.nodes import Binary

Sample = float | NativeHistogram

WITH_FLOAT: Final[dict[str, Callable[[NativeHistogram, float], NativeHistogram]]] = {
    "*": NativeHistogram.scaled,
    "/": NativeHistogram.divided,
    "</": trim_upper,
    ">/": trim_lower,
}
"""Operators that take a histogram on the left and a float on the right; `*` takes them the other way round too."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One side of an operator: floats, and histograms where there are any."""

    values: Floats
    histograms: Histograms | None = None

    @classmethod
    def of(cls, block: Block, rows: Ints) -> Operand:
        """Rows of a block."""
        return cls(block.values[rows], None if block.histograms is None else block.histograms[rows])

    def held(self, shape: tuple[int, ...]) -> Bools:
        """Where it is a histogram."""
        return np.zeros(shape, bool) if self.histograms is None else held(self.histograms)

    def at(self, row: int, step: int) -> Sample:
        """The sample of a row at a step."""
        if self.histograms is not None and self.histograms[row, step] is not None:
            found: NativeHistogram = self.histograms[row, step]
            return found
        return float(self.values[step] if self.values.ndim == 1 else self.values[row, step])


@dataclass(frozen=True, slots=True)
class Operated:
    """What an operator gave, cell by cell."""

    values: Floats
    present: Bools
    histograms: Histograms


def operate(
    context: Context,
    expr: Binary,
    sides: tuple[Operand, Operand],
    present: Bools,
    floats: Callable[[Bools], tuple[Floats, Bools]],
) -> Operated:
    """`sides[0] op sides[1]` where present; `floats` answers for the cells without histograms."""
    left, right = sides
    cells = present & (left.held(present.shape) | right.held(present.shape))
    values, there = floats(present & ~cells)
    values, there, histograms = np.array(np.broadcast_to(values, present.shape)), there & ~cells, none_of(present.shape)
    for row, step in np.argwhere(cells).tolist():
        found = _sample(context, expr, left.at(row, step), right.at(row, step))
        there[row, step] = found is not None
        if isinstance(found, NativeHistogram):
            histograms[row, step] = found
        elif found is not None:
            values[row, step] = found
    return Operated(values, there, histograms)


def _sample(context: Context, expr: Binary, left: Sample, right: Sample) -> Sample | None:
    if isinstance(left, NativeHistogram) and isinstance(right, NativeHistogram):
        return _both(context, expr, left, right)
    if isinstance(left, NativeHistogram) and not isinstance(right, NativeHistogram) and expr.op in WITH_FLOAT:
        return WITH_FLOAT[expr.op](left, right)
    if isinstance(right, NativeHistogram) and not isinstance(left, NativeHistogram) and expr.op == "*":
        return right.scaled(left)
    kinds = _kind(left), _kind(right)
    notes.incompatible_types(context, expr, expr.op, kinds)
    return None


def _kind(sample: Sample) -> str:
    return "histogram" if isinstance(sample, NativeHistogram) else "float"


def _both(context: Context, expr: Binary, left: NativeHistogram, right: NativeHistogram) -> Sample | None:
    if expr.op in ("==", "!="):
        holds = (left == right) is (expr.op == "==")
        if expr.bool:
            return float(holds)
        return left if holds else None
    if expr.op == "+":
        return _noted(context, expr, total([left, right]), "addition")
    if expr.op == "-":
        return _noted(context, expr, difference(left, right), "subtraction")
    notes.incompatible_types(context, expr, expr.op, ("histogram", "histogram"))
    return None


def _noted(
    context: Context, expr: Binary, found: Combined | None, operation: notes.Operation
) -> NativeHistogram | None:
    if found is None:
        notes.incompatible_layouts(context, expr, expr.op)
        return None
    notes.combined(context, expr, found, operation)
    return found.histogram


def negated(block: Block) -> Block:
    """Everything times -1."""
    if block.histograms is None:
        return block.with_values(-block.values)
    histograms = none_of(block.present.shape)
    for row, step in np.argwhere(block.has_histogram()).tolist():
        histograms[row, step] = block.histograms[row, step].scaled(-1.0)
    return Block(block.sets, -block.values, block.present, histograms)
