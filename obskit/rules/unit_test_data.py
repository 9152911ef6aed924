"""What a unit test puts in, as the readers that the query engines know: small, in memory, in the order of time."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, exact_name, match_all
from obskit.model.samples import MetricMeta
from obskit.promql.histogram_values import column
from obskit.store.interface import Samples, SeriesWindow

Sampled = float | NativeHistogram
Column = tuple[list[int], list[Sampled]]


class GivenMetrics:
    """A MetricReader over what was given and what the rules have written."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[Labels, Column]] = {}
        self._has_histograms = False
        self._found: dict[tuple[Matcher, ...], tuple[list[Labels], list[Column]]] = {}
        self._some: dict[tuple[int, bytes], tuple[list[Labels], list[Labels]]] = {}

    def give(self, labels: Labels, start_ms: int, step_ms: int, values: Sequence[Sampled | None]) -> None:
        """Add a series that is not there yet: a value, or none, every `step_ms`."""
        there = [at for at, value in enumerate(values) if value is not None]
        if there:
            found = [start_ms + at * step_ms for at in there], [values[at] for at in there]
            self._has_histograms |= NativeHistogram in set(map(type, values))
            self._by_name.setdefault(labels.name, {})[labels] = found  # type: ignore[assignment]  # no None among them
            self._forget(labels.name)

    def add(self, labels: Labels, t_ms: int, value: Sampled) -> None:
        """Add a sample, also between others: a rule may write a series that was given. The later of two at a time counts."""
        self._has_histograms |= isinstance(value, NativeHistogram)
        of_name = self._by_name.setdefault(labels.name, {})
        if labels not in of_name:
            of_name[labels] = ([], [])
            self._forget(labels.name)
        times, values = of_name[labels]
        at = bisect_left(times, t_ms)
        if at < len(times) and times[at] == t_ms:
            values[at] = value
            return
        times.insert(at, t_ms)
        values.insert(at, value)

    def append(self, samples: Samples) -> None:
        """Add what a rule has written."""
        for sample in samples:
            self.add(sample.labels, sample.t_ms, sample.value if sample.histogram is None else sample.histogram)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> SeriesWindow:
        """Samples with `start_ms < t <= end_ms` of every series that satisfies all matchers."""
        series, columns = self._matching(tuple(matchers))
        times: list[int] = []
        values: list[Sampled] = []
        starts = [0]
        for all_times, all_values in columns:
            first, last = bisect_right(all_times, start_ms), bisect_right(all_times, end_ms)
            times += all_times[first:last]
            values += all_values[first:last]
            starts.append(len(times))
        there = np.diff(starts) > 0
        borders = np.array(starts, np.int64)
        if not there.all():
            borders = np.append(borders[:-1][there], borders[-1])
        numbers, histograms = _apart(values) if self._has_histograms else (values, None)
        return SeriesWindow(
            self._labels(series, there), borders, np.array(times, np.int64), np.array(numbers, np.float64), histograms
        )

    def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The series that `select` would return."""
        return list(self.select(matchers, start_ms, end_ms).labels)

    def metadata(self) -> Mapping[str, MetricMeta]:
        """Nothing is known of the metrics of a test."""
        return {}

    def _matching(self, matchers: tuple[Matcher, ...]) -> tuple[list[Labels], list[Column]]:
        """The series that satisfy all matchers, kept until there is a new one."""
        found = self._found.get(matchers)
        if found is None:
            name = exact_name(matchers)
            groups = self._by_name.values() if name is None else [self._by_name.get(name, {})]
            pairs = [pair for group in groups for pair in group.items() if match_all(matchers, pair[0])]
            found = self._found[matchers] = [labels for labels, _ in pairs], [column for _, column in pairs]
        return found

    def _labels(self, series: list[Labels], there: NDArray[np.bool_]) -> list[Labels]:
        """Some of the series; the same list for the same ones, so that what was derived from it is found again."""
        if there.all():
            return series
        key = id(series), there.tobytes()
        if key not in self._some:
            self._some[key] = series, [labels for labels, kept in zip(series, there.tolist(), strict=True) if kept]
        return self._some[key][1]

    def _forget(self, name: str) -> None:
        """A series of this metric is new."""
        gone = [matchers for matchers in self._found if exact_name(matchers) in (None, name)]
        for matchers in gone:
            del self._found[matchers]


def _apart(values: Sequence[Sampled]) -> tuple[list[float], NDArray[np.object_] | None]:
    """The numbers, NaN where there is a histogram, and the histograms if there are any."""
    numbers = [math.nan if isinstance(value, NativeHistogram) else value for value in values]
    found = [value if isinstance(value, NativeHistogram) else None for value in values]
    return numbers, column(found) if any(found) else None
