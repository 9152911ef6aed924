"""The only view of the store for everybody else: Intake to write, MetricReader to read (LogReader: log_interface.py).

The embedded store implements all of them; a remote back end the readers. The engines do not know which.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.records import Record
from obskit.model.samples import MetricMeta, Sample


class Layout:
    """Whose samples a batch holds, in which order: made once by a source whose batches look alike, and kept by it.

    The store looks the series of a Layout up once. Its `labels` are never changed.
    """

    def __init__(self, labels: list[Labels]) -> None:
        self.labels = labels


@dataclass(slots=True)
class Samples:
    """Samples as three columns of one length: the form in which they are appended.

    Reuse Labels objects between batches: the store finds a series it knows by identity first. Better still, reuse a
    `layout`: it promises that `labels` is the list of that layout, so that they need not be looked at again.
    `histograms` and `starts_ms` (start timestamps) hold what few samples have, by position; the value beside a
    histogram is NaN.
    """

    labels: list[Labels] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    layout: Layout | None = None
    histograms: dict[int, NativeHistogram] = field(default_factory=dict)
    starts_ms: dict[int, int] = field(default_factory=dict)

    @classmethod
    def laid_out(cls, layout: Layout, times_ms: list[int], values: list[float]) -> Self:
        """A batch of a layout. Nothing may be added to it."""
        return cls(layout.labels, times_ms, values, layout)

    def open(self) -> Self:
        """The same samples without their layout, to which others may be added."""
        return replace(self, labels=self.labels.copy(), layout=None)

    def add(self, labels: Labels, t_ms: int, value: float) -> None:
        """Append one sample; not to a batch that has a layout."""
        self.labels.append(labels)
        self.times_ms.append(t_ms)
        self.values.append(value)

    def add_sample(self, sample: Sample) -> None:
        """Append one sample with whatever else it has."""
        if sample.histogram is not None:
            self.histograms[len(self)] = sample.histogram
        if sample.start_ms:
            self.starts_ms[len(self)] = sample.start_ms
        self.add(sample.labels, sample.t_ms, sample.value)

    def add_histogram(self, labels: Labels, t_ms: int, histogram: NativeHistogram) -> None:
        """Append a histogram."""
        self.histograms[len(self)] = histogram
        self.add(labels, t_ms, math.nan)

    def extend(self, more: Samples) -> None:
        """Append all of the others."""
        begin = len(self)
        self.histograms.update((begin + at, histogram) for at, histogram in more.histograms.items())
        self.starts_ms.update((begin + at, start_ms) for at, start_ms in more.starts_ms.items())
        self.labels += more.labels
        self.times_ms += more.times_ms
        self.values += more.values

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Self:
        """The columns of some samples."""
        columns = cls()
        for sample in samples:
            columns.add_sample(sample)
        return columns

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Sample]:
        rows = enumerate(zip(self.labels, self.times_ms, self.values, strict=True))
        return (Sample(*row, self.histograms.get(at), self.starts_ms.get(at, 0)) for at, row in rows)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a collector has read: `value` is its own text (JSON), `owner` its name and target."""

    owner: str
    value: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What is appended in one transaction: samples, records, what is known of the metrics, and the cursor behind it.

    Sources of many records hand over a Records, others any sequence of Record.
    """

    samples: Samples = field(default_factory=Samples)
    records: Sequence[Record] = ()
    metadata: Mapping[str, MetricMeta] = field(default_factory=dict)
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Touched:
    """What an append touched: it wakes the rules whose selectors may match. `newest_ms` is its newest time.

    `records` are those of the append as they were stored (within their limits), in order of time.
    """

    metrics: frozenset[str]
    streams: frozenset[Labels]
    newest_ms: int
    records: Sequence[Record] = ()


@dataclass(slots=True)
class Refused:
    """The samples of a batch that can never be stored: how many by reason, and one of the series of each.

    Reasons: out_of_order, duplicate (another value for a time that has one), too_old, future, label_limit,
    series_limit, target_limit. `histograms` says how many of all of them are histograms.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Labels] = field(default_factory=dict)
    histograms: int = 0

    def add(self, reason: str, count: int, example: Labels) -> None:
        """Note more of them."""
        self.counts[reason] += count
        self.examples.setdefault(reason, example)

    def __len__(self) -> int:
        return self.counts.total()


class Intake(Protocol):
    """Where collectors and receivers put what they found."""

    async def append(self, batch: Batch) -> Refused:
        """Store the batch and its cursor in one transaction; returning is the acknowledgement of all but the refused.

        Raises StoreFull when there is no room: nothing of the batch was kept, come back later with the same batch.
        """
        ...

    async def cursor(self, owner: str) -> str | None:
        """The value last stored for this owner, or None at its first start."""
        ...


@dataclass(frozen=True, slots=True)
class SeriesWindow:
    """Some series over a time range, as one flat block: series `i` owns rows `starts[i]:starts[i + 1]`.

    `times_ms` ascends within a series. Stale markers are among the values (by their bits). A series without a sample
    in the range is left out. The order of series is stable: the order in which the store first saw them.

    `histograms` is a column of NativeHistogram, None where the sample is a float; the value beside a histogram is NaN.
    `start_ms` are start timestamps, 0 where unknown. Both columns are None when there is nothing in them.
    """

    labels: Sequence[Labels]
    starts: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    histograms: NDArray[np.object_] | None = None
    start_ms: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)


class MetricReader(Protocol):
    """Reads samples. Synchronous: called from a worker thread or with little to read."""

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> SeriesWindow:
        """Samples with `start_ms < t <= end_ms` of every series that satisfies all matchers."""
        ...

    def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The series that `select` would return, without their samples."""
        ...

    def metadata(self) -> Mapping[str, MetricMeta]:
        """What is known of each metric family, by name."""
        ...


@dataclass(frozen=True, slots=True)
class Edges:
    """What is at the edges of a window, one row per series: all that rate, increase, delta, irate and last need.

    `labels` is the same object while the same series answer (plans may be keyed by its identity). `count` is the number
    of samples (stale markers are none); `first` and `last` are the outermost samples of the window, `previous` the one
    before the last (equal to `last` where count is 1). `resets` is the sum that counter resets add to `last - first`:
    each reset, a value less than the one before it, adds that one.
    """

    labels: Sequence[Labels]
    count: NDArray[np.int64]
    first_ms: NDArray[np.int64]
    first: NDArray[np.float64]
    previous_ms: NDArray[np.int64]
    previous: NDArray[np.float64]
    last_ms: NDArray[np.int64]
    last: NDArray[np.float64]
    resets: NDArray[np.float64]


class EdgeReader(Protocol):
    """Reads the edges of windows, from memory alone and at a cost that does not grow with the window. Synchronous."""

    def edges(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Edges | None:
        """The edges of `start_ms < t <= end_ms` for the series that have a sample there.

        None when the window reaches behind memory, or when there is more to these series than floats (histograms,
        start timestamps): use `select`.
        """
        ...

    def newest(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int
    ) -> tuple[Sequence[Labels], NDArray[np.int64], NDArray[np.float64]] | None:
        """The newest sample of each series in the window: labels, times and values.

        Series whose newest is a stale marker are left out. None as above.
        """
        ...
