"""How log records lie on disk: a batch as columns (streams, times, line lengths, metadata) and the lines end to end.

Lines may hold anything, newlines and lone surrogates included: lengths part them. A search runs over all of a block's
bytes at once and maps its hits to lines. Little-endian throughout.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.records import NO_METADATA, Record
from obskit.store.packing import compress, decompress

_HEAD: Final = struct.Struct("<BxHII")
"""Version, distinct streams, records, bytes of the metadata's keys. The streams' ids follow, then one zstd frame."""
_VERSION: Final = 1
_INT32: Final = np.dtype("<i4")
_INT64: Final = np.dtype("<i8")


def encoded(text: str) -> bytes:
    """UTF-8, with room for the halves of characters that broken JSON may hold."""
    return text.encode("utf-8", "surrogatepass")


def pack_records(records: Sequence[Record], stream_ids: Sequence[int]) -> tuple[bytes, int]:
    """A head row's blob and the bytes of its lines. Records ascend in time."""
    distinct = sorted(set(stream_ids))
    places = np.searchsorted(distinct, stream_ids)
    lines = [encoded(record.line) for record in records]
    shapes: dict[tuple[str, ...], int] = {(): 0}
    shape_of = []
    values: list[bytes] = []
    for record in records:
        metadata = record.metadata
        shape_of.append(shapes.setdefault(tuple(metadata), len(shapes)) if metadata else 0)
        values.extend(map(encoded, metadata.values()))
    keys = json.dumps(list(shapes)).encode()
    times = np.fromiter((record.t_ns for record in records), np.int64, len(records))
    text = b"".join(lines)
    payload = b"".join([
        keys,
        _bytes(places, _INT32),
        _bytes(np.diff(times, prepend=times[:1]), _INT64),
        _bytes(list(map(len, lines)), _INT32),
        _bytes(shape_of, _INT32),
        _bytes(list(map(len, values)), _INT32),
        b"".join(values),
        text,
    ])  # fmt: skip
    head = _HEAD.pack(_VERSION, len(distinct), len(records), len(keys))
    return head + np.array(distinct, _INT32).tobytes() + compress(payload), len(text)


def streams_in(data: bytes) -> list[int]:
    """The ids of the streams that have a record in a block, without decompressing it."""
    _, distinct, _, _ = _header(data)
    ids: list[int] = np.frombuffer(data, _INT32, distinct, _HEAD.size).tolist()
    return ids


class RecordBlock:
    """A block opened: columns at once, lines and metadata when asked for."""

    def __init__(self, data: bytes, t0_ns: int) -> None:
        _, distinct, count, keys_size = _header(data)
        ids = np.frombuffer(data, _INT32, distinct, _HEAD.size)
        self._data = decompress(memoryview(data)[_HEAD.size + ids.nbytes :])
        self._at = keys_size
        self.stream_ids = ids[self._column(count, _INT32)]
        self.times_ns = np.cumsum(self._column(count, _INT64)) + t0_ns
        line_sizes = self._column(count, _INT32)
        self._shape_of = self._column(count, _INT32)
        self._shapes: list[list[str]] = json.loads(self._data[:keys_size])
        widths = np.array([len(keys) for keys in self._shapes])[self._shape_of]
        self._first_value = np.cumsum(widths) - widths
        value_sizes = self._column(int(widths.sum()), _INT32)
        self._value_ends = self._at + np.cumsum(value_sizes, dtype=np.int64)
        self._value_starts = self._value_ends - value_sizes
        text_at = self._at + int(value_sizes.sum())
        self._line_ends = text_at + np.cumsum(line_sizes, dtype=np.int64)
        self._line_starts = self._line_ends - line_sizes
        self._text_at = text_at

    def containing(self, needle: bytes) -> NDArray[np.bool_]:
        """Which lines hold these bytes."""
        found = np.zeros(len(self.times_ns), np.bool_)
        at = self._data.find(needle, self._text_at)
        while at >= 0:
            line = int(np.searchsorted(self._line_ends, at, side="right"))
            if at + len(needle) <= self._line_ends[line]:
                found[line] = True
                at = self._data.find(needle, int(self._line_ends[line]))
            else:
                at = self._data.find(needle, at + 1)
        return found

    def record(self, index: int, stream: Labels) -> Record:
        """One record; `stream` is the labels of its stream's id."""
        line = self._data[self._line_starts[index] : self._line_ends[index]].decode("utf-8", "surrogatepass")
        return Record(stream, int(self.times_ns[index]), line, self._metadata(index))

    def _metadata(self, index: int) -> Mapping[str, str]:
        keys = self._shapes[self._shape_of[index]]
        if not keys:
            return NO_METADATA
        first = int(self._first_value[index])
        spans = zip(keys, self._value_starts[first:], self._value_ends[first:], strict=False)
        return {key: self._data[start:end].decode("utf-8", "surrogatepass") for key, start, end in spans}

    def _column(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        size = count * dtype.itemsize
        planes = np.frombuffer(self._data, np.uint8, size, self._at).reshape(dtype.itemsize, -1)
        self._at += size
        return np.ascontiguousarray(planes.T).view(dtype).ravel()


def _header(data: bytes) -> tuple[int, int, int, int]:
    version, distinct, count, keys_size = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"records were packed by a newer obskit (form {version})")
    return version, distinct, count, keys_size


def _bytes(column: NDArray[Any] | Sequence[int], dtype: np.dtype[Any]) -> bytes:
    planes = np.ascontiguousarray(np.asarray(column, dtype)).view(np.uint8).reshape(-1, dtype.itemsize)
    return planes.T.tobytes()
