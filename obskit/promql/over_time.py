"""The *_over_time family and the regressions: each window of samples folded to one number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from obskit.promql.blocks import Block, Floats
from obskit.promql.labelsets import Ints
from obskit.promql.sums import window_means, window_sums
from obskit.promql.windows import Segments, Windows


def _any_sample(windows: Windows, values: Floats) -> Block:
    return windows.block(values, windows.counts > 0)


def sum_over_time(windows: Windows) -> Block:
    """The sum."""
    return _any_sample(windows, window_sums(windows))


def avg_over_time(windows: Windows) -> Block:
    """The mean."""
    return _any_sample(windows, window_means(windows))


def min_over_time(windows: Windows) -> Block:
    """The smallest number; NaN only when there is nothing else."""
    return _any_sample(windows, windows.reduce(np.fmin, windows.samples.values))


def max_over_time(windows: Windows) -> Block:
    """The largest number; NaN only when there is nothing else."""
    return _any_sample(windows, windows.reduce(np.fmax, windows.samples.values))


def count_over_time(windows: Windows) -> Block:
    """How many samples."""
    return _any_sample(windows, windows.counts.astype(float))


def present_over_time(windows: Windows) -> Block:
    """1 where there is a sample."""
    return _any_sample(windows, np.ones(windows.first.shape))


def last_over_time(windows: Windows) -> Block:
    """The newest value."""
    return _any_sample(windows, windows.nth(windows.samples.values, windows.last - 1))


def first_over_time(windows: Windows) -> Block:
    """The oldest value."""
    return _any_sample(windows, windows.nth(windows.samples.values, windows.first))


def ts_of_last_over_time(windows: Windows) -> Block:
    """When the newest sample was, in seconds."""
    return _any_sample(windows, windows.nth(windows.samples.times_ms, windows.last - 1) / 1000)


def ts_of_first_over_time(windows: Windows) -> Block:
    """When the oldest sample was, in seconds."""
    return _any_sample(windows, windows.nth(windows.samples.times_ms, windows.first) / 1000)


def ts_of_min_over_time(windows: Windows) -> Block:
    """When the smallest value was last seen, in seconds."""
    return _ts_of(windows, np.fmin)


def ts_of_max_over_time(windows: Windows) -> Block:
    """When the largest value was last seen, in seconds."""
    return _ts_of(windows, np.fmax)


def _ts_of(windows: Windows, extreme: np.ufunc) -> Block:
    def fold(segments: Segments) -> Floats:
        best = segments.spread(extreme.reduceat(segments.values, segments.starts))
        found = (segments.values == best) | np.isnan(best)
        times = np.where(found, segments.times_ms, np.iinfo(np.int64).min)
        newest: Floats = np.maximum.reduceat(times, segments.starts) / 1000
        return newest

    return _any_sample(windows, windows.fold_segments(fold))


def stddev_over_time(windows: Windows) -> Block:
    """Population standard deviation."""
    return _any_sample(windows, np.sqrt(windows.fold_segments(_variance, timeless=True)))


def stdvar_over_time(windows: Windows) -> Block:
    """Population variance."""
    return _any_sample(windows, windows.fold_segments(_variance, timeless=True))


def _variance(segments: Segments) -> Floats:
    means = segments.sum(segments.values) / segments.counts
    apart = segments.values - segments.spread(means)
    # The mean is rounded: what its error adds to the squares is taken out again (two-pass algorithm).
    drift = segments.sum(apart) / segments.counts
    return segments.sum(apart * apart) / segments.counts - drift * drift


def quantile_over_time(windows: Windows, q: Floats) -> Block:
    """The q-quantile of each window; `q` has a value per step."""
    constant = bool((q == q[:1]).all())
    quantiles = windows.fold_segments(lambda segments: _quantiles(segments, q[segments.steps]), timeless=constant)
    return _any_sample(windows, quantiles)


def mad_over_time(windows: Windows) -> Block:
    """Median of the absolute distances from the median."""

    def fold(segments: Segments) -> Floats:
        half = np.full(len(segments.counts), 0.5)
        medians = segments.spread(_quantiles(segments, half))
        apart = Segments(
            np.abs(segments.values - medians),
            segments.times_ms,
            segments.starts,
            segments.counts,
            segments.at_ms,
            segments.steps,
        )
        poisoned = np.logical_or.reduceat(np.isnan(segments.values), segments.starts)
        return np.where(poisoned, np.nan, _quantiles(apart, half))

    return _any_sample(windows, windows.fold_segments(fold, timeless=True))


def _quantiles(segments: Segments, q: Floats) -> Floats:
    """One quantile per segment: linear between neighbours, NaN counting as the smallest."""
    width, windows = int(segments.counts.max()), len(segments.counts)
    nan = np.isnan(segments.values)
    if nan.any():  # smaller than -Inf even
        order = np.lexsort((segments.values, ~nan, segments.owners))
        return interpolate(segments.values[order], segments.starts, segments.counts, q)
    if width * windows > 2 * len(segments.values):
        order = np.lexsort((segments.values, segments.owners))
        return interpolate(segments.values[order], segments.starts, segments.counts, q)
    # Windows of about one size, as usual: a table is sorted ten times as fast.
    table = np.full((windows, width), np.inf)
    table[np.arange(width) < segments.counts[:, None]] = segments.values
    table.sort(axis=1)
    return interpolate(table.reshape(-1), np.arange(windows) * width, segments.counts, q)


def interpolate(ordered: Floats, starts: Ints, counts: Ints, q: Floats) -> Floats:
    """The q-quantile of sorted stretches of a column (promql/quantile.go, quantile)."""
    rank = np.where((q >= 0) & (q <= 1), q, 0.0) * (counts - 1)
    lower = np.clip(np.floor(rank).astype(np.int64), 0, counts - 1)
    upper = np.minimum(lower + 1, counts - 1)
    weight = rank - np.floor(rank)
    result = ordered[starts + lower] * (1 - weight) + ordered[starts + upper] * weight
    return np.where(np.isnan(q), np.nan, np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result)))


def deriv(windows: Windows) -> Block:
    """Least-squares slope per second."""
    return windows.block(windows.fold_segments(lambda segments: _line(segments)[0]), windows.counts >= 2)


def predict_linear(windows: Windows, seconds: Floats) -> Block:
    """What a straight line through the samples reaches `seconds` after the evaluation time."""

    def fold(segments: Segments) -> Floats:
        slope, now = _line(segments)
        return slope * seconds[segments.steps] + now

    return windows.block(windows.fold_segments(fold), windows.counts >= 2)


def _line(segments: Segments) -> tuple[Floats, Floats]:
    """Least squares: slope per second and value at the evaluation time, per window."""
    values, counts = segments.values, segments.counts
    x = (segments.times_ms - segments.spread(segments.at_ms)) / 1000
    mean_x, mean_y = segments.sum(x) / counts, segments.sum(values) / counts
    apart_x, apart_y = x - segments.spread(mean_x), values - segments.spread(mean_y)
    slope = segments.sum(apart_x * apart_y) / segments.sum(apart_x * apart_x)
    first = values[segments.starts]
    flat = np.logical_and.reduceat(values == segments.spread(first), segments.starts)
    slope = np.where(flat, np.where(np.isinf(first), np.nan, 0.0), slope)
    now = np.where(flat, np.where(np.isinf(first), np.nan, first), mean_y - slope * mean_x)
    return slope, now


def double_exponential_smoothing(windows: Windows, smoothing: Floats, trend: Floats) -> Block:
    """Level after smoothing with a trend; factors per step, each within (0, 1)."""

    def fold(segments: Segments) -> Floats:
        pieces = np.split(segments.values, segments.starts[1:])
        factors = zip(pieces, smoothing[segments.steps].tolist(), trend[segments.steps].tolist(), strict=True)
        return np.array([_smooth(piece.tolist(), sf, tf) for piece, sf, tf in factors])

    return windows.block(windows.fold_segments(fold), windows.counts >= 2)


def _smooth(values: list[float], smoothing: float, trend_factor: float) -> float:
    if len(values) < 2:
        return float("nan")
    previous, level, trend = 0.0, values[0], values[1] - values[0]
    for position, value in enumerate(values[1:], 1):
        if position > 1:
            trend = trend_factor * (level - previous) + (1 - trend_factor) * trend
        previous, level = level, smoothing * value + (1 - smoothing) * (level + trend)
    return level


FOLDS: dict[str, Callable[[Windows], Block]] = {
    fold.__name__: fold
    for fold in (
        sum_over_time,
        avg_over_time,
        min_over_time,
        max_over_time,
        count_over_time,
        present_over_time,
        last_over_time,
        first_over_time,
        ts_of_last_over_time,
        ts_of_first_over_time,
        ts_of_min_over_time,
        ts_of_max_over_time,
        stddev_over_time,
        stdvar_over_time,
        mad_over_time,
        deriv,
    )
}
"""The functions that take a range and nothing else."""
