"""Blocks of lines in memory: how they are made of columns, searched, counted by minute and put in order of time.

What lies on disk is left to record_block.py; which blocks a query needs, to the readers.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.records import Record
from obskit.store.log_interface import MINUTE_NS, LogBlock, MinuteCounts, Records
from obskit.store.metadata_table import MetadataTable

SEPARATOR: Final = b"\n"
_RARE: Final = 16
"""What is found so often in a block is not rare: RE2 would take longer for each than the standard library."""
_FEW: Final = 16
"""Where fewer than one line in this many is left, lines are searched one by one."""


class MetadataColumn(Protocol):
    """Metadata by line."""

    @property
    def names(self) -> frozenset[str]: ...
    def column(self, name: str, /) -> NDArray[np.object_]: ...
    def __getitem__(self, index: int, /) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A LogBlock of arrays (see log_interface.LogBlock)."""

    streams: Sequence[Labels]
    stream_of: NDArray[np.int32]
    times_ns: NDArray[np.int64]
    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    chosen: NDArray[np.int64]
    columns: MetadataColumn

    @classmethod
    def of(cls, records: Records) -> Self:
        """All of some records, which ascend in time."""
        places: dict[Labels, int] = {}
        stream_of = [places.setdefault(stream, len(places)) for stream in records.streams]
        data, starts, ends = joined_text(records.lines)
        return cls(
            tuple(places),
            np.array(stream_of, np.int32),
            np.array(records.times_ns, np.int64),
            data,
            starts,
            ends,
            np.arange(len(records)),
            MetadataTable.of(records.metadata),
        )

    def __len__(self) -> int:
        return len(self.times_ns)

    @property
    def metadata_names(self) -> frozenset[str]:
        """The names that metadata of its lines may have."""
        return self.columns.names

    def metadata_column(self, name: str) -> NDArray[np.object_]:
        """The values of one name, by line; None where a line has none."""
        return self.columns.column(name)

    def line(self, index: int) -> str:
        """The text of a line."""
        return decoded(self.data[self.starts[index] : self.ends[index]])

    def metadata(self, index: int) -> Mapping[str, str]:
        """The metadata of a line."""
        return self.columns[index]

    def record(self, index: int) -> Record:
        """A line with all that belongs to it."""
        stream = self.streams[self.stream_of[index]]
        return Record(stream, int(self.times_ns[index]), self.line(index), self.columns[index])

    def choosing(self, mask: NDArray[np.bool_]) -> Self:
        """The same block; chosen are the lines of a mask."""
        return replace(self, chosen=np.flatnonzero(mask))


def encoded(text: str) -> bytes:
    """UTF-8, with room for the halves of characters that broken JSON may hold."""
    return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """What `encoded` took."""
    return data.decode("utf-8", "surrogatepass")


def joined_text(
    lines: Sequence[str], sizes: NDArray[np.int64] | None = None
) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """Lines as one text with a separator between them, and where each starts and ends. `sizes` are those that `characters`
    gives, if they are known."""
    text = "\n".join(lines)
    data = encoded(text)
    if len(data) != len(text):
        between = separators(data)
        if len(between) == len(lines) - 1:
            return data, *line_edges(between, len(data))
        sizes = np.fromiter((len(encoded(line)) for line in lines), np.int64, len(lines))
    elif sizes is None:
        sizes = characters(lines)
    ends = np.cumsum(sizes + 1) - 1
    return data, ends - sizes, ends


def characters(lines: Sequence[str]) -> NDArray[np.int64]:
    """The length of each line."""
    return np.fromiter(map(len, lines), np.int64, len(lines))


def gathered_text(
    data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """Some lines of a text as a text of their own. Lines that are neighbours already are copied together."""
    breaks = np.flatnonzero(starts[1:] != ends[:-1] + 1)
    run_starts = starts[np.concatenate(([0], breaks + 1))].tolist()
    run_ends = ends[np.append(breaks, len(ends) - 1)].tolist()
    text = SEPARATOR.join([data[start:end] for start, end in zip(run_starts, run_ends, strict=True)])
    new_ends = np.cumsum(ends - starts + 1) - 1
    return text, new_ends - (ends - starts), new_ends


def separators(data: bytes) -> NDArray[np.int64]:
    """Where the separator stands in a text, be it between lines or in one."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == SEPARATOR[0])


def line_edges(between: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where lines start and end in a text of this size whose every separator stands between two lines."""
    return np.concatenate(([0], between + 1)), np.append(between, size)


class Lines(Protocol):
    """Lines end to end: line `i` is `data[starts[i]:ends[i]]`."""

    @property
    def data(self) -> bytes: ...
    @property
    def starts(self) -> NDArray[np.int64]: ...
    @property
    def ends(self) -> NDArray[np.int64]: ...


def lines_holding(text: Lines, mask: NDArray[np.bool_], needle: bytes) -> NDArray[np.bool_]:
    """Which lines of a mask hold these bytes, which are some."""
    lines = np.flatnonzero(mask)
    found = np.zeros(len(mask), np.bool_)
    if len(lines) * _FEW < len(mask):
        edges = zip(text.starts[lines].tolist(), text.ends[lines].tolist(), strict=True)
        found[lines] = [text.data.find(needle, start, end) >= 0 for start, end in edges]
        return found
    places = np.array(_places(text.data, needle), np.int64)
    owners = np.searchsorted(text.starts, places, side="right") - 1
    found[owners[places + len(needle) <= text.ends[owners]]] = True
    return found & mask


@lru_cache(maxsize=256)
def searching(needle: bytes) -> Callable[[bytes, int], Any]:
    """A search for bytes from a place on. RE2 is the quickest where they are rare, and leaves the interpreter to others."""
    if not needle.isascii():
        return re.compile(re.escape(needle)).search
    search: Callable[[bytes, int], Any] = compile_pattern(re.escape(needle.decode())).search
    return search


def _places(data: bytes, needle: bytes) -> list[int]:
    """Where bytes stand in a text, at least once in every line that holds them."""
    search = searching(needle)
    found: list[int] = []
    at = 0
    while len(found) < _RARE:
        match = search(data, at)
        if match is None:
            return found
        found.append(match.start())
        at = match.start() + 1
    escaped = re.escape(needle)
    # What is found across two lines must not hide what overlaps it.
    pattern = re.compile(b"(?=" + escaped + b")" if SEPARATOR in needle else escaped)
    return found + [match.start() for match in pattern.finditer(data, at)]


def counts_of(block: LogBlock) -> Iterator[MinuteCounts]:
    """The chosen lines by stream and minute (see LogReader.counts)."""
    minutes = (block.times_ns[block.chosen] - 1) // MINUTE_NS
    owners = block.stream_of[block.chosen]
    sizes = (block.ends - block.starts)[block.chosen]
    for number in np.flatnonzero(np.bincount(owners)).tolist():
        own = owners == number
        yield block.streams[number], *by_minute(minutes[own], np.ones(int(own.sum()), np.int64), sizes[own])


def by_minute(
    minutes: NDArray[np.int64], lines: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sums by minute: the minutes (numbers in, nanoseconds out), their lines and bytes."""
    found, places = np.unique(minutes, return_inverse=True)
    line_sums, size_sums = np.zeros(len(found), np.int64), np.zeros(len(found), np.int64)
    np.add.at(line_sums, places, lines)
    np.add.at(size_sums, places, sizes)
    return found * MINUTE_NS, line_sums, size_sums


def whole_minutes(start_ns: int, end_ns: int) -> bool:
    """Whether `start_ns <= t < end_ns` is made of minutes as LogReader.counts has them."""
    return (start_ns - 1) % MINUTE_NS == 0 and (end_ns - 1) % MINUTE_NS == 0


def in_order(blocks: Iterable[tuple[int, LogBlock]], *, newest_first: bool) -> Iterator[Record]:
    """The chosen records of blocks that may overlap, in order of time.

    Blocks come in the order of their first times (newest first: of their last), each with its rank: of two records of
    one time the one of lower rank is older. A block is waited for only when all records before its first are out.
    """
    sign = -1 if newest_first else 1
    heap: list[tuple[int, int, int, LogBlock, Iterator[int]]] = []

    def advance(rank: int, block: LogBlock, indices: Iterator[int]) -> None:
        index = next(indices, -1)
        if index >= 0:
            heapq.heappush(heap, (sign * int(block.times_ns[index]), sign * rank, index, block, indices))

    for rank, block in blocks:
        edge = -int(block.times_ns[-1]) if newest_first else int(block.times_ns[0])
        while heap and heap[0][:2] < (edge, sign * rank):
            _, signed, index, older, indices = heapq.heappop(heap)
            yield older.record(index)
            advance(sign * signed, older, indices)
        order = block.chosen[::-1] if newest_first else block.chosen
        advance(rank, block, iter(order.tolist()))
    while heap:
        _, signed, index, older, indices = heapq.heappop(heap)
        yield older.record(index)
        advance(sign * signed, older, indices)
