"""Blocks of lines through the stages of a query.

The cheap questions come first, and are asked of whole blocks: line filters at the head of a query, and what its label
filters need to stand in a line. Only for lines that may pass are strings and labels made.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from obskit.logql.entries import EXTRACTED, Entry, own_labels
from obskit.logql.filters import needles
from obskit.logql.flat_json import Columns, FlatJson
from obskit.logql.log_nodes import DropStage, JsonStage, KeepStage, LabelFilter, LineFilter, LogQuery, Stage
from obskit.logql.own_labels import own_label_sieves
from obskit.logql.probes import probes, sift
from obskit.logql.scan import Indices, run_test, sieves, text_test, without
from obskit.logql.stages import LINE_CHANGERS, Demands, steps
from obskit.model.records import NO_METADATA, whole_text
from obskit.store.log_interface import LogBlock, Progress, Scan

_CHECKED: Final = 0xFF
"""A block may hold many thousand lines: whether the query goes on is asked now and then."""
_MANY: Final = 16
"""Fewer lines are not worth the trouble of finding those that are alike."""
_Waiting: TypeAlias = tuple[int, int, Entry, Iterator[Entry]]


class Pipeline:
    """The stages of one query, ready to run."""

    def __init__(self, query: LogQuery, demands: Demands, progress: Progress | None = None) -> None:
        head = [stage for stage in takewhile(_is_line_filter, query.stages) if isinstance(stage, LineFilter)]
        rest = query.stages[len(head) :]
        self._wanted = (
            None if demands.labels is None else demands.labels | {f"{name}{EXTRACTED}" for name in demands.labels}
        )
        self._sieves = [*sieves(head), *own_label_sieves(rest)]
        self._probes = probes(rest)
        self._fields = _flat_fields(rest, demands)
        self.steps = steps(rest, demands)
        self.containing = _needles(query.stages)
        self.scan = Scan(text_test(head), run_test(head), progress or Progress())

    def lines(self, block: LogBlock) -> Indices:
        """The lines of a block that may pass; without steps, those that do."""
        lines = block.chosen
        for sieve in self._sieves:
            lines = sieve(block, lines)
        for probe in self._probes:
            lines = sift(probe, block, lines)
        return lines

    def entries(self, block: LogBlock, *, newest_first: bool = False) -> Iterator[Entry]:
        """The lines of a block that pass, with their labels."""
        lines = self.lines(block)
        return (entry for _, entry in self._each(block, lines[::-1] if newest_first else lines))

    def groups(self, block: LogBlock) -> Iterator[tuple[list[int], Entry]]:
        """The lines of a block that pass, by their indices, with the labels that those of a group have in common.

        Where lines are known to be alike in what the stages look at, one of them goes through the stages for all.
        """
        lines = self.lines(block)
        if self._fields is not None and len(lines) >= _MANY:
            columns = self._fields.read(block, lines)
            yield from self._alike(block, columns, self._fields)
            lines = without(block, lines, columns.lines)
        yield from self._singles(block, lines)

    def singles(self, block: LogBlock) -> Iterator[tuple[list[int], Entry]]:
        """As `groups`, each line for itself: with its text."""
        return self._singles(block, self.lines(block))

    def _singles(self, block: LogBlock, lines: Indices) -> Iterator[tuple[list[int], Entry]]:
        return (([index], entry) for index, entry in self._each(block, lines))

    def _each(self, block: LogBlock, lines: Indices) -> Iterator[tuple[int, Entry]]:
        """Each line that passes the stages."""
        if not len(lines):
            return
        all_steps, progress = self.steps, self.scan.progress
        with_metadata = bool(self._metadata_read(block))
        bases = [own_labels(stream, NO_METADATA) for stream in block.streams]
        data = block.data
        columns = (lines, block.times_ns[lines], block.stream_of[lines], block.starts[lines], block.ends[lines])
        for index, t_ns, number, start, end in zip(*(column.tolist() for column in columns), strict=True):
            if not index & _CHECKED:
                progress.check()
            metadata = block.metadata(index) if with_metadata else NO_METADATA
            stream = block.streams[number]
            if metadata:
                labels, own = own_labels(stream, metadata)
            else:
                labels, own = bases[number][0].copy(), bases[number][1]
            line = whole_text(data[start:end].decode(errors="surrogatepass"))
            entry = Entry(t_ns, line, labels, own, stream)
            for step in all_steps:
                if not step(entry):
                    break
            else:
                progress.lines_found += 1
                yield index, entry

    def _alike(self, block: LogBlock, columns: Columns, fields: FlatJson) -> Iterator[tuple[list[int], Entry]]:
        """Lines of one stream, with the same metadata and the same values, as far as anybody looks at them."""
        names = sorted(self._metadata_read(block))
        own_columns = [block.metadata_column(name)[columns.lines].tolist() for name in names]
        for some in _grouped(block.stream_of[columns.lines], [*own_columns, *columns.values]):
            indices = columns.lines[some]
            first, one = int(indices[0]), int(some[0])
            metadata = {
                name: column[one] for name, column in zip(names, own_columns, strict=True) if column[one] is not None
            }
            stream = block.streams[block.stream_of[first]]
            entry = Entry(int(block.times_ns[first]), "", *own_labels(stream, metadata), stream)
            values = [column[one] for column in columns.values]
            for label, raw in zip(fields.labels, values, strict=True):
                text = None if raw is None else fields.text(raw)
                if text is not None:
                    entry.add(label, text)
            if all(step(entry) for step in self.steps[1:]):  # the first is the parser
                self.scan.progress.lines_found += len(indices)
                yield indices.tolist(), entry

    def _metadata_read(self, block: LogBlock) -> Collection[str]:
        """The names of metadata that somebody looks at, or that may take the name of a label that somebody looks at."""
        wanted, names = self._wanted, block.metadata_names
        if wanted is None:
            return names
        return [name for name in names if name in wanted or f"{name}{EXTRACTED}" in wanted]

    def ordered(self, blocks: Iterable[LogBlock], *, newest_first: bool) -> Iterator[Entry]:
        """The lines of all blocks that pass, in order of time. A block is read when its time has come, not before."""
        sign = -1 if newest_first else 1
        heap: list[_Waiting] = []
        for rank, block in enumerate(blocks):
            edge = -int(block.times_ns[-1]) if newest_first else int(block.times_ns[0])
            yield from _drained(heap, edge, sign)
            _push(heap, rank, self.entries(block, newest_first=newest_first), sign)
        yield from _drained(heap, None, sign)


def _grouped(owners: NDArray[np.int32], columns: Sequence[Sequence[object]]) -> list[Indices]:
    """The places in which everything is the same, group by group."""
    codes = owners.astype(np.int64)
    for column in columns:
        known = {value: code for code, value in enumerate(dict.fromkeys(column))}
        if len(known) > 1:
            own = np.fromiter(map(known.__getitem__, column), np.int64, len(column))
            # Numbered anew each time, or many columns of many values would overflow.
            codes = np.unique(codes * len(known) + own, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []


def _push(heap: list[_Waiting], rank: int, entries: Iterator[Entry], sign: int) -> None:
    entry = next(entries, None)
    if entry is not None:
        heapq.heappush(heap, (sign * entry.t_ns, rank, entry, entries))


def _drained(heap: list[_Waiting], edge: int | None, sign: int) -> Iterator[Entry]:
    """What comes before the edge of a block that is still to be read."""
    while heap and (edge is None or heap[0][0] <= edge):
        _, rank, entry, entries = heapq.heappop(heap)
        yield entry
        _push(heap, rank, entries, sign)


def _is_line_filter(stage: Stage) -> bool:
    return isinstance(stage, LineFilter)


def _flat_fields(stages: tuple[Stage, ...], demands: Demands) -> FlatJson | None:
    """A reader of what is wanted, where that is some fields of JSON lines, and no stage looks at the line or its time."""
    if not demands.labels or not stages or not isinstance(stages[0], JsonStage) or stages[0].extractions:
        return None
    if not all(isinstance(stage, LabelFilter | DropStage | KeepStage) for stage in stages[1:]):
        return None
    read = demands.fields or frozenset()
    return FlatJson(read) if FlatJson.reads(read) else None


def _needles(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Texts that the stored line must contain: those of filters before anything changes the line."""
    unchanged = takewhile(lambda stage: not isinstance(stage, LINE_CHANGERS), stages)
    return tuple(dict.fromkeys(text for stage in unchanged if isinstance(stage, LineFilter) for text in needles(stage)))
