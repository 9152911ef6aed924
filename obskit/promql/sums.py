"""Sums and means that keep what cancellation would lose, as Prometheus' compensated sums do.

Most sums are safe: numpy adds them. Only where large terms cancel or the sum overflows is a sum done again, exactly
(promql/functions.go, kahanSumInc; the acceptance suite has cases made for this).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from obskit.promql.blocks import Band, Bools, Floats
from obskit.promql.windows import Windows

CANCELLATION: Final = 1e-8
"""A sum smaller than this share of its terms' magnitudes has lost digits that matter."""
EXACT: Final = 2.0**53
"""Whole numbers up to here add without loss."""


def neumaier(values: Iterable[float]) -> float:
    """The compensated sum of Prometheus, term by term."""
    total = compensation = 0.0
    for value in values:
        step = total + value
        if math.isinf(step):
            compensation = 0.0
        elif abs(total) >= abs(value):
            compensation += (total - step) + value
        else:
            compensation += (value - step) + total
        total = step
    return total + compensation


def safe_mean(values: list[float]) -> float:
    """The mean of finite numbers whose sum may overflow."""
    count = len(values)
    return math.fsum(value / count for value in values)


def window_sums(windows: Windows) -> Floats:
    """The sum of each window."""
    values, flat = windows.samples.values, (windows.first, windows.last)

    def recompute(index: tuple[int, ...]) -> float:
        return neumaier(values[flat[0][index] : flat[1][index]].tolist())

    def fold(ufunc: np.ufunc, column: Floats) -> Floats:
        return windows.reduce(ufunc, column)

    return _careful(values, fold, recompute, windows.counts > 0)


def window_means(windows: Windows) -> Floats:
    """The mean of each window."""
    values = windows.samples.values

    def recompute(index: tuple[int, ...]) -> float:
        return safe_mean(values[windows.first[index] : windows.last[index]].tolist())

    return _means(window_sums(windows), windows.counts.astype(float), recompute, values)


def group_sums(band: Band) -> Floats:
    """The sum of each group at each step."""

    def recompute(index: tuple[int, ...]) -> float:
        return neumaier(band.cell(*index))

    return _careful(band.or_else(0.0), band.reduce, recompute, None)


def group_means(band: Band, counts: Floats) -> Floats:
    """The mean of each group at each step."""

    def recompute(index: tuple[int, ...]) -> float:
        return safe_mean(band.cell(*index))

    return _means(group_sums(band), counts, recompute, band.values)


def _careful(
    column: Floats,
    fold: Callable[[np.ufunc, Floats], Floats],
    recompute: Callable[[tuple[int, ...]], float],
    wanted: Bools | None,
) -> Floats:
    sums = fold(np.add, column)
    sums += 0.0  # sums begin at zero: those of negative zeros are positive
    # Nothing cancels among numbers of one sign; a NaN makes this comparison false and the long way is taken.
    if not len(column) or (column.min() >= 0.0 and np.isfinite(sums).all()):
        return sums
    finite = np.isfinite(column)
    magnitudes = fold(np.add, np.where(finite, np.abs(column), 0.0))
    poisoned = np.zeros(sums.shape, bool) if finite.all() else fold(np.add, (~finite).astype(float)) > 0
    if magnitudes.max(initial=0.0) < EXACT and (np.trunc(column) == column)[finite].all():
        return sums
    lost = ~poisoned & ((np.abs(sums) < CANCELLATION * magnitudes) | ~np.isfinite(sums))
    if wanted is not None:
        lost &= wanted
    for index in zip(*np.nonzero(lost), strict=True):
        sums[index] = recompute(index)
    return sums


def _means(sums: Floats, counts: Floats, recompute: Callable[[tuple[int, ...]], float], column: Floats) -> Floats:
    means = sums / np.maximum(counts, 1)
    # An infinite sum of finite numbers is an overflow; with an infinity among the terms it is the answer.
    if np.isinf(sums).any() and not np.isinf(column).all():
        for index in zip(*np.nonzero(np.isinf(sums)), strict=True):
            mean = recompute(index)
            if math.isfinite(mean):
                means[index] = mean
    return means
