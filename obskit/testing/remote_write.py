"""Writes what a remote write sender does: the messages of 1.0 and 2.0, packed with snappy (as literals).

Series are given as Sample values, so a test reads like what should be stored.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

from obskit.model.histograms import ResetHint
from obskit.model.labels import Labels
from obskit.model.samples import MetricMeta, MetricType, Sample

ONE: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
TWO: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}
"""The headers of a request of each version."""
TYPES: Final = {
    MetricType.UNTYPED: 0,
    MetricType.COUNTER: 1,
    MetricType.GAUGE: 2,
    MetricType.HISTOGRAM: 3,
    MetricType.SUMMARY: 5,
}
_HINTS: Final = (ResetHint.UNKNOWN, ResetHint.RESET, ResetHint.NOT_RESET, ResetHint.GAUGE)
_LITERAL: Final = 65_536


def write_request(samples: Iterable[Sample], metadata: Mapping[str, MetricMeta] | None = None) -> bytes:
    """A body of 1.0. Samples of one series that follow each other share a message."""
    parts = [
        bytes_field(1, labels_fields(labels) + _items(of_series, 2, 4)) for labels, of_series in _by_series(samples)
    ]
    for name, meta in (metadata or {}).items():
        texts = ((2, name), (4, meta.help), (5, meta.unit))
        said = b"".join(bytes_field(number, text.encode()) for number, text in texts if text)
        parts.append(bytes_field(3, number_field(1, TYPES[meta.type]) + said))
    return packed(b"".join(parts))


def write_request_2(samples: Iterable[Sample], metadata: Mapping[str, MetricMeta] | None = None) -> bytes:
    """A body of 2.0; `metadata` is by the series' name."""
    symbols = {"": 0}
    parts = []
    for labels, of_series in _by_series(samples):
        texts = [text for pair in labels.pairs for text in pair]
        references = b"".join(varint(symbols.setdefault(text, len(symbols))) for text in texts)
        message = bytes_field(1, references) + _items(of_series, 2, 3)
        meta = (metadata or {}).get(labels.name)
        if meta is not None:
            places = [symbols.setdefault(text, len(symbols)) for text in (meta.help, meta.unit)]
            said = number_field(1, TYPES[meta.type]) + number_field(3, places[0]) + number_field(4, places[1])
            message += bytes_field(5, said)
        parts.append(bytes_field(5, message))
    return packed(b"".join([*(bytes_field(4, text.encode()) for text in symbols), *parts]))


def packed(payload: bytes) -> bytes:
    """Snappy's block format, all literals."""
    out = [varint(len(payload))]
    for start in range(0, len(payload), _LITERAL):
        piece = payload[start : start + _LITERAL]
        out += [b"\xf4", struct.pack("<H", len(piece) - 1), piece]
    return b"".join(out)


def labels_fields(labels: Labels) -> bytes:
    """The labels of a series of 1.0."""
    return b"".join(
        bytes_field(1, bytes_field(1, name.encode()) + bytes_field(2, text.encode())) for name, text in labels.pairs
    )


def sample_fields(t_ms: int, value: float, start_ms: int = 0) -> bytes:
    """A Sample message; as senders do, without what is 0."""
    number = b"" if value == 0 else b"\x09" + struct.pack("<d", value)
    return number + number_field(2, t_ms) + number_field(3, start_ms)


def histogram_fields(sample: Sample) -> bytes:
    """A Histogram message with float counts."""
    histogram = sample.histogram
    assert histogram is not None
    double = [(2, histogram.count), (3, histogram.sum), (5, histogram.zero_threshold), (7, histogram.zero_count)]
    out = b"".join(varint(number << 3 | 1) + struct.pack("<d", value) for number, value in double)
    out += number_field(4, zigzag(histogram.schema))
    for first, side in ((8, histogram.negative), (11, histogram.positive)):
        following = 0
        for index in sorted(side):
            out += bytes_field(first, number_field(1, zigzag(index - following)) + number_field(2, 1))
            following = index + 1
        out += bytes_field(first + 2, b"".join(struct.pack("<d", side[index]) for index in sorted(side)))
    out += number_field(14, _HINTS.index(histogram.hint)) + number_field(15, sample.t_ms)
    if histogram.bounds:
        out += bytes_field(16, struct.pack(f"<{len(histogram.bounds)}d", *histogram.bounds))
    return out + number_field(17, sample.start_ms)


def bytes_field(number: int, payload: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def number_field(number: int, value: int) -> bytes:
    """A field of an integer; nothing when it is 0."""
    return varint(number << 3) + varint(value) if value else b""


def varint(value: int) -> bytes:
    """An integer; a negative one as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """A signed integer as it is written in an `sint` field."""
    return value << 1 if value >= 0 else -value * 2 - 1


def _by_series(samples: Iterable[Sample]) -> Iterable[tuple[Labels, list[Sample]]]:
    return ((labels, list(group)) for labels, group in groupby(samples, key=lambda sample: sample.labels))


def _items(samples: Iterable[Sample], floats: int, histograms: int) -> bytes:
    """The samples of a series: floats first, as fields are written in the order of their numbers."""
    out = b""
    for sample in sorted(samples, key=lambda one: one.histogram is not None):
        if sample.histogram is None:
            out += bytes_field(floats, sample_fields(sample.t_ms, sample.value, sample.start_ms))
        else:
            assert math.isnan(sample.value)
            out += bytes_field(histograms, histogram_fields(sample))
    return out
