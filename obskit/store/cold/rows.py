"""Some lines of a source as columns, by stream and then by time: what a row group of a file holds."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from json.encoder import encode_basestring_ascii as _quoted

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.records import NO_METADATA
from obskit.store.log_blocks import SEPARATOR, TextBlock
from obskit.store.metadata_table import MetadataTable
from obskit.store.record_block import RecordBlock


@dataclass(frozen=True, slots=True)
class Rows:
    """`streams` are labels as JSON, ascending; `stream_of` (ascending) are indices into them. Lines lie end to end in
    `data`, the last byte of line `i` before `ends[i]`."""

    streams: Sequence[str]
    stream_of: NDArray[np.int32]
    times_ns: NDArray[np.int64]
    data: bytes
    ends: NDArray[np.int64]
    metadata: MetadataTable

    @classmethod
    def of(cls, pieces: Sequence[RecordBlock], labels: Mapping[int, str], wanted: Collection[int]) -> Rows | None:
        """The lines of some streams in some blocks (of one time, in the order of the blocks); None when there are none."""
        kept = [_places(piece, wanted) for piece in pieces]
        present = sorted(
            {one for piece in pieces for one in piece.ids.tolist() if one in wanted}, key=labels.__getitem__
        )
        rank = np.zeros(max(present, default=0) + 1, np.int32)
        rank[present] = np.arange(len(present), dtype=np.int32)
        stream_of = np.concatenate([rank[p.ids[p.stream_of[at]]] for p, at in zip(pieces, kept, strict=True)])
        if not len(stream_of):
            return None
        times_ns = np.concatenate([piece.times_ns[at] for piece, at in zip(pieces, kept, strict=True)])
        bases = np.cumsum([0, *(len(piece.data) + 1 for piece in pieces)]).tolist()
        starts = np.concatenate([p.starts[at] + base for p, at, base in zip(pieces, kept, bases, strict=False)])
        ends = np.concatenate([p.ends[at] + base for p, at, base in zip(pieces, kept, bases, strict=False)])
        lines = np.cumsum([0, *map(len, pieces)]).tolist()
        places = np.concatenate([at + base for at, base in zip(kept, lines, strict=False)])
        order = np.lexsort((times_ns, stream_of))
        data, new_ends = _end_to_end(SEPARATOR.join([piece.data for piece in pieces]), starts[order], ends[order])
        metadata = MetadataTable.joined([piece.metadata for piece in pieces], places[order])
        streams = [labels[number] for number in present]
        return cls(streams, stream_of[order], times_ns[order], data, new_ends, metadata)

    def __len__(self) -> int:
        return len(self.times_ns)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each line begins."""
        return np.concatenate((np.zeros(1, np.int64), self.ends[:-1]))

    def part(self, start: int, end: int) -> Rows:
        """Some rows that follow each other."""
        base = int(self.ends[start - 1]) if start else 0
        present, stream_of = np.unique(self.stream_of[start:end], return_inverse=True)
        return Rows(
            [self.streams[number] for number in present.tolist()],
            stream_of.astype(np.int32),
            self.times_ns[start:end],
            self.data[base : int(self.ends[end - 1])],
            self.ends[start:end] - base,
            self.metadata.part(start, end),
        )

    def block(self, labels: Sequence[Labels]) -> TextBlock:
        """For readers, in order of time, with a separator between two lines. `labels` are those of `streams`."""
        if len(self.streams) == 1:
            ends = self.ends + np.arange(len(self))
            text = separated(self.data, self.ends), ends - np.diff(self.ends, prepend=np.int64(0)), ends
            return TextBlock(labels, self.stream_of, self.times_ns, *text, np.arange(len(self)), self.metadata)
        order = np.argsort(self.times_ns, kind="stable")
        starts, old_ends = self.starts[order], self.ends[order]
        edges = zip(starts.tolist(), old_ends.tolist(), strict=True)
        data = SEPARATOR.join([self.data[start:end] for start, end in edges])
        ends = np.cumsum(old_ends - starts + 1) - 1
        text = data, ends - (old_ends - starts), ends
        metadata = MetadataTable.joined([self.metadata], order)
        return TextBlock(labels, self.stream_of[order], self.times_ns[order], *text, np.arange(len(self)), metadata)


def separated(data: bytes, ends: NDArray[np.int64]) -> bytes:
    """Lines that lie end to end, with a separator between two."""
    cuts = [0, *ends.tolist()]
    return SEPARATOR.join([data[start:end] for start, end in pairwise(cuts)])


def metadata_texts(table: MetadataTable) -> list[str]:
    """The metadata of each line that has any, as JSON."""
    texts = np.full(len(table), None, np.object_)
    for number, (shape, columns) in enumerate(zip(table.shapes, table.columns, strict=True)):
        if shape:
            # Lines with the same keys differ in their values alone.
            form = ",".join(f"{_quoted(key)}:".replace("%", "%%") + "%s" for key in shape)
            texts[table.shape_of == number] = list(
                map(f"{{{form}}}".__mod__, zip(*[map(_quoted, column) for column in columns], strict=True))
            )
    return [text for text in texts.tolist() if text is not None]


def metadata_of(texts: Sequence[str], here: NDArray[np.bool_]) -> MetadataTable:
    """The metadata of lines by `metadata_texts`; `here` are the lines that have some. ValueError when it is no JSON."""
    known: dict[str, Mapping[str, str]] = {}
    parsed = iter([known.get(text) or known.setdefault(text, json.loads(text)) for text in texts])
    return MetadataTable.of([next(parsed) if own else NO_METADATA for own in here.tolist()])


def _places(piece: RecordBlock, wanted: Collection[int]) -> NDArray[np.int64]:
    """The lines of a block that are of some streams."""
    own = np.array([number in wanted for number in piece.ids.tolist()])
    return np.arange(len(piece)) if own.all() else np.flatnonzero(own[piece.stream_of])


def _end_to_end(data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
    """Some lines of a text with nothing between them, and where they end."""
    text = b"".join([data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])
    return text, np.cumsum(ends - starts)
