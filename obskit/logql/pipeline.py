"""Records through the stages of a query: to log lines, or to samples by series.

The cheap question comes first: line filters at the head of a query are asked of the bare line, before anything is built
for it, and the texts they need are handed to the reader, which may leave out whole blocks.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.logql.entries import EXTRACTED, Entry, own_labels
from obskit.logql.filters import LinePredicate, all_of, condition_step, labels_asked, line_predicate, needles, number
from obskit.logql.nodes import ERROR_LABEL, Grouping, LineFilter, LogQuery, Stage, Unwrap
from obskit.logql.stages import LINE_CHANGERS, Wanted, labels_read, steps
from obskit.logql.units import byte_size, go_duration_ns
from obskit.model.labels import Labels
from obskit.model.records import Record

UNWRAP_ERROR: Final = "SampleExtractionErr"
_CONVERSIONS: Final[dict[str, Callable[[str], float]]] = {
    "": number,
    "bytes": byte_size,
    "duration": lambda text: go_duration_ns(text) / 1e9,
    "duration_seconds": lambda text: go_duration_ns(text) / 1e9,
}


class Pipeline:
    """The stages of one query, ready to run. `wanted` are the parsed labels that somebody looks at; None is all."""

    def __init__(self, query: LogQuery, *, wanted: Wanted = None) -> None:
        head = [stage for stage in takewhile(_is_line_filter, query.stages) if isinstance(stage, LineFilter)]
        predicates = [line_predicate(stage) for stage in head]
        self.accepts: LinePredicate | None = all_of(predicates) if predicates else None
        self.steps = steps(query.stages[len(head) :], wanted)
        self.containing = _needles(query.stages)

    def entries(self, records: Iterable[Record]) -> Iterator[Entry]:
        """The lines that pass, with their labels."""
        accepts, all_steps = self.accepts, self.steps
        for record in records:
            if accepts is not None and not accepts(record.line):
                continue
            labels, own = own_labels(record.stream, record.metadata)
            entry = Entry(record.t_ns, record.line, labels, own)
            for step in all_steps:
                if not step(entry):
                    break
            else:
                yield entry


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
    def wanted(self) -> Wanted:
        """The labels that somebody looks at. If they are none, bad lines cannot harm the query: nothing is parsed."""
        if self.grouping is None or self.grouping.without:
            return None
        unwrapped: frozenset[str] = frozenset()
        if self.unwrap is not None:
            unwrapped = frozenset({self.unwrap.label}).union(*map(labels_asked, self.unwrap.filters))
        return frozenset(self.grouping.labels) | labels_read(self.query.stages) | unwrapped


@dataclass(frozen=True, slots=True)
class SampleSeries:
    """The samples of one series, in order of time (Unix nanoseconds)."""

    labels: Labels
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]


class _Columns:
    """Samples of a series while they are gathered: 16 bytes each, where lists would take five times that."""

    __slots__ = ("times", "values")

    def __init__(self) -> None:
        self.times = array("q")
        self.values = array("d")


def read_samples(extraction: Extraction, pipeline: Pipeline, records: Iterable[Record]) -> list[SampleSeries]:
    """The samples that the records give, by series, sorted by labels. `pipeline` is the extraction's."""
    if pipeline.steps or extraction.unwrap is not None:
        gathered = _through_steps(extraction, pipeline, records)
    else:
        gathered = _of_bare_lines(extraction, pipeline.accepts, records)
    return [_series(labels, parts) for labels, parts in sorted(gathered.items(), key=lambda item: item[0])]


def _of_bare_lines(
    extraction: Extraction, accepts: LinePredicate | None, records: Iterable[Record]
) -> dict[Labels, list[_Columns]]:
    """The short way where no stage looks at labels: one bucket per stream and metadata, grouped afterwards."""
    buckets: dict[object, _Columns] = {}
    sources: dict[object, Record] = {}
    counting = extraction.value == "lines"
    metadata_key = _metadata_key(extraction)
    for record in records:
        if accepts is not None and not accepts(record.line):
            continue
        key: object = (record.stream, metadata_key(record.metadata)) if record.metadata else record.stream
        columns = buckets.get(key)
        if columns is None:
            columns = buckets[key] = _Columns()
            sources[key] = record
        columns.times.append(record.t_ns)
        if not counting:
            columns.values.append(_length(record.line))
    series_of = _series_labels(extraction)
    gathered: dict[Labels, list[_Columns]] = {}
    for key, columns in buckets.items():
        labels, _ = own_labels(sources[key].stream, sources[key].metadata)
        gathered.setdefault(series_of(labels), []).append(columns)
    return gathered


def _through_steps(
    extraction: Extraction, pipeline: Pipeline, records: Iterable[Record]
) -> dict[Labels, list[_Columns]]:
    value_of = _value_of(extraction)
    series_of, key_of = _series_labels(extraction), _series_key(extraction)
    known: dict[object, _Columns] = {}
    gathered: dict[Labels, list[_Columns]] = {}
    for entry in pipeline.entries(records):
        value = value_of(entry)
        if value is None:
            continue
        key = key_of(entry.labels)
        columns = known.get(key)
        if columns is None:
            columns = known[key] = gathered.setdefault(series_of(entry.labels), [_Columns()])[0]
        columns.times.append(entry.t_ns)
        columns.values.append(value)
    return gathered


def _series(labels: Labels, parts: list[_Columns]) -> SampleSeries:
    times = np.concatenate([np.frombuffer(part.times, dtype=np.int64) for part in parts])
    values = np.concatenate([np.frombuffer(part.values, dtype=np.float64) for part in parts])
    if not len(values):
        values = np.ones(len(times))  # lines that are only counted
    if len(parts) > 1:
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    return SampleSeries(labels, times, values)


def _series_labels(extraction: Extraction) -> Callable[[dict[str, str]], Labels]:
    """From the labels of a line to those of its series. A line with an error keeps them all, to be reported."""
    grouping = extraction.grouping
    names = grouping.labels if grouping else ()

    def series_labels(labels: dict[str, str]) -> Labels:
        if grouping is None or ERROR_LABEL in labels:
            return Labels(labels)
        if grouping.without:
            return Labels({name: value for name, value in labels.items() if name not in names})
        return Labels({name: labels[name] for name in names if name in labels})

    return series_labels


def _series_key(extraction: Extraction) -> Callable[[dict[str, str]], object]:
    """What lines of one series have in common: cheaper to make than Labels, and bounded where `by` is."""
    grouping = extraction.grouping
    if grouping is None or grouping.without:
        return lambda labels: tuple(labels.items())
    names = grouping.labels

    def key(labels: dict[str, str]) -> object:
        return tuple(labels.items()) if ERROR_LABEL in labels else tuple([labels.get(name) for name in names])

    return key


def _metadata_key(extraction: Extraction) -> Callable[[Mapping[str, str]], object]:
    """What of a line's metadata its series depends on: with `by`, not the trace id that every line has for itself."""
    if extraction.wanted is None:
        return lambda metadata: tuple(metadata.items())
    names = sorted(extraction.wanted | {name.removesuffix(EXTRACTED) for name in extraction.wanted})
    return lambda metadata: tuple([metadata.get(name) for name in names])


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


def _is_line_filter(stage: Stage) -> bool:
    return isinstance(stage, LineFilter)


def _needles(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Texts that the stored line must contain: those of filters before anything changes the line."""
    unchanged = takewhile(lambda stage: not isinstance(stage, LINE_CHANGERS), stages)
    return tuple(dict.fromkeys(text for stage in unchanged if isinstance(stage, LineFilter) for text in needles(stage)))
