"""MemoryMetrics: a MetricReader and EdgeReader over arrays in memory, for tests and benchmarks of what evaluates queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, match_all
from obskit.model.samples import STALE_NAN_BITS, MetricMeta, Sample
from obskit.store.interface import Edges, SeriesWindow


class MemoryMetrics:
    """Samples by series, in the order in which the series came. A later sample of the same time replaces the older."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._series: dict[Labels, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._metadata: dict[str, MetricMeta] = {}
        self._found: dict[tuple[Matcher, ...], SeriesWindow] = {}
        self._some: dict[tuple[int, bytes], tuple[Sequence[Labels], Sequence[Labels]]] = {}
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
        self._some.clear()

    def describe(self, metadata: Mapping[str, MetricMeta]) -> None:
        """Say what metric families are."""
        self._metadata.update(metadata)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> SeriesWindow:
        """Samples with `start_ms < t <= end_ms` of every series that satisfies all matchers."""
        return self._selected(matchers, start_ms, end_ms, stale=True)

    def edges(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Edges | None:
        """The edges of `start_ms < t <= end_ms` for the series that have a sample there."""
        window = self._selected(matchers, start_ms, end_ms, stale=False)
        first, last = window.starts[:-1], window.starts[1:] - 1
        before, times, values = np.maximum(last - 1, first), window.times_ms, window.values
        fell = np.zeros(len(values))
        fell[1:] = np.where(values[1:] < values[:-1], values[:-1], 0.0)
        fell[first] = 0.0
        resets = np.add.reduceat(fell, first) if len(first) else np.zeros(0)
        return Edges(
            labels=window.labels,
            count=last + 1 - first,
            first_ms=times[first],
            first=values[first],
            previous_ms=times[before],
            previous=values[before],
            last_ms=times[last],
            last=values[last],
            resets=resets,
        )

    def newest(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int
    ) -> tuple[Sequence[Labels], NDArray[np.int64], NDArray[np.float64]] | None:
        """The newest sample of each series in the window, of those that have not ended."""
        window = self.select(matchers, start_ms, end_ms)
        last = window.starts[1:] - 1
        going_on = window.values.view(np.int64)[last] != STALE_NAN_BITS
        labels = self._labels(window.labels, going_on)
        return labels, window.times_ms[last[going_on]], window.values[last[going_on]]

    def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The series that `select` would return, without their samples."""
        return list(self.select(matchers, start_ms, end_ms).labels)

    def metadata(self) -> Mapping[str, MetricMeta]:
        """What is known of each metric family, by name."""
        return self._metadata

    def _selected(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int, *, stale: bool) -> SeriesWindow:
        whole = self._all(tuple(matchers))
        inside = (whole.times_ms > start_ms) & (whole.times_ms <= end_ms)
        if not stale:
            inside &= whole.values.view(np.int64) != STALE_NAN_BITS
        if inside.all():
            return whole
        kept = np.concatenate(([0], np.cumsum(inside)))[whole.starts]
        rows = np.diff(kept) > 0
        starts = np.append(kept[:-1][rows], kept[-1])
        return SeriesWindow(self._labels(whole.labels, rows), starts, whole.times_ms[inside], whole.values[inside])

    def _labels(self, labels: Sequence[Labels], rows: NDArray[np.bool_]) -> Sequence[Labels]:
        """Some of the labels; the same object for the same ones, until something is added."""
        if rows.all():
            return labels
        key = id(labels), rows.tobytes()
        if key not in self._some:
            self._some[key] = labels, [one for one, kept in zip(labels, rows.tolist(), strict=True) if kept]
        return self._some[key][1]

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
