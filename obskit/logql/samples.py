"""Lines to samples by series: 1 for each line, its length, or what is unwrapped from it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.errors import QueryError
from obskit.logql.entries import ERRORS, EXTRACTED, Entry, own_labels
from obskit.logql.filters import all_of, condition_step, labels_asked, line_predicate
from obskit.logql.log_nodes import ERROR_LABEL, FormatStage, LabelFilter, LineFilter, LineFormatStage, LogQuery
from obskit.logql.metric_nodes import Grouping, Unwrap
from obskit.logql.pipeline import Pipeline
from obskit.logql.scan import Indices
from obskit.logql.stages import Demands, Wanted, labels_read, steps
from obskit.logql.units import byte_size, go_duration_ns, go_float
from obskit.model.labels import Labels
from obskit.store.log_interface import MINUTE_NS, LogBlock, MinuteCounts

_MOST_SERIES: Final = 100_000
"""Before anything is aggregated: a label with an id in it would fill the memory."""
UNWRAP_ERROR: Final = "SampleExtractionErr"
_KNOWN: Final = 2_000
_CONVERSIONS: Final[dict[str, Callable[[str], float]]] = {
    "": go_float,
    "bytes": byte_size,
    "duration": lambda text: go_duration_ns(text) / 1e9,
    "duration_seconds": lambda text: go_duration_ns(text) / 1e9,
}


@dataclass(frozen=True, slots=True)
class Extraction:
    """What becomes a sample: 1 per line (`lines`), its length (`bytes`) or a label's value (`unwrap`), and its series.

    Without a grouping a series has all labels of the line; with one, those it leaves.
    """

    query: LogQuery
    value: str
    unwrap: Unwrap | None = None
    grouping: Grouping | None = None

    @property
    def tells_time(self) -> bool:
        """Whether a sample may depend on when it is asked for: a template may say `now`."""
        return any(
            "now" in str(stage) for stage in self.query.stages if isinstance(stage, LineFormatStage | FormatStage)
        )

    @property
    def wanted(self) -> Wanted:
        """The labels that somebody looks at. If they are none, bad lines cannot harm the query: nothing is parsed."""
        read = labels_read(self.query.stages)
        if self.grouping is None or self.grouping.without or read is None:
            return None
        unwrapped: frozenset[str] = frozenset()
        if self.unwrap is not None:
            unwrapped = frozenset({self.unwrap.label}).union(*map(labels_asked, self.unwrap.filters))
        return frozenset(self.grouping.labels) | read | unwrapped

    def demands(self, now_ns: int) -> Demands:
        """What this wants of the stages. A query that filters by error wants to see samples with an error."""
        asked = [labels_asked(stage.condition) for stage in self.query.stages if isinstance(stage, LabelFilter)]
        if self.unwrap is not None:
            asked += map(labels_asked, self.unwrap.filters)
        return Demands(self.wanted, any(ERROR_LABEL in names for names in asked), now_ns)


@dataclass(frozen=True, slots=True)
class SampleSeries:
    """The samples of one series, in order of time (Unix nanoseconds). `fractional` says that values may be any number."""

    labels: Labels
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    fractional: bool = False


class Sampler:
    """What an extraction makes of single lines, for somebody who keeps the samples as lines come.

    `bare` says that no stage looks at labels: then each line that `accepts` lets through (None: each one) is a sample
    of value `length`, or 1 where `counting`; otherwise `sample` has to be asked. What templates call now is the
    beginning of time: see `tells_time`.
    """

    def __init__(self, extraction: Extraction) -> None:
        stages = extraction.query.stages
        head = list(takewhile(lambda one: isinstance(one, LineFilter), stages))
        predicates = [line_predicate(stage) for stage in head if isinstance(stage, LineFilter)]
        self.accepts = all_of(predicates) if predicates else None
        self.counting = extraction.unwrap is None and extraction.value == "lines"
        self.length = _length
        self._steps = steps(stages[len(head) :], extraction.demands(0))
        self.bare = not self._steps and extraction.unwrap is None
        self._wanted = extraction.wanted
        self._told_by = {name.removesuffix(EXTRACTED) for name in self._wanted or ()} | (self._wanted or set())
        self._value_of = _value_of(extraction)
        self._series_of, self._key_of = _series_labels(extraction), _series_key(extraction)
        self._known: dict[object, Labels] = {}

    def metadata_key(self, metadata: Mapping[str, str]) -> object:
        """What of a line's metadata the series of a bare line depends on."""
        wanted = self._wanted
        if wanted is None:
            return tuple(metadata.items())
        if self._told_by.isdisjoint(metadata):
            return ()
        return tuple([item for item in metadata.items() if item[0] in wanted or item[0] + EXTRACTED in wanted])

    def bare_series(self, stream: Labels, metadata: Mapping[str, str]) -> Labels:
        """The series of the lines of a stream with such metadata."""
        return self._series_of(own_labels(stream, metadata)[0])

    def sample(self, stream: Labels, t_ns: int, line: str, metadata: Mapping[str, str]) -> tuple[Labels, float] | None:
        """The series and the value of a line; None when it gives no sample."""
        if self.accepts is not None and not self.accepts(line):
            return None
        entry = Entry(t_ns, line, *own_labels(stream, metadata), stream)
        for step in self._steps:
            if not step(entry):
                return None
        value = self._value_of(entry)
        if value is None:
            return None
        key = self._key_of(entry.labels)
        labels = self._known.get(key)
        if labels is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            labels = self._known[key] = self._series_of(entry.labels)
        return labels, value


class _Columns:
    """Samples of a series while they are gathered: whole arrays, or 16 bytes each."""

    __slots__ = ("parts", "times", "values")

    def __init__(self) -> None:
        self.parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self.times = array("q")
        self.values = array("d")

    def add(self, block: LogBlock, lines: list[int], values: list[float]) -> None:
        """Values of some lines of a block."""
        if len(lines) == 1:
            self.times.append(int(block.times_ns[lines[0]]))
            self.values.append(values[0])
            return
        places = np.array(lines, np.int64)
        order = np.argsort(places)
        self.times.frombytes(block.times_ns[places[order]].tobytes())
        self.values.frombytes(np.array(values, np.float64)[order].tobytes())

    def series(self, labels: Labels, *, fractional: bool) -> SampleSeries:
        """All of them, in order of time."""
        own = (np.frombuffer(self.times, dtype=np.int64), np.frombuffer(self.values, dtype=np.float64))
        parts = [*self.parts, own] if self.times else self.parts
        times = np.concatenate([times for times, _ in parts])
        values = np.concatenate([values for _, values in parts])
        if (np.diff(times) < 0).any():
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
        return SampleSeries(labels, times, values, fractional)


_Gathered = dict[Labels, _Columns]


def read_samples(extraction: Extraction, pipeline: Pipeline, blocks: Iterable[LogBlock]) -> list[SampleSeries]:
    """The samples that the blocks give, by series, sorted by labels. `pipeline` is the extraction's."""
    gathered: _Gathered = {}
    if pipeline.steps or extraction.unwrap is not None:
        _through_steps(extraction, pipeline, blocks, gathered)
    else:
        for block in blocks:
            lines = pipeline.lines(block)
            pipeline.scan.progress.lines_found += len(lines)
            _of_bare_lines(extraction, block, lines, gathered)
    return _sorted(gathered, fractional=extraction.unwrap is not None)


def samples_of_counts(extraction: Extraction, counts: Iterable[MinuteCounts]) -> list[SampleSeries] | None:
    """The samples as sums at the end of each minute; None when metadata may have a say in the series."""
    series_of = _series_labels(extraction)
    wanted = extraction.wanted or frozenset()
    gathered: _Gathered = {}
    for stream, minutes_ns, lines, sizes in counts:
        if not wanted <= stream.keys():
            return None
        values = (lines if extraction.value == "lines" else sizes).astype(np.float64)
        columns = gathered.setdefault(series_of(dict(stream)), _Columns())
        columns.parts.append((minutes_ns + MINUTE_NS, values))
    return _sorted(gathered, fractional=False)


def _sorted(gathered: _Gathered, *, fractional: bool) -> list[SampleSeries]:
    return [
        columns.series(labels, fractional=fractional)
        for labels, columns in sorted(gathered.items(), key=lambda item: item[0])
    ]


def _of_bare_lines(extraction: Extraction, block: LogBlock, lines: Indices, gathered: _Gathered) -> None:
    """The short way where no stage looks at labels: one array per stream, and per metadata where it makes a difference."""
    series_of = _series_labels(extraction)
    owners = block.stream_of[lines]
    names = _metadata_that_counts(extraction, block)
    for number in np.flatnonzero(np.bincount(owners)).tolist():
        own = lines[owners == number]
        stream = block.streams[number]
        for metadata, some in _by_metadata(block, own, names):
            labels, _ = own_labels(stream, metadata)
            _append(extraction, block, some, gathered.setdefault(series_of(labels), _Columns()))


def _metadata_that_counts(extraction: Extraction, block: LogBlock) -> frozenset[str]:
    """The metadata that the series of a line depends on: with `by`, not the trace id that every line has for itself."""
    names = frozenset(block.metadata_names)
    wanted = extraction.wanted
    if wanted is None:
        return names
    return names & (wanted | {name.removesuffix(EXTRACTED) for name in wanted})


def _by_metadata(block: LogBlock, lines: Indices, names: frozenset[str]) -> Iterable[tuple[Mapping[str, str], Indices]]:
    if not names:
        return [({}, lines)]
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for index in lines.tolist():
        metadata = block.metadata(index)
        key = tuple([(name, value) for name, value in metadata.items() if name in names])
        groups.setdefault(key, []).append(index)
    return [(dict(key), np.array(indices, np.int64)) for key, indices in groups.items()]


def _append(extraction: Extraction, block: LogBlock, lines: Indices, columns: _Columns) -> None:
    counting = extraction.value == "lines"
    values = np.ones(len(lines)) if counting else (block.ends[lines] - block.starts[lines]).astype(np.float64)
    columns.parts.append((block.times_ns[lines], values))


def _through_steps(extraction: Extraction, pipeline: Pipeline, blocks: Iterable[LogBlock], gathered: _Gathered) -> None:
    value_of = _value_of(extraction)
    series_of, key_of = _series_labels(extraction), _series_key(extraction)
    known: dict[object, _Columns] = {}
    grouped = extraction.unwrap is not None or extraction.value == "lines"
    for block in blocks:
        found: dict[_Columns, tuple[list[int], list[float]]] = {}
        for indices, entry in pipeline.groups(block) if grouped else pipeline.singles(block):
            value = value_of(entry)
            if value is None:
                continue
            key = key_of(entry.labels)
            columns = known.get(key)
            if columns is None:
                columns = known[key] = gathered.setdefault(series_of(entry.labels), _Columns())
            lines, values = found.setdefault(columns, ([], []))
            lines += indices
            values += [value] * len(indices)
        if len(gathered) > _MOST_SERIES:
            raise QueryError(f"the query makes more than {_MOST_SERIES:,} series of its lines: keep fewer labels")
        for columns, (lines, values) in found.items():
            columns.add(block, lines, values)


def _series_labels(extraction: Extraction) -> Callable[[dict[str, str]], Labels]:
    """From the labels of a line to those of its series. A line with an error keeps what says so."""
    grouping = extraction.grouping
    names = grouping.labels if grouping else ()

    def series_labels(labels: dict[str, str]) -> Labels:
        if grouping is None:
            return Labels.keeping_empty(labels)
        if grouping.without:
            return Labels.keeping_empty({name: value for name, value in labels.items() if name not in names})
        kept = (*names, *ERRORS) if ERROR_LABEL in labels else names
        return Labels.keeping_empty({name: labels[name] for name in kept if name in labels})

    return series_labels


def _series_key(extraction: Extraction) -> Callable[[dict[str, str]], object]:
    """What lines of one series have in common: cheaper to make than Labels, and bounded where `by` is."""
    grouping = extraction.grouping
    if grouping is None or grouping.without:
        return lambda labels: tuple(labels.items())
    names = grouping.labels
    with_errors = (*names, *ERRORS)

    def key(labels: dict[str, str]) -> object:
        return tuple([labels.get(name) for name in (with_errors if ERROR_LABEL in labels else names)])

    return key


def _value_of(extraction: Extraction) -> Callable[[Entry], float | None]:
    if extraction.unwrap is not None:
        return _unwrapped(extraction.unwrap)
    if extraction.value == "bytes":
        return lambda entry: _length(entry.line)
    return lambda _: 1.0


def _unwrapped(unwrap: Unwrap) -> Callable[[Entry], float | None]:
    """The label's value as a number; None where the line gives no sample. The label leaves the entry."""
    label, convert = unwrap.label, _CONVERSIONS[unwrap.conversion]
    filters = [condition_step(condition) for condition in unwrap.filters]

    def value_of(entry: Entry) -> float | None:
        text = entry.labels.get(label)
        if not text:
            return None
        value = 0.0
        try:
            value = convert(text)
        except ValueError as error:
            entry.fail(UNWRAP_ERROR, str(error))
        for keeps in filters:
            if not keeps(entry):
                return None
        entry.labels.pop(label, None)
        return value

    return value_of


def _length(line: str) -> float:
    return float(len(line) if line.isascii() else len(line.encode(errors="surrogatepass")))
