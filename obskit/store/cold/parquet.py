"""Our Parquet files: one source and day (or a part of it), row groups of some megabytes, zstd, and a footer that says what is where.

https://parquet.apache.org/docs/file-format/ . Columns: `ts` (nanoseconds, UTC), `labels` (JSON, by dictionary), `line`,
`metadata` (JSON, or null), `line_bytes`: the line itself where it is not UTF-8 as others read it (halves of surrogate
pairs), else null. A footer's key `obskit` holds the file's streams and which of them each row group has.
Anything that reads Parquet reads these files; here only this layout is read, in parquet_reading.py.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.records import whole_text
from obskit.store.cold import thrift
from obskit.store.cold.encodings import delta_packed, runs
from obskit.store.cold.rows import Rows, metadata_texts
from obskit.store.log_blocks import decoded
from obskit.store.packing import compress_checked

MAGIC: Final = b"PAR1"
OWN_KEY: Final = "obskit"
FORM: Final = 1
GROUP_ROWS: Final = 30_000
"""The most rows in a row group."""
LEVEL: Final = 3

_INT64: Final = 2
_BYTE_ARRAY: Final = 6
_ZSTD: Final = 6
_PLAIN: Final = 0
_RLE: Final = 3
_DELTA_PACKED: Final = 5
_DELTA_LENGTHS: Final = 6
_DICTIONARY: Final = 8
_DATA_PAGE: Final = 0
_DICTIONARY_PAGE: Final = 2
_UTF8: Final = 0
_HALF: Final = re.compile(rb"\xed[\xa0-\xbf]")
"""The beginning of half a surrogate pair, where it is written as UTF-8 writes other characters."""


class Column(NamedTuple):
    """A column of the schema."""

    name: str
    type: int
    optional: bool
    utf8: bool


COLUMNS: Final = (
    Column("ts", _INT64, optional=False, utf8=False),
    Column("labels", _BYTE_ARRAY, optional=False, utf8=True),
    Column("line", _BYTE_ARRAY, optional=False, utf8=True),
    Column("metadata", _BYTE_ARRAY, optional=True, utf8=True),
    Column("line_bytes", _BYTE_ARRAY, optional=True, utf8=False),
)
_SORTED_BY: Final = (1, 0)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A column of a row group as it is stored."""

    pages: bytes
    raw_size: int
    encodings: tuple[int, ...]
    dictionary_size: int = 0
    """Bytes of the dictionary's page, which comes first."""
    least: bytes | None = None
    most: bytes | None = None
    nulls: int = 0


class _Page(NamedTuple):
    data: bytes
    raw_size: int


class ParquetWriter:
    """Writes one file: `add` row groups, then `close`. Only what the footer needs stays in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file.write(MAGIC)
        self._at = len(MAGIC)
        self._groups: list[thrift.Value] = []
        self._streams: dict[str, int] = {}
        self._present: list[NDArray[np.int64]] = []
        self.rows = 0
        self.raw_bytes = 0
        self.t0_ns, self.t1_ns = 2**63 - 1, 0

    @property
    def size(self) -> int:
        """Bytes written until now."""
        return self._at

    def add(self, rows: Rows) -> None:
        """Write rows: as one row group, or as several when they are many."""
        edges = [*range(0, len(rows), GROUP_ROWS), len(rows)]
        for start, end in pairwise(edges):
            self._add(rows if end - start == len(rows) else rows.part(start, end))

    def close(self) -> None:
        """Write the footer."""
        data = _footer(self._groups, self.rows, self._own_key())
        self._file.write(data + len(data).to_bytes(4, "little") + MAGIC)
        self._at += len(data) + 8

    def _add(self, rows: Rows) -> None:
        chunks = [_times(rows), _labels(rows), _lines(rows), _metadata(rows), _line_bytes(rows)]
        columns, begin = [], self._at
        for column, chunk in zip(COLUMNS, chunks, strict=True):
            columns.append(_column(column, chunk, self._at, len(rows)))
            self._file.write(chunk.pages)
            self._at += len(chunk.pages)
        sorting = [
            thrift.struct({1: thrift.i32(c), 2: thrift.boolean(False), 3: thrift.boolean(False)}) for c in _SORTED_BY
        ]
        group = {
            1: thrift.listed(columns),
            2: thrift.i64(sum(chunk.raw_size for chunk in chunks)),
            3: thrift.i64(len(rows)),
            4: thrift.listed(sorting),
            5: thrift.i64(begin),
            6: thrift.i64(self._at - begin),
            7: thrift.i16(len(self._groups)) if len(self._groups) < 1 << 15 else None,
        }
        self._groups.append(thrift.struct(group))
        self._present.append(np.array([self._streams.setdefault(one, len(self._streams)) for one in rows.streams]))
        self.rows += len(rows)
        self.raw_bytes += len(rows.data)
        self.t0_ns = min(self.t0_ns, int(rows.times_ns.min()))
        self.t1_ns = max(self.t1_ns, int(rows.times_ns.max()))

    def _own_key(self) -> str:
        groups = []
        for present in self._present:
            bits = np.zeros(len(self._streams), np.uint8)
            bits[present] = 1
            groups.append(np.packbits(bits, bitorder="little").tobytes().hex())
        own = {"form": FORM, "streams": list(self._streams), "groups": groups}
        return base64.b64encode(compress_checked(json.dumps(own).encode(), LEVEL)).decode()


def _times(rows: Rows) -> _Chunk:
    page = _data_page(delta_packed(rows.times_ns), len(rows), _DELTA_PACKED)
    least, most = (int(number).to_bytes(8, "little") for number in (rows.times_ns.min(), rows.times_ns.max()))
    return _Chunk(*page, (_DELTA_PACKED,), least=least, most=most)


def _labels(rows: Rows) -> _Chunk:
    texts = [text.encode() for text in rows.streams]
    plain = b"".join([len(text).to_bytes(4, "little") + text for text in texts])
    header = {1: thrift.i32(len(texts)), 2: thrift.i32(_PLAIN), 3: thrift.boolean(True)}
    dictionary = _page(_DICTIONARY_PAGE, plain, {7: thrift.struct(header)})
    width = max((len(texts) - 1).bit_length(), 1)
    page = _data_page(bytes([width]) + runs(rows.stream_of, width), len(rows), _DICTIONARY)
    return _Chunk(
        dictionary.data + page.data,
        dictionary.raw_size + page.raw_size,
        (_PLAIN, _DICTIONARY),
        len(dictionary.data),
        least=texts[0],
        most=texts[-1],
    )


def _lines(rows: Rows) -> _Chunk:
    data, ends = rows.data, rows.ends
    if (odd := _odd(rows)) is not None:
        lines = [data[start:end] for start, end in zip(rows.starts.tolist(), ends.tolist(), strict=True)]
        for index in np.flatnonzero(odd).tolist():
            lines[index] = whole_text(decoded(lines[index])).encode()
        data, ends = b"".join(lines), np.cumsum(list(map(len, lines)))
    page = _data_page(_texts(data, ends), len(rows), _DELTA_LENGTHS)
    return _Chunk(*page, (_DELTA_LENGTHS,))


def _metadata(rows: Rows) -> _Chunk:
    if rows.metadata.empty:
        return _optional([], np.zeros(len(rows), np.bool_))
    bare = [not shape for shape in rows.metadata.shapes]
    return _optional([text.encode() for text in metadata_texts(rows.metadata)], ~np.array(bare)[rows.metadata.shape_of])


def _line_bytes(rows: Rows) -> _Chunk:
    odd = _odd(rows)
    if odd is None:
        return _optional([], np.zeros(len(rows), np.bool_))
    starts = rows.starts
    return _optional([rows.data[starts[i] : rows.ends[i]] for i in np.flatnonzero(odd).tolist()], odd)


def _odd(rows: Rows) -> NDArray[np.bool_] | None:
    """The lines that hold halves of surrogate pairs, which is not UTF-8; None when there are none."""
    if _HALF.search(rows.data) is None:
        return None
    pairs = zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)
    return np.array([_HALF.search(rows.data, start, end) is not None for start, end in pairs])


def _optional(texts: list[bytes], here: NDArray[np.bool_]) -> _Chunk:
    levels = runs(here.astype(np.int32), 1)
    body = (
        len(levels).to_bytes(4, "little")
        + levels
        + _texts(b"".join(texts), np.cumsum(list(map(len, texts)), dtype=np.int64))
    )
    page = _data_page(body, len(here), _DELTA_LENGTHS)
    return _Chunk(*page, (_RLE, _DELTA_LENGTHS), nulls=int((~here).sum()))


def _texts(data: bytes, ends: NDArray[np.int64]) -> bytes:
    return delta_packed(np.diff(ends, prepend=np.int64(0))) + data


def _data_page(body: bytes, count: int, encoding: int) -> _Page:
    header = {1: thrift.i32(count), 2: thrift.i32(encoding), 3: thrift.i32(_RLE), 4: thrift.i32(_RLE)}
    return _page(_DATA_PAGE, body, {5: thrift.struct(header)})


def _page(kind: int, body: bytes, header: Mapping[int, thrift.Value]) -> _Page:
    frame = compress_checked(body, LEVEL)
    check = zlib.crc32(frame)
    sizes = {1: kind, 2: len(body), 3: len(frame), 4: check - (1 << 32) if check >> 31 else check}
    head = thrift.struct({**{number: thrift.i32(value) for number, value in sizes.items()}, **header})[1]
    return _Page(head + frame, len(head) + len(body))


def _column(column: Column, chunk: _Chunk, at: int, count: int) -> thrift.Value:
    """The ColumnChunk of a column that begins here."""
    statistics = {
        3: thrift.i64(chunk.nulls),
        5: None if chunk.most is None else thrift.binary(chunk.most),
        6: None if chunk.least is None else thrift.binary(chunk.least),
    }
    meta = {
        1: thrift.i32(column.type),
        2: thrift.listed([thrift.i32(encoding) for encoding in chunk.encodings]),
        3: thrift.listed([thrift.text(column.name)]),
        4: thrift.i32(_ZSTD),
        5: thrift.i64(count),
        6: thrift.i64(chunk.raw_size),
        7: thrift.i64(len(chunk.pages)),
        9: thrift.i64(at + chunk.dictionary_size),
        11: thrift.i64(at) if chunk.dictionary_size else None,
        12: thrift.struct(statistics),
    }
    return thrift.struct({2: thrift.i64(0), 3: thrift.struct(meta)})


def _footer(groups: list[thrift.Value], rows: int, own: str) -> bytes:
    """The FileMetaData."""
    root = thrift.struct({4: thrift.text("log"), 5: thrift.i32(len(COLUMNS))})
    order = thrift.struct({1: thrift.struct({})})
    meta = {
        1: thrift.i32(2),
        2: thrift.listed([root, *map(_schema_element, COLUMNS)]),
        3: thrift.i64(rows),
        4: thrift.listed(groups),
        5: thrift.listed([thrift.struct({1: thrift.text(OWN_KEY), 2: thrift.text(own)})]),
        6: thrift.text("obskit"),
        7: thrift.listed([order] * len(COLUMNS)),
    }
    return thrift.struct(meta)[1]


def _schema_element(column: Column) -> thrift.Value:
    logical = None
    if column.name == "ts":
        nanos = thrift.struct({3: thrift.struct({})})
        logical = thrift.struct({8: thrift.struct({1: thrift.boolean(True), 2: nanos})})
    elif column.utf8:
        logical = thrift.struct({1: thrift.struct({})})
    element = {
        1: thrift.i32(column.type),
        3: thrift.i32(int(column.optional)),
        4: thrift.text(column.name),
        6: thrift.i32(_UTF8) if column.utf8 else None,
        10: logical,
    }
    return thrift.struct(element)
