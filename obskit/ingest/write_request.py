"""`prometheus.WriteRequest`, the message of remote write 1.0: labels are written out in each series."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from obskit.ingest.delivery import Delivery
from obskit.ingest.gathered import Gathered
from obskit.ingest.known_series import KnownSeries, Layouts
from obskit.ingest.protobuf import BYTES, VARINT, Budget, MalformedError, Reader
from obskit.ingest.write_columns import messages_of_one_sample, samples_at_the_end
from obskit.ingest.write_messages import (
    InvalidLabelsError,
    Numbers,
    SeriesMessage,
    labels_of,
    metric_type,
    read_label,
    read_series,
)
from obskit.model.labels import Labels
from obskit.model.samples import MetricMeta
from obskit.store.interface import Samples

_SERIES: Final = 1
_METADATA: Final = 3
_NUMBERS: Final = Numbers(labels=1, samples=2, exemplars=3, histograms=4)


class WriteRequest:
    """Reads bodies. The bytes of a series' labels are what it is known by."""

    def __init__(self, known: KnownSeries, layouts: Layouts) -> None:
        self._known = known
        self._layouts = layouts

    def read(self, body: bytes) -> Delivery:
        """What is in a body. MalformedError or TooLargeError when it is none."""
        found, gathered, reader = messages_of_one_sample(body, _SERIES), Gathered(), Reader(body)
        columns = samples_at_the_end(body, found.starts, found.ends)
        starts = (found.starts if columns.plain.all() else found.starts[columns.plain]).tolist()
        keys = [body[start:cut] for start, cut in zip(starts, columns.cuts.tolist(), strict=True)]
        # A key is labels and nothing else, so what follows it is a field of its own: the sample that it looks like.
        labels, bad = self._known.find(keys, partial(_labels_of_block, reader.budget))
        columns = columns.less(bad)
        gathered.samples = Samples(labels, columns.times_ms.tolist(), columns.values.tolist())
        for start, end in found.but(columns.plain):
            self._read_message(reader, start, end, gathered)
        for number, start, end in found.others:
            if number == _METADATA:
                name, meta = _read_metadata(reader, start, end)
                if name:
                    gathered.metadata[name] = meta
        return gathered.delivery(self._layouts)

    def _read_message(self, reader: Reader, start: int, end: int, gathered: Gathered) -> None:
        message = read_series(reader, start, end, _NUMBERS)
        try:
            labels = self._labels(reader, start, message)
        except InvalidLabelsError as error:
            gathered.refuse(message, str(error))
        else:
            gathered.add(labels, message)

    def _labels(self, reader: Reader, start: int, message: SeriesMessage) -> Labels:
        if message.labels:  # nearly always the first fields, and so the key by which columns know the series
            block = reader.body[start : message.labels[-1][1]]
            known = self._known.find_one(block, partial(_labels_of_block, reader.budget))
            if known is not None:
                return known
        return labels_of(_pairs(reader, message.labels))


def _labels_of_block(budget: Budget, block: bytes) -> Labels | None:
    """The Labels of a series' label fields; None when there is anything else, or no series has them."""
    reader = Reader(block, budget)
    try:
        spans = [(low, high) for number, kind, low, high in reader.fields(0, len(block)) if _is_label(number, kind)]
        return labels_of(_pairs(reader, spans))
    except (InvalidLabelsError, MalformedError):
        return None


def _is_label(number: int, kind: int) -> bool:
    if number != _NUMBERS.labels or kind != BYTES:
        raise MalformedError("more than labels")
    return True


def _pairs(reader: Reader, spans: Iterable[tuple[int, int]]) -> list[tuple[str, str]]:
    try:
        return [read_label(reader, low, high) for low, high in spans]
    except MalformedError as error:
        raise InvalidLabelsError(f"invalid metric name or labels: {error}") from None


def _read_metadata(reader: Reader, start: int, end: int) -> tuple[str, MetricMeta]:
    """A MetricMetadata message: the family's name, and what is said of it."""
    texts = {2: "", 4: "", 5: ""}
    kind_of_metric = 0
    for number, kind, low, high in reader.fields(start, end):
        if number in texts and kind == BYTES:
            texts[number] = reader.text(low, high)
        elif number == 1 and kind == VARINT:
            kind_of_metric = low
    return texts[2], MetricMeta(metric_type(kind_of_metric), texts[4], texts[5])
