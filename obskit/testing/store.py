"""MemoryMetrics: a MetricReader over arrays in memory, for tests and benchmarks of what evaluates queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, match_all
from obskit.model.samples import MetricMeta, Sample
from obskit.store.interface import SeriesWindow


class MemoryMetrics:
    """Samples by series, in the order in which the series came. A later sample of the same time replaces the older."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._series: dict[Labels, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._metadata: dict[str, MetricMeta] = {}
        self._found: dict[tuple[Matcher, ...], SeriesWindow] = {}
        for sample in samples:
            self.add(sample.labels, [sample.t_ms], [sample.value])

    def add(self, labels: Labels, times_ms: ArrayLike, values: ArrayLike) -> None:
        """Add samples of one series."""
        times, numbers = np.asarray(times_ms, np.int64), np.asarray(values, np.float64)
        if labels in self._series:
            times = np.concatenate([self._series[labels][0], times])
            numbers = np.concatenate([self._series[labels][1], numbers])
        # Of equal times the last one counts: np.unique keeps the first, so look from the back.
        _, index = np.unique(times[::-1], return_index=True)
        keep = len(times) - 1 - index
        self._series[labels] = (times[keep], numbers[keep])
        self._found.clear()

    def describe(self, metadata: Mapping[str, MetricMeta]) -> None:
        """Say what metric families are."""
        self._metadata.update(metadata)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> SeriesWindow:
        """Samples with `start_ms < t <= end_ms` of every series that satisfies all matchers."""
        whole = self._all(tuple(matchers))
        inside = (whole.times_ms > start_ms) & (whole.times_ms <= end_ms)
        if inside.all():
            return whole
        kept = np.concatenate(([0], np.cumsum(inside)))[whole.starts]
        rows = np.flatnonzero(np.diff(kept))
        labels = whole.labels if len(rows) == len(whole.labels) else [whole.labels[row] for row in rows.tolist()]
        starts = np.append(kept[rows], kept[-1])
        return SeriesWindow(labels, starts, whole.times_ms[inside], whole.values[inside])

    def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The series that `select` would return, without their samples."""
        return list(self.select(matchers, start_ms, end_ms).labels)

    def metadata(self) -> Mapping[str, MetricMeta]:
        """What is known of each metric family, by name."""
        return self._metadata

    def _all(self, matchers: tuple[Matcher, ...]) -> SeriesWindow:
        """Every sample of the matching series, kept until something is added."""
        found = self._found.get(matchers)
        if found is None:
            labels = [one for one, (times, _) in self._series.items() if len(times) and match_all(matchers, one)]
            columns = [self._series[one] for one in labels]
            starts = np.cumsum([0, *(len(times) for times, _ in columns)])
            times = np.concatenate([np.empty(0, np.int64), *(times for times, _ in columns)])
            values = np.concatenate([np.empty(0), *(values for _, values in columns)])
            found = self._found[matchers] = SeriesWindow(labels, starts, times, values)
        return found
