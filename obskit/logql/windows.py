"""Range aggregations: the samples of a series in the window `(t - range, t]` of every step, to one number per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from obskit.clock import NS_PER_S
from obskit.logql.samples import SampleSeries

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


class Windows:
    """The windows that end at `ends_ns`, each `range_ns` long and open to the left, over one series."""

    def __init__(self, series: SampleSeries, ends_ns: Times, range_ns: int) -> None:
        self.series = series
        self.ends_ns = ends_ns
        self.range_ns = range_ns
        self.first = np.searchsorted(series.times_ns, ends_ns - range_ns, side="right")
        self.end = np.searchsorted(series.times_ns, ends_ns, side="right")

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many samples each window holds."""
        return self.end - self.first

    @property
    def seconds(self) -> float:
        """The length of a window."""
        return self.range_ns / NS_PER_S

    def aggregate(self, op: str, parameter: float | None) -> tuple[Floats, Flags]:
        """The value of each window, and which windows have one: those with a sample."""
        present = self.counts > 0
        if op == "quantile_over_time":
            quantile = parameter if parameter is not None else 0.5
            return self.each(lambda values: _quantile(quantile, values)), present
        if op == "rate_counter":
            return self._rates_of_counter(present), present
        with np.errstate(invalid="ignore", over="ignore"):
            return _OPERATIONS[op](self), present

    def each(self, function: Callable[[Floats], float]) -> Floats:
        """A function of the values of each window that has some."""
        result = np.zeros(len(self.ends_ns))
        values = self.series.values
        for step in np.flatnonzero(self.counts):
            result[step] = function(values[self.first[step] : self.end[step]])
        return result

    def _rates_of_counter(self, present: Flags) -> Floats:
        result = np.zeros(len(self.ends_ns))
        for step in np.flatnonzero(present):
            window = slice(self.first[step], self.end[step])
            end_ns = int(self.ends_ns[step])
            result[step] = _rate_of_counter(
                self.series.times_ns[window], self.series.values[window], end_ns - self.range_ns, end_ns
            )
        return result


def _sums(windows: Windows) -> Floats:
    return windows.each(lambda values: float(values.sum()))


def _whole_sums(windows: Windows) -> Floats:
    """Sums of counts, which a running sum has without an error."""
    running = np.concatenate(([0.0], np.cumsum(windows.series.values)))
    return np.asarray(running[windows.end] - running[windows.first])


_OPERATIONS: Final[dict[str, Callable[[Windows], Floats]]] = {
    "count_over_time": _whole_sums,
    "rate": lambda windows: (_sums if windows.series.fractional else _whole_sums)(windows) / windows.seconds,
    "bytes_over_time": _whole_sums,
    "bytes_rate": lambda windows: _whole_sums(windows) / windows.seconds,
    "sum_over_time": _sums,
    "avg_over_time": lambda windows: windows.each(lambda values: float(values.mean())),
    "min_over_time": lambda windows: windows.each(lambda values: float(np.fmin.reduce(values))),
    "max_over_time": lambda windows: windows.each(lambda values: float(np.fmax.reduce(values))),
    "stddev_over_time": lambda windows: windows.each(lambda values: float(values.std())),
    "stdvar_over_time": lambda windows: windows.each(lambda values: float(values.var())),
    "first_over_time": lambda windows: windows.each(lambda values: float(values[0])),
    "last_over_time": lambda windows: windows.each(lambda values: float(values[-1])),
}


def _quantile(quantile: float, values: Floats) -> float:
    """Linear interpolation between ranks; above 1 there is only infinity."""
    if quantile > 1:
        return float("inf")
    ordered = np.sort(values)
    missing = int(np.isnan(ordered).sum())
    if missing:
        ordered = np.roll(ordered, missing)  # NaN comes first, as in Prometheus
    rank = quantile * (len(ordered) - 1)
    lower = int(rank)
    upper = min(lower + 1, len(ordered) - 1)
    weight = rank - lower
    with np.errstate(invalid="ignore"):
        return float(ordered[lower] * (1 - weight) + ordered[upper] * weight)


def _rate_of_counter(times_ns: Times, values: Floats, start_ns: int, end_ns: int) -> float:
    """Prometheus' extrapolated rate per second, counter resets taken out; one sample gives 0."""
    sampled_s = float(times_ns[-1] - times_ns[0]) / NS_PER_S
    if not sampled_s:
        return 0.0
    drops = np.flatnonzero(np.diff(values) < 0)
    increase = float(values[-1] - values[0] + values[drops].sum())
    to_start_s = float(times_ns[0] - start_ns) / NS_PER_S
    to_end_s = float(end_ns - times_ns[-1]) / NS_PER_S
    between_s = sampled_s / (len(times_ns) - 1)
    to_start_s, to_end_s = (gap_s if gap_s < between_s * 1.1 else between_s / 2 for gap_s in (to_start_s, to_end_s))
    if increase > 0 and values[0] >= 0:
        # A counter was never below 0: its zero point can only shorten what was allowed so far.
        to_start_s = min(to_start_s, sampled_s * float(values[0]) / increase)
    covered_s = sampled_s + to_start_s + to_end_s
    return increase * covered_s / sampled_s / ((end_ns - start_ns) / NS_PER_S)
