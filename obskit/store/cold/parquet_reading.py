"""Reads what parquet.py wrote: first the footer, then row groups that somebody wants. ValueError when something is not whole."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.store.cold.encodings import delta_unpacked, runs_read
from obskit.store.cold.parquet import COLUMNS, FORM, MAGIC, OWN_KEY
from obskit.store.cold.rows import Rows, metadata_of
from obskit.store.cold.thrift import read_struct
from obskit.store.disk import from_text
from obskit.store.packing import decompress

TAIL: Final = 64 * 1024
"""Bytes at a file's end that hold most footers."""
_END: Final = 8
_ODD: Final = (KeyError, IndexError, TypeError, AttributeError, OverflowError)
"""What comes of a struct whose fields are other ones."""


class Chunk(NamedTuple):
    """Where a column of a row group lies, from the row group's begin."""

    at: int
    size: int
    rows: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: where it lies in the file, its times and streams (indices into the footer's), how much text it has, and
    whether all of it is UTF-8."""

    at: int
    size: int
    rows: int
    t0_ns: int
    t1_ns: int
    raw_bytes: int
    streams: NDArray[np.int32]
    is_utf8: bool
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file holds: its streams (labels and their text), its row groups."""

    texts: tuple[str, ...]
    streams: tuple[Labels, ...]
    groups: tuple[Group, ...]

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory."""
        return 1_000 + 400 * len(self.streams) + 900 * len(self.groups)


def footer_bytes(tail: bytes) -> int:
    """How many bytes at a file's end the footer takes."""
    if len(tail) < _END or tail[-4:] != MAGIC:
        raise ValueError("the file does not end as Parquet does")
    return int.from_bytes(tail[-8:-4], "little") + _END


def read_footer(tail: bytes) -> Footer:
    """The footer at the end of these bytes."""
    size = footer_bytes(tail)
    if size > len(tail):
        raise ValueError("the footer is longer than the file")
    try:
        return _footer(read_struct(tail, len(tail) - size)[0])
    except _ODD as error:
        raise ValueError(f"the footer is not as obskit writes it ({type(error).__name__})") from None


def read_text(group: Group, data: bytes) -> tuple[bytes, NDArray[np.int64]]:
    """The lines of a row group as others read them, end to end, and where they end. `data` is the row group."""
    return _texts(_pages(data, group.chunks[2])[0], group.rows)


def read_rows(group: Group, data: bytes) -> Rows:
    """A row group. `data` is the whole of it."""
    try:
        return _rows(group, data)
    except _ODD as error:
        raise ValueError(f"a row group is not as obskit writes it ({type(error).__name__})") from None


def _footer(meta: dict[int, Any]) -> Footer:
    names = [element[4].decode() for element in meta[2][1:]]
    if names != [column.name for column in COLUMNS]:
        raise ValueError("the file has other columns")
    keys = {pair[1].decode(): pair[2] for pair in meta[5]}
    own = json.loads(decompress(base64.b64decode(keys[OWN_KEY])))
    if own["form"] != FORM:
        raise ValueError(f"the file was written by a newer obskit (form {own['form']})")
    present = [np.frombuffer(bytes.fromhex(bits), np.uint8) for bits in own["groups"]]
    groups = [_group(group, bits) for group, bits in zip(meta[4], present, strict=True)]
    shared: dict[str, str] = {}
    return Footer(tuple(own["streams"]), tuple(from_text(text, shared) for text in own["streams"]), tuple(groups))


def _group(group: dict[int, Any], bits: NDArray[np.uint8]) -> Group:
    begin, chunks = group[5], []
    for column in group[1]:
        meta = column[3]
        chunks.append(Chunk(meta.get(11, meta[9]) - begin, meta[7], meta[5]))
    times = group[1][0][3][12]
    is_utf8 = group[1][4][3][12][3] == group[3]  # no line needed bytes of its own
    streams = np.flatnonzero(np.unpackbits(bits, bitorder="little")).astype(np.int32)
    t0_ns, t1_ns = int.from_bytes(times[6], "little"), int.from_bytes(times[5], "little")
    return Group(begin, group[6], group[3], t0_ns, t1_ns, group[1][2][3][6], streams, is_utf8, tuple(chunks))


def _rows(group: Group, data: bytes) -> Rows:
    times, labels, lines, metadata, line_bytes = (_pages(data, chunk) for chunk in group.chunks)
    text, ends = _texts(lines[0], group.rows)
    dictionary, indices = labels
    streams = _plain(dictionary)
    stream_of = runs_read(indices[1:], group.rows, indices[0])
    if stream_of.max(initial=0) >= len(streams) or (np.diff(stream_of) < 0).any():
        raise ValueError("rows are of unknown streams")
    here, texts = _optional(metadata[0], group.rows)
    table = metadata_of([text.decode() for text in texts], here)
    odd, originals = _optional(line_bytes[0], group.rows)
    if originals:
        text, ends = _restored(text, ends, odd, originals)
    return Rows(streams, stream_of, delta_unpacked(times[0], group.rows)[0], text, ends, table)


def _restored(
    text: bytes, ends: NDArray[np.int64], odd: NDArray[np.bool_], originals: list[bytes]
) -> tuple[bytes, NDArray[np.int64]]:
    """The lines with those in their place that are not UTF-8."""
    starts = [0, *ends[:-1].tolist()]
    lines = [text[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
    for index, line in zip(np.flatnonzero(odd).tolist(), originals, strict=True):
        lines[index] = line
    return b"".join(lines), np.cumsum(list(map(len, lines)))


def _pages(data: bytes, chunk: Chunk) -> list[bytes]:
    """The pages of a column, decompressed."""
    at, end, pages = chunk.at, chunk.at + chunk.size, []
    if not 0 <= at < end <= len(data):
        raise ValueError("a column lies outside of its row group")
    while at < end:
        header, at = read_struct(data, at)
        frame = data[at : at + header[3]]
        at += header[3]
        if zlib.crc32(frame) != header[4] % (1 << 32):
            raise ValueError("a page is not what was written")
        pages.append(decompress(frame))
    return pages


def _texts(page: bytes, count: int) -> tuple[bytes, NDArray[np.int64]]:
    lengths, at = delta_unpacked(page, count)
    ends = np.cumsum(lengths)
    if (lengths < 0).any() or (count and int(ends[-1]) != len(page) - at):
        raise ValueError("texts are not as long as they are said to be")
    return page[at:], ends


def _optional(page: bytes, count: int) -> tuple[NDArray[np.bool_], list[bytes]]:
    size = int.from_bytes(page[:4], "little")
    here = runs_read(page[4 : 4 + size], count, 1) > 0
    text, ends = _texts(page[4 + size :], int(here.sum()))
    cuts = [0, *ends.tolist()]
    return here, [text[start:end] for start, end in pairwise(cuts)]


def _plain(page: bytes) -> list[str]:
    texts, at = [], 0
    while at < len(page):
        size = int.from_bytes(page[at : at + 4], "little")
        texts.append(page[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return texts
