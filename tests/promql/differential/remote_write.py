"""Remote write 1.0 by hand: protobuf and a snappy stream of literals. It can carry stale markers, bit by bit."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from obskit.model.labels import Labels
from tests.promql.differential.data import Series

LITERAL_BYTES = 60_000


def request_body(series: Iterable[Series]) -> bytes:
    """The body of a remote write request with these series."""
    return _snappy(b"".join(_field(1, _time_series(one)) for one in series))


def _time_series(series: Series) -> bytes:
    points = zip(series.times_ms, series.values, strict=True)
    samples = (b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(t_ms) for t_ms, value in points)
    return _labels(series.labels) + b"".join(_field(2, sample) for sample in samples)


def _labels(labels: Labels) -> bytes:
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in labels.pairs)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _snappy(data: bytes) -> bytes:
    """The block format, with nothing compressed: length, then literals of up to 64 KiB."""
    pieces = (data[at : at + LITERAL_BYTES] for at in range(0, len(data), LITERAL_BYTES))
    return _varint(len(data)) + b"".join(b"\xf4" + struct.pack("<H", len(piece) - 1) + piece for piece in pieces)
