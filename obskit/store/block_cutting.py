"""Sealing's work without its files: lines of many head rows become blocks, most of them of one stream.

A stream with enough lines gets blocks of its own; the lines of all others share blocks, cut by stream number so that a
query for one stream opens few of them. What shares a block and is not much stays open for the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.store.day_file import NewBlock
from obskit.store.log_blocks import SEPARATOR, gathered_text
from obskit.store.log_interface import MINUTE_NS
from obskit.store.metadata_table import MetadataTable
from obskit.store.record_block import RecordBlock, streams_in
from obskit.store.token_filter import build_filter

BLOCK_BYTES: Final = 512 * 1024
"""The most text that a block holds, but for a single longer line."""
OWN_BYTES: Final = 128 * 1024
"""A stream with this much text gets blocks of its own."""
LEVEL: Final = 1
COUNTS: Final = np.dtype([("stream", "<i4"), ("minute", "<i4"), ("lines", "<i4"), ("bytes", "<i8")])
"""A row of a block's counts (see LogReader.counts): streams and minutes by number."""
_FEW_STREAMS: Final = 1 << 16

Places = NDArray[np.int64]


def blocks_of(pieces: Sequence[RecordBlock]) -> Iterator[NewBlock]:
    """The blocks of some pieces (older ones first), which are of one day."""
    if not pieces:
        return
    batch = _Batch(pieces)
    for start, end in _evenly(batch.sizes, batch.own):
        yield batch.block(start, end, is_open=False)
    shared = batch.shared
    if shared[0] < shared[1]:
        parts = list(_pieces_of(batch.sizes, *shared))
        for start, end in parts:
            yield batch.block(start, end, is_open=len(parts) == 1)


def mixed_up(pieces: Sequence[RecordBlock | NewBlock]) -> set[int]:
    """The finished blocks, by identity, whose times overlap those of other lines of their stream.

    Lines of one time are to stay in order of arrival: so these are made anew, together with the others.
    """
    spans: dict[int, tuple[int, int]] = {}
    left = {id(piece): piece for piece in pieces if isinstance(piece, NewBlock)}
    streams = {key: streams_in(block.packed.streams) for key, block in left.items()}
    asked = set(chain.from_iterable(streams.values()))
    for piece in pieces:
        if isinstance(piece, RecordBlock):
            _widen(spans, piece, asked)
    mixed: set[int] = set()
    while found := [
        key for key, block in left.items() if any(_overlaps(spans.get(one), block) for one in streams[key])
    ]:
        for key in found:
            block = left.pop(key)
            for one in streams[key]:
                first, last = spans.get(one, (block.t0_ns, block.t1_ns))
                spans[one] = min(first, block.t0_ns), max(last, block.t1_ns)
        mixed.update(found)
    return mixed


def _overlaps(span: tuple[int, int] | None, block: NewBlock) -> bool:
    return span is not None and span[0] <= block.t1_ns and block.t0_ns <= span[1]


def _widen(spans: dict[int, tuple[int, int]], block: RecordBlock, asked: set[int]) -> None:
    """Note from when to when a block has lines of each of these streams."""
    for place, stream in enumerate(block.ids.tolist()):
        if stream in asked:
            times_ns = block.times_ns[block.stream_of == place]
            first, last = spans.get(stream, (int(times_ns[0]), int(times_ns[-1])))
            spans[stream] = min(first, int(times_ns[0])), max(last, int(times_ns[-1]))


class _Batch:
    """The lines of all pieces by stream and then by time; of one time, in the order in which they came.

    Streams that get blocks of their own come first: `own` are their ranges, `shared` is that of all others.
    """

    def __init__(self, pieces: Sequence[RecordBlock]) -> None:
        bases = np.cumsum([0, *(len(piece.data) + 1 for piece in pieces[:-1])]).tolist()
        self._data = SEPARATOR.join([piece.data for piece in pieces])
        starts = np.concatenate([piece.starts + base for piece, base in zip(pieces, bases, strict=True)])
        ends = np.concatenate([piece.ends + base for piece, base in zip(pieces, bases, strict=True)])
        ids = np.concatenate([piece.ids[piece.stream_of] for piece in pieces])
        times_ns = np.concatenate([piece.times_ns for piece in pieces])
        order = self._ordered(ids, times_ns, ends - starts + 1)
        self._ids, self._times_ns = ids[order], times_ns[order]
        self._starts, self._ends = starts[order], ends[order]
        self._metadata = MetadataTable.joined([piece.metadata for piece in pieces], order)
        self.sizes = np.concatenate(([0], np.cumsum(self._ends - self._starts + 1)))
        """Bytes before each line, separators counted."""

    def _ordered(self, ids: NDArray[np.int32], times_ns: Places, sizes: Places) -> Places:
        distinct, streams = np.unique(ids, return_inverse=True)
        large = np.bincount(streams, weights=sizes) >= OWN_BYTES
        rank = np.empty(len(distinct), np.int64)
        rank[np.argsort(~large, kind="stable")] = np.arange(len(distinct))
        # A stable sort of 16 bits is a radix sort.
        ranks = rank[streams].astype(np.uint16 if len(distinct) <= _FEW_STREAMS else np.int64)
        order = np.argsort(ranks, kind="stable")
        if not ((np.diff(times_ns[order]) >= 0) | (np.diff(ranks[order]) != 0)).all():
            order = np.lexsort((times_ns, ranks))
        counts = np.bincount(ranks, minlength=len(distinct))[: int(large.sum())]
        ends = np.cumsum(counts).tolist()
        self.own = list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []
        self.shared = (ends[-1] if ends else 0, len(ids))
        return order

    def block(self, start: int, end: int, *, is_open: bool) -> NewBlock:
        """Some of the lines as a block."""
        lines = slice(start, end)
        ids, streams = np.unique(self._ids[lines], return_inverse=True)
        times_ns, starts, ends = self._times_ns[lines], self._starts[lines], self._ends[lines]
        text = gathered_text(self._data, starts, ends)
        metadata = self._metadata.part(start, end)
        return made_of(RecordBlock(ids, streams.astype(np.int32), times_ns, *text, metadata), is_open=is_open)


def made_of(block: RecordBlock, *, is_open: bool = False) -> NewBlock:
    """Lines as a block of a day file. An open one has no filter: it is read at every sealing."""
    return NewBlock(
        int(block.times_ns.min()),
        int(block.times_ns.max()),
        len(block),
        block.raw_bytes,
        is_open,
        counts_of(block).tobytes(),
        b"" if is_open else build_filter(block.data),
        block.pack(LEVEL),
    )


def _evenly(sizes: Places, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in ranges:
        yield from _pieces_of(sizes, start, end)


def _pieces_of(sizes: Places, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A range of lines cut into parts of about equal size, none larger than a block may be."""
    total = int(sizes[end] - sizes[start])
    count = -(-total // BLOCK_BYTES)
    marks = sizes[start] + np.arange(1, count) * total // count
    edges = sorted({start, end, *np.clip(np.searchsorted(sizes, marks), start, end).tolist()})
    yield from pairwise(edges)


def counts_of(block: RecordBlock) -> NDArray[np.void]:
    """Lines and bytes by stream and minute."""
    minutes = (block.times_ns - 1) // MINUTE_NS
    changes = (np.diff(minutes) != 0) | (np.diff(block.stream_of) != 0)
    firsts = np.flatnonzero(np.concatenate(([True], changes)))
    counts = np.zeros(len(firsts), COUNTS)
    counts["stream"], counts["minute"] = block.ids[block.stream_of[firsts]], minutes[firsts]
    counts["lines"] = np.diff(np.append(firsts, len(minutes)))
    counts["bytes"] = np.add.reduceat(block.ends - block.starts, firsts)
    return counts
