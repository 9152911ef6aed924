"""MemoryMetrics: a MetricReader and EdgeReader over arrays in memory, for tests and benchmarks of what evaluates queries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from obskit.model.histogram_arithmetic import following_hint
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, match_all
from obskit.model.samples import STALE_NAN_BITS, MetricMeta, Sample, is_stale
from obskit.promql.histogram_values import held, none_of
from obskit.store.interface import Edges, SeriesWindow


@dataclass(frozen=True, slots=True)
class _Series:
    """The columns of one series, in order of time; None where nothing of the kind is there."""

    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    histograms: NDArray[np.object_]
    start_ms: NDArray[np.int64]

    def then(self, other: _Series) -> _Series:
        """With the other's samples after these. Of equal times the last one counts."""
        times = np.concatenate([self.times_ms, other.times_ms])
        # np.unique keeps the first, so look from the back.
        _, index = np.unique(times[::-1], return_index=True)
        keep = len(times) - 1 - index
        return _Series(
            times[keep],
            np.concatenate([self.values, other.values])[keep],
            np.concatenate([self.histograms, other.histograms])[keep],
            np.concatenate([self.start_ms, other.start_ms])[keep],
        )


class MemoryMetrics:
    """Samples by series, in the order in which the series came. A later sample of the same time replaces the older."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._series: dict[Labels, _Series] = {}
        self._metadata: dict[str, MetricMeta] = {}
        self._found: dict[tuple[Matcher, ...], SeriesWindow] = {}
        self._some: dict[tuple[int, bytes], tuple[Sequence[Labels], Sequence[Labels]]] = {}
        for sample in samples:
            value = sample.value if sample.histogram is None else sample.histogram
            self.add(sample.labels, [sample.t_ms], [value], start_ms=[sample.start_ms])

    def add(
        self,
        labels: Labels,
        times_ms: ArrayLike,
        values: ArrayLike | Sequence[float | NativeHistogram],
        *,
        start_ms: ArrayLike | None = None,
    ) -> None:
        """Add samples of one series; `start_ms` are start timestamps, 0 where unknown."""
        times = np.asarray(times_ms, np.int64)
        histograms = none_of(times.shape)
        if not isinstance(values, np.ndarray):
            items: list[Any] = list(values)  # type: ignore[arg-type]  # a sequence, as it is no array
            histograms[:] = [item if isinstance(item, NativeHistogram) else None for item in items]
            values = [math.nan if isinstance(item, NativeHistogram) else item for item in items]
        starts = np.zeros_like(times) if start_ms is None else np.asarray(start_ms, np.int64)
        none = np.zeros(0, np.int64)
        known = self._series.get(labels, _Series(none, np.zeros(0), none_of((0,)), none))
        added = _Series(times, np.asarray(values, np.float64), histograms, starts)
        self._series[labels] = known.then(added)
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
        if window.histograms is not None or window.start_ms is not None:
            return None
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
        if window.histograms is not None:
            return None
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
        return SeriesWindow(
            self._labels(whole.labels, rows),
            starts,
            whole.times_ms[inside],
            whole.values[inside],
            None if whole.histograms is None else whole.histograms[inside],
            None if whole.start_ms is None else whole.start_ms[inside],
        )

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
            labels = [one for one, series in self._series.items() if len(series.times_ms) and match_all(matchers, one)]
            found = self._found[matchers] = _window(labels, [self._series[one] for one in labels])
        return found


def _window(labels: Sequence[Labels], columns: Sequence[_Series]) -> SeriesWindow:
    starts = np.cumsum([0, *(len(series.times_ms) for series in columns)])
    histograms = np.concatenate([none_of((0,)), *(_hinted(series) for series in columns)])
    start_ms = np.concatenate([np.zeros(0, np.int64), *(series.start_ms for series in columns)])
    return SeriesWindow(
        labels,
        starts,
        np.concatenate([np.zeros(0, np.int64), *(series.times_ms for series in columns)]),
        np.concatenate([np.zeros(0), *(series.values for series in columns)]),
        histograms if held(histograms).any() else None,
        start_ms if start_ms.any() else None,
    )


def _hinted(series: _Series) -> NDArray[np.object_]:
    """Histograms with what a store finds out about resets when they are appended."""
    if not held(series.histograms).any():
        return series.histograms
    found, previous = none_of(series.histograms.shape), None
    for position, histogram in enumerate(series.histograms.tolist()):
        if histogram is not None:
            found[position] = histogram.hinted(following_hint(histogram, previous))
            previous = found[position]
        elif is_stale(series.values[position]):
            previous = None
    return found
