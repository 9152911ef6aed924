"""A batch on its way into the store: stream by stream and in pieces, each of them one text from here on.

The text of a piece is made once: it is searched for secrets, compressed, and looked at by the rules. A stream that brings
enough for a block of its own gets pieces that are sealed blocks already, all but the file; the others share pieces.
Pieces of one stream follow each other in order of time; of one time, in order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.store.block_cutting import BLOCK_BYTES, OWN_BYTES
from obskit.store.log_blocks import joined_text
from obskit.store.log_interface import Records, StreamText
from obskit.store.metadata_table import MetadataTable
from obskit.store.record_block import RecordBlock
from obskit.store.redaction import Redaction
from obskit.store.text_search import Answers, TextSearch

_SHARED_BYTES: Final = 1_000_000
"""About how much text of several streams a piece holds at most."""
_RADIX: Final = 1 << 16

Places = NDArray[np.int64]


class Piece(NamedTuple):
    """Some lines of a batch as a block; `order` are their places in it. `own`: of a stream that needs no company."""

    block: RecordBlock
    order: Places
    own: bool
    found: Answers


class Arrival:
    """The records of a batch of one day, in order of time, with the numbers of their streams and the sizes of their lines
    (characters)."""

    def __init__(self, records: Records, times_ns: Places, ids: NDArray[np.int32], sizes: Places) -> None:
        self.records = records
        """Others than those given where there is a secret in them."""
        self._times_ns = times_ns
        self._ids = np.array(sorted(set(ids.tolist())), np.int32)
        self._stream_of = np.searchsorted(self._ids, ids)
        few = self._stream_of.astype(np.uint16) if len(self._ids) <= _RADIX else self._stream_of
        self._order = np.argsort(few, kind="stable") if len(self._ids) > 1 else np.arange(len(times_ns))
        self._sizes = sizes[self._order] + 1
        edges = np.concatenate(([0], np.cumsum(np.bincount(self._stream_of))))
        self._edges: list[int] = edges.tolist()

    def pieces(self, redaction: Redaction, search: TextSearch) -> Iterator[Piece]:
        """All of it, redacted and searched."""
        for start, end, own in self._cuts():
            yield self._piece(start, end, redaction, search, own=own)

    def _cuts(self) -> Iterator[tuple[int, int, bool]]:
        """Ranges of lines by stream: those of streams by themselves, and those of others together."""
        totals = np.add.reduceat(self._sizes, self._edges[:-1]).tolist()
        begin, shared = 0, 0
        for number, total in enumerate(totals):
            start, end = self._edges[number], self._edges[number + 1]
            if total < OWN_BYTES:
                shared += total
                if shared >= _SHARED_BYTES:
                    yield begin, end, False
                    begin, shared = end, 0
                continue
            if begin < start:
                yield begin, start, False
            begin, shared = end, 0
            for first, last in self._evenly(start, end, total):
                yield first, last, True
        if begin < self._edges[-1]:
            yield begin, self._edges[-1], False

    def _evenly(self, start: int, end: int, total: int) -> Iterator[tuple[int, int]]:
        count = -(-total // BLOCK_BYTES)
        if count == 1:
            return iter([(start, end)])
        marks = np.searchsorted(np.cumsum(self._sizes[start:end]), np.arange(1, count) * total // count) + start
        edges = sorted({start, end, *marks.tolist()})
        return pairwise(edges)

    def _piece(self, start: int, end: int, redaction: Redaction, search: TextSearch, *, own: bool) -> Piece:
        order = self._order[start:end]
        places = order.tolist()
        lines, metadata = _taken(self.records.lines, places), _taken(self.records.metadata, places)
        text, table = joined_text(lines, self._sizes[start:end] - 1), MetadataTable.of(metadata)
        found = search.look_into(text[0])
        lines_now = redaction.lines(lines, text, found.get(redaction.question))
        metadata_now = redaction.metadata(metadata, table)
        if lines_now is not lines:
            text = joined_text(lines_now)
            found = search.look_into(text[0])
            self.records = replace(self.records, lines=_changed(self.records.lines, places, lines_now))
        if metadata_now is not metadata:
            table = MetadataTable.of(metadata_now)
            self.records = replace(self.records, metadata=_changed(self.records.metadata, places, metadata_now))
        stream_of = self._stream_of[order]
        low, high = int(stream_of[0]), int(stream_of[-1]) + 1
        block = RecordBlock(
            self._ids[low:high],
            (stream_of - low).astype(np.int32),
            self._times_ns[order],
            *text,
            table,
        )
        return Piece(block, order, own, found)


def text_of(piece: Piece, records: Records) -> StreamText:
    """For readers of what was appended."""
    block = piece.block
    edges = np.concatenate(([0], np.cumsum(np.bincount(block.stream_of)))).tolist()
    streams = [records.streams[piece.order[start]] for start in edges[:-1]]
    text = block.data, block.starts, block.ends
    return StreamText(streams, edges, piece.order, *text, block.metadata, piece.found)


def _taken(column: list[Any], places: Sequence[int]) -> list[Any]:
    return list(itemgetter(*places)(column)) if len(places) > 1 else [column[places[0]]]


def _changed(column: list[Any], places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    changed = column.copy()
    for place, value in zip(places, values, strict=True):
        changed[place] = value
    return changed
