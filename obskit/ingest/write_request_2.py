"""`io.prometheus.write.v2.Request`, the message of remote write 2.0: texts stand once, in a table, series refer to it.

References mean what the table of their body says, so a series is known by them and the table together. A sender whose
bodies look alike sends the same tables again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from obskit.ingest.delivery import Delivery
from obskit.ingest.gathered import Gathered
from obskit.ingest.known_series import KnownSeries, Layouts
from obskit.ingest.protobuf import BYTES, VARINT, Budget, MalformedError, Reader
from obskit.ingest.write_columns import Columns, Messages, messages, samples_behind
from obskit.ingest.write_messages import (
    InvalidLabelsError,
    Numbers,
    SeriesMessage,
    labels_of,
    metric_type,
    read_series,
)
from obskit.model.labels import Labels
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Samples

_SYMBOLS: Final = 4
_SERIES: Final = 5
_NUMBERS: Final = Numbers(labels=1, samples=2, histograms=3, exemplars=4, metadata=5, created=6)
"""`created` was there before samples had starts of their own (Prometheus 3.0 to 3.7)."""
_METADATA_KEY: Final = _NUMBERS.metadata << 3 | BYTES
_SHORT: Final = 129
"""Bytes of a field whose length is one byte, with that and its key."""
_BETWEEN: Final = b"\xff"
_TABLES: Final = 32
_PARTS: Final = ("_bucket", "_count", "_sum")


class WriteRequest2:
    """Reads bodies."""

    def __init__(self, known: KnownSeries, layouts: Layouts) -> None:
        self._known = known
        self._layouts = layouts
        self._tables: dict[bytes, _Table] = {}

    def read(self, body: bytes) -> Delivery:
        """What is in a body. MalformedError or TooLargeError when it is none."""
        found, gathered, reader = messages(body, _SERIES), Gathered(), Reader(body)
        table = self._table(body, found)
        columns, keys = _columns(body, found)
        labels, bad = table.series.find(keys, partial(table.labels_of_key, reader.budget))
        columns = columns.less(bad)
        gathered.samples = Samples(labels, columns.times_ms.tolist(), columns.values.tolist())
        if columns.starts_ms.any():
            rows = np.flatnonzero(columns.starts_ms > 0)
            starts = columns.starts_ms[rows].tolist()
            gathered.samples.starts_ms = dict(zip(rows.tolist(), starts, strict=True))
        for start, end in found.but(columns.plain):
            _read_message(reader, (start, end), table, gathered)
        gathered.metadata = table.metadata
        return gathered.delivery(self._layouts)

    def _table(self, body: bytes, found: Messages) -> _Table:
        spans = [(low, high) for number, low, high in found.others if number == _SYMBOLS]
        key = body[: spans[-1][1]] if spans else b""  # from the first byte on: the same bytes are the same table
        table = self._tables.pop(key, None)
        if table is None:
            table = _Table([body[low:high] for low, high in spans], self._known)
        if len(self._tables) >= _TABLES:
            del self._tables[next(iter(self._tables))]
        self._tables[key] = table
        return table


class _Table:
    """The texts of one body, and what its references were found to mean."""

    def __init__(self, symbols: list[bytes], known: KnownSeries) -> None:
        # No text has this byte in it: by it texts that were joined are told apart again.
        self._symbols = [None if _BETWEEN in symbol else symbol for symbol in symbols]
        self._known = known
        self._described: set[tuple[str, bytes]] = set()
        self.series = KnownSeries(8_000_000)
        """By the references, and what is said of the metric behind them."""
        self.metadata: dict[str, MetricMeta] = {}

    def labels_of_key(self, budget: Budget, key: bytes) -> Labels | None:
        """The Labels of a short field of references and perhaps one of metadata; None when it is not that."""
        cut = 2 + key[1]
        said = key[cut:]
        if said and (said[0] != _METADATA_KEY or said[1:2] != bytes((len(said) - 2 & 127,)) or len(said) > _SHORT):
            return None
        reader = Reader(key, budget)
        try:
            labels = self._labels(reader.budget, reader.varints(BYTES, 2, cut))
            if said:
                self._describe(labels.name, said[2:])
        except (InvalidLabelsError, MalformedError):
            return None
        return labels

    def labels_of(self, reader: Reader, message: SeriesMessage) -> Labels:
        """The Labels of a message, whose metadata is noted. InvalidLabelsError when no series has them."""
        references = [one for low, high in message.labels for one in reader.varints(BYTES, low, high)]
        labels = self._labels(reader.budget, references)
        if message.metadata is not None:
            low, high = message.metadata
            self._describe(labels.name, reader.body[low:high])
        return labels

    def _labels(self, budget: Budget, references: list[int]) -> Labels:
        if len(references) % 2:
            raise InvalidLabelsError(f"parsing labels for series: invalid labelRefs length {len(references)}")
        texts = [self._text(reference) for reference in references]
        budget.spend(sum(map(len, texts)) >> 5)  # few references may stand for much text
        labels = self._known.find_one(_BETWEEN.join(texts), _labels_of_texts)
        return labels_of(_pairs(texts)) if labels is None else labels  # which says why there are none

    def _text(self, reference: int) -> bytes:
        try:
            text = self._symbols[reference]
        except IndexError:
            there = len(self._symbols)
            raise InvalidLabelsError(
                f"parsing labels for series: reference {reference} outside of symbols table (size {there})"
            ) from None
        if text is None:
            raise InvalidLabelsError("invalid metric name or labels: a text is not UTF-8")
        return text

    def _describe(self, name: str, said: bytes) -> None:
        """Note what a Metadata message says of a series' metric."""
        if (name, said) in self._described:
            return
        numbers = {1: 0, 3: 0, 4: 0}
        for number, kind, value, _ in Reader(said).fields(0, len(said)):
            if number in numbers and kind == VARINT:
                numbers[number] = value
        kind_of_metric = metric_type(numbers[1])
        try:
            help_text, unit = (self._text(numbers[number]).decode() if numbers[number] else "" for number in (3, 4))
        except UnicodeDecodeError:
            raise InvalidLabelsError(f"parsing metadata for series {name}: a text is not UTF-8") from None
        if numbers[1] or help_text or unit:
            self.metadata[_family(name, kind_of_metric)] = MetricMeta(kind_of_metric, help_text, unit)
        self._described.add((name, said))


def _columns(body: bytes, found: Messages) -> tuple[Columns, list[bytes]]:
    """The samples behind references of less than 128 bytes, and the bytes by which their series are known."""
    columns = samples_behind(body, _NUMBERS.labels << 3 | BYTES, found.starts, found.ends)
    starts, ends = found.starts[columns.plain], found.ends[columns.plain]
    heads = zip(starts.tolist(), columns.cuts.tolist(), strict=True)
    if (columns.behind == ends).all():
        return columns, [body[start:cut] for start, cut in heads]
    tails = zip(columns.behind.tolist(), ends.tolist(), strict=True)
    # A sample is cut out, from where a field ended; if only fields are left, it ended where a field begins.
    return columns, [
        body[start:cut] + body[behind:end] for (start, cut), (behind, end) in zip(heads, tails, strict=True)
    ]


def _read_message(reader: Reader, span: tuple[int, int], table: _Table, gathered: Gathered) -> None:
    message = read_series(reader, *span, _NUMBERS)
    try:
        labels = table.labels_of(reader, message)
    except InvalidLabelsError as error:
        gathered.refuse(message, str(error))
        return
    if not message.items:
        text = f"TimeSeries must contain at least one sample or histogram for series {labels}"
        gathered.invalid.add("no_samples", 1, text)
    gathered.add(labels, message)


def _labels_of_texts(joined: bytes) -> Labels | None:
    try:
        return labels_of(_pairs(joined.split(_BETWEEN) if joined else []))
    except InvalidLabelsError:
        return None


def _pairs(texts: Sequence[bytes]) -> list[tuple[str, str]]:
    try:
        decoded = [text.decode() for text in texts]
    except UnicodeDecodeError:
        raise InvalidLabelsError("invalid metric name or labels: a text is not UTF-8") from None
    return list(zip(decoded[::2], decoded[1::2], strict=True))


def _family(name: str, kind: MetricType) -> str:
    """The name of a series' family: classic histograms and summaries have several series."""
    if kind in (MetricType.HISTOGRAM, MetricType.SUMMARY):
        for part in _PARTS:
            if name.endswith(part):
                return name.removesuffix(part)
    return name
