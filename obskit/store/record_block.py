"""How log records lie on disk: the ids of their streams, one frame of columns, one frame of text.

Text is the lines with a separator between them, so that one search runs over all of them and a line's length need not be
kept; it is where some line holds the separator itself. Columns are split into byte planes. Little-endian throughout.
Used for head rows and for sealed blocks alike.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import EMPTY, Labels
from obskit.store.log_blocks import (
    SEPARATOR,
    TextBlock,
    encoded,
    gathered_text,
    line_edges,
    separators,
)
from obskit.store.metadata_table import MetadataTable
from obskit.store.packing import compress_checked, decompress

_HEAD: Final = struct.Struct("<BBxxIII")
"""Version, flags, lines, bytes of the metadata's keys, its values. Then the columns that the flags name."""
_VERSION: Final = 1
_SEVERAL_STREAMS: Final = 1
_SIZES: Final = 2
_METADATA: Final = 4
_INT32: Final = np.dtype("<i4")
_INT64: Final = np.dtype("<i8")


class Packed(NamedTuple):
    """A block as it is stored."""

    streams: bytes
    columns: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Lines by stream, and those of a stream in order of time. `ids` (ascending) are the streams' numbers, `stream_of`
    indices into them. See arrival.py for how they are made of records."""

    ids: NDArray[np.int32]
    stream_of: NDArray[np.int32]
    times_ns: NDArray[np.int64]
    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    metadata: MetadataTable

    def __len__(self) -> int:
        return len(self.times_ns)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the lines."""
        return len(self.data) - max(len(self) - 1, 0)

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory."""
        return 2_000 + len(self.data) + 40 * len(self) + 80 * (0 if self.metadata.empty else 2 * len(self))

    def without(self, numbers: Collection[int]) -> RecordBlock | None:
        """The lines of other streams; None when there are none."""
        kept = np.flatnonzero(np.array([number not in numbers for number in self.ids.tolist()])[self.stream_of])
        if not len(kept):
            return None
        ids, stream_of = np.unique(self.ids[self.stream_of[kept]], return_inverse=True)
        text = gathered_text(self.data, self.starts[kept], self.ends[kept])
        metadata = MetadataTable.joined([self.metadata], kept)
        return RecordBlock(ids, stream_of.astype(np.int32), self.times_ns[kept], *text, metadata)

    def pack(self, level: int) -> Packed:
        """Its form on disk. A low level is quick, a high one dense."""
        flags, columns = 0, [_planes(np.diff(self.times_ns, prepend=np.int64(0)), _INT64)]
        if len(self.ids) > 1:
            flags |= _SEVERAL_STREAMS
            columns.append(_planes(self.stream_of, _INT32))
        if self.data.count(SEPARATOR) != len(self) - 1:
            flags |= _SIZES
            columns.append(_planes(self.ends - self.starts, _INT32))
        keys, sizes = b"", []
        if not self.metadata.empty:
            flags |= _METADATA
            keys, values = self.metadata.keys_text(), list(self.metadata.values)
            sizes = list(map(len, values))
            columns += [
                _planes(self.metadata.shape_of, _INT32), _planes(np.array(sizes), _INT32), encoded("".join(values))
            ]  # fmt: skip
        head = _HEAD.pack(_VERSION, flags, len(self), len(keys), len(sizes))
        frame = compress_checked(b"".join([head, keys, *columns]), level)
        return Packed(self.ids.tobytes(), frame, compress_checked(self.data, level))

    @classmethod
    def unpack(cls, packed: Packed) -> RecordBlock:
        """What was packed. ValueError when it is not whole."""
        return cls.of_frames(packed.streams, decompress(packed.columns), decompress(packed.text))

    @classmethod
    def of_frames(cls, streams: bytes, frame: bytes, data: bytes) -> RecordBlock:
        """What was packed; its columns and its text are decompressed already."""
        columns = _Columns(frame)
        times_ns = np.cumsum(columns.take(columns.count, _INT64))
        stream_of = np.zeros(columns.count, np.int32)
        if columns.flags & _SEVERAL_STREAMS:
            stream_of = columns.take(columns.count, _INT32)
        if columns.flags & _SIZES:
            sizes = columns.take(columns.count, _INT32).astype(np.int64)
            ends = np.cumsum(sizes + 1) - 1
            starts = ends - sizes
        else:
            starts, ends = line_edges(separators(data), len(data))
        if len(starts) != columns.count or (columns.count and ends[-1] != len(data)):
            raise ValueError("a block's lines are not those that it counts")
        ids = np.frombuffer(streams, _INT32)
        return cls(ids, stream_of, times_ns, data, starts, ends, columns.metadata())

    def labelled(self, labels: Mapping[int, Labels], mask: NDArray[np.bool_]) -> TextBlock:
        """For readers, in order of time; chosen are the lines of a mask."""
        streams = tuple(labels.get(number, EMPTY) for number in self.ids.tolist())
        if len(streams) == 1:
            text = self.data, self.starts, self.ends
            return TextBlock(streams, self.stream_of, self.times_ns, *text, np.flatnonzero(mask), self.metadata)
        order = np.argsort(self.times_ns, kind="stable")
        text = gathered_text(self.data, self.starts[order], self.ends[order])
        metadata = MetadataTable.joined([self.metadata], order)
        chosen = np.flatnonzero(mask[order])
        return TextBlock(streams, self.stream_of[order], self.times_ns[order], *text, chosen, metadata)


def streams_in(streams: bytes) -> list[int]:
    """The ids of a block's streams."""
    ids: list[int] = np.frombuffer(streams, _INT32).tolist()
    return ids


class _Columns:
    """The columns of a packed block, taken one after the other."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEAD.size:
            raise ValueError("a block's columns are missing")
        version, self.flags, self.count, keys_size, self._values = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise ValueError(f"records were packed by a newer obskit (form {version})")
        self._data = data
        self._at = _HEAD.size + keys_size
        self._keys = data[_HEAD.size : self._at]

    def take(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        size = count * dtype.itemsize
        planes = np.frombuffer(self._data, np.uint8, size, self._at).reshape(dtype.itemsize, -1)
        self._at += size
        return np.ascontiguousarray(planes.T).view(dtype).ravel()

    def metadata(self) -> MetadataTable:
        if not self.flags & _METADATA:
            return MetadataTable.none(self.count)
        shape_of = self.take(self.count, _INT32).astype(np.int64)
        sizes = self.take(self._values, _INT32)
        return MetadataTable.parsed(self._keys, shape_of, sizes, self._data[self._at :])


def _planes(column: NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    planes = np.ascontiguousarray(column.astype(dtype, copy=False)).view(np.uint8).reshape(-1, dtype.itemsize)
    return planes.T.tobytes()
