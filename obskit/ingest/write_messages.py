"""One series of a remote write request, field by field: whatever columns cannot show.

The messages of 1.0 and 2.0 differ in their numbers and in how they name labels; what is in them is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from sys import intern
from typing import Final

from obskit.ingest.protobuf import BYTES, FIXED64, VARINT, MalformedError, Reader, signed
from obskit.ingest.wire_histograms import WireHistogram, read_histogram
from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricType

_TYPES: Final = (
    MetricType.UNTYPED,
    MetricType.COUNTER,
    MetricType.GAUGE,
    MetricType.HISTOGRAM,
    MetricType.HISTOGRAM,
    MetricType.SUMMARY,
    MetricType.GAUGE,
    MetricType.GAUGE,
)
"""By number: unknown, counter, gauge, histogram, gauge histogram, summary, info, state set."""


class InvalidLabelsError(ValueError):
    """Labels that no series has. The text is Prometheus' where it has one."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The field numbers of a TimeSeries message."""

    labels: int
    samples: int
    exemplars: int
    histograms: int
    metadata: int = 0
    created: int = 0


@dataclass(slots=True)
class SeriesMessage:
    """What one message holds. `samples` are (time, value, start) and times Unix milliseconds, a start of 0 unknown."""

    labels: list[tuple[int, int]] = field(default_factory=list)
    """Where each label, or each list of references, lies."""
    samples: list[tuple[int, float, int]] = field(default_factory=list)
    histograms: list[WireHistogram] = field(default_factory=list)
    bad_histograms: list[str] = field(default_factory=list)
    exemplars: int = 0
    metadata: tuple[int, int] | None = None

    @property
    def items(self) -> int:
        """Samples of all kinds."""
        return len(self.samples) + len(self.histograms) + len(self.bad_histograms)


def read_series(reader: Reader, start: int, end: int, numbers: Numbers) -> SeriesMessage:
    """The message between two positions."""
    found = SeriesMessage()
    created = 0
    for number, kind, low, high in reader.fields(start, end):
        if number == numbers.created and kind == VARINT:
            created = signed(low)
        elif kind != BYTES:
            continue
        elif number == numbers.labels:
            found.labels.append((low, high))
        elif number == numbers.samples:
            found.samples.append(_read_sample(reader, low, high))
        elif number == numbers.histograms:
            try:
                found.histograms.append(read_histogram(reader, low, high))
            except MalformedError as error:
                found.bad_histograms.append(str(error))
        elif number == numbers.exemplars:
            found.exemplars += 1
        elif number == numbers.metadata:
            found.metadata = low, high
    if created:
        found.samples = [(t_ms, value, start_ms or created) for t_ms, value, start_ms in found.samples]
        found.histograms = [WireHistogram(h.t_ms, h.start_ms or created, h.histogram) for h in found.histograms]
    return found


def _read_sample(reader: Reader, start: int, end: int) -> tuple[int, float, int]:
    value, t_ms, start_ms = 0.0, 0, 0
    for number, kind, low, _ in reader.fields(start, end):
        if number == 1 and kind == FIXED64:
            value = reader.double(low)
        elif number == 2 and kind == VARINT:
            t_ms = signed(low)
        elif number == 3 and kind == VARINT:
            start_ms = signed(low)
        elif number <= 3:
            raise MalformedError(f"sample: field {number} is of wire type {kind}")
    return t_ms, value, start_ms


def read_label(reader: Reader, start: int, end: int) -> tuple[str, str]:
    """A Label message of 1.0."""
    name = value = ""
    for number, kind, low, high in reader.fields(start, end):
        if kind != BYTES:
            raise MalformedError(f"label: field {number} is of wire type {kind}")
        if number == 1:
            name = reader.text(low, high)
        elif number == 2:
            value = reader.text(low, high)
    return name, value


def labels_of(pairs: Iterable[tuple[str, str]]) -> Labels:
    """The Labels of pairs in any order. InvalidLabelsError when they are those of no series."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if not name:
            raise InvalidLabelsError("invalid metric name or labels: a label has no name")
        if name in found:
            raise InvalidLabelsError(f"invalid labels for series: duplicated label {name[:80]!r}")
        found[intern(name)] = intern(value)
    if not found.get(NAME):
        raise InvalidLabelsError("invalid metric name or labels: no metric name")
    return Labels(found)


def metric_type(number: int) -> MetricType:
    """What both versions write as a number."""
    return _TYPES[number] if number < len(_TYPES) else MetricType.UNTYPED
