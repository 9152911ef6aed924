"""Reading records: which blocks a query needs, opened when their time has come.

Day by day: first the head rows of the day, then what its file has, less the head rows that are sealed by then; in this order
nothing falls between the two. What sealing may take away at any moment (head rows, blocks that are not full) is fetched at
once; other blocks are left on disk until they are wanted. A day's file gives way to its copy in cold storage in one moment,
and that is asked last. What cannot be read is reported and left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from obskit.clock import Clock
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.records import Record
from obskit.store.block_cutting import COUNTS, counts_of
from obskit.store.cold.parts import Part
from obskit.store.cold.reading import ColdGroup, ColdReading
from obskit.store.cold.target import AHEAD
from obskit.store.database import Database
from obskit.store.day_file import BlockRow, DayFile, Unmade, day_of
from obskit.store.day_files import DayFiles
from obskit.store.log_blocks import (
    TextBlock,
    by_minute,
    encoded,
    in_order,
    lines_holding,
    searching,
    whole_minutes,
)
from obskit.store.log_budget import Budget
from obskit.store.log_interface import MINUTE_NS, LogBlock, MinuteCounts, Scan
from obskit.store.log_streams import Streams
from obskit.store.packing import decompress
from obskit.store.read_ahead import worked_ahead
from obskit.store.recent import RecentBlocks
from obskit.store.record_block import Packed, RecordBlock, streams_in
from obskit.store.settings import QuerySettings
from obskit.store.token_filter import Alternatives, may_hold, wanted_ids

if TYPE_CHECKING:  # a store without cold storage never loads it
    from obskit.store.cold.parquet_reading import Group

T = TypeVar("T")
W = TypeVar("W", bound="_Waiting | _WaitingCold")

_LATEST_NS: Final = 2**62
_HEAD_RANK: Final = 1 << 40
_AT_ONCE: Final = 256
_RECENT_NS: Final = 3_600_000_000_000
"""Blocks are remembered for queries that look back no further."""


class Places(NamedTuple):
    """Where lines may lie."""

    database: Database
    files: DayFiles
    recent: RecentBlocks
    cold: ColdReading


class _Query(NamedTuple):
    """What is looked for."""

    matchers: tuple[Matcher, ...]
    streams: Mapping[int, Labels]
    start_ns: int
    end_ns: int
    needles: tuple[bytes, ...]
    newest_first: bool
    scan: Scan
    budget: Budget

    @property
    def empty(self) -> bool:
        """Whether nothing can be found."""
        return self.start_ns >= self.end_ns


class _Waiting(NamedTuple):
    """A block that waits to be opened. `packed` is None where it is still on disk."""

    key: object
    rank: int
    row: BlockRow
    packed: Packed | None


class _Frames(NamedTuple):
    """A block that is decompressed, and no more."""

    streams: bytes
    columns: bytes
    text: bytes


class _WaitingCold(NamedTuple):
    """A row group in cold storage that waits to be fetched."""

    cold: ColdGroup
    rank: int
    row: Group


class LogReading:
    """A LogReader over main.db, the day files and cold storage."""

    def __init__(self, places: Places, streams: Streams, *, limits: QuerySettings, clock: Clock) -> None:
        self._database = places.database
        self._files = places.files
        self._recent = places.recent
        self._cold = places.cold
        self._streams = streams
        self._limits = limits
        self._clock = clock

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        containing: Sequence[str] = (),
        newest_first: bool = False,
    ) -> Iterator[Record]:
        """See LogReader.select. Lines that do not contain all of `containing` are left out.

        Records of one stream and time come in the order of arrival.
        """
        query = self._query(matchers, start_ns, end_ns, containing, newest_first=newest_first)
        return in_order(self._blocks(query), newest_first=newest_first)

    def blocks(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        containing: Sequence[str] = (),
        newest_first: bool = False,
        scan: Scan | None = None,
    ) -> Iterator[LogBlock]:
        """See LogReader.blocks. Lines that do not contain all of `containing` are not chosen."""
        query = self._query(matchers, start_ns, end_ns, containing, newest_first=newest_first, scan=scan)
        if scan is not None and not query.empty:
            scan.progress.bytes_total += sum(self._bytes_of_day(day, query) for day in self._days(query))
        return (block for _, block in self._blocks(query))

    def counts(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Iterator[MinuteCounts] | None:
        """See LogReader.counts."""
        query = self._query(matchers, start_ns, end_ns)
        if not whole_minutes(start_ns, end_ns) or self._needs_cold(query):
            return None
        return self._counted(query)

    def streams(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """The streams that have a record in the range, in the order in which the store first saw them."""
        query = self._query(matchers, start_ns, end_ns, newest_first=True)
        found: set[int] = set()
        cold: dict[Labels, None] = {}
        for waiting in self._waiting(query):
            if isinstance(waiting, _WaitingCold):
                cold.update(dict.fromkeys(self._cold_streams(query, waiting, cold)))
                continue
            numbers = set(streams_in(waiting.row.streams)) & query.streams.keys()
            if numbers <= found:
                continue
            if waiting.row.t0_ns >= query.start_ns and waiting.row.t1_ns < query.end_ns:
                found |= numbers
            elif (opened := self._open(query, waiting, self._frames(query, waiting))) is not None:
                block, mask = opened
                found.update(block.ids[np.flatnonzero(np.bincount(block.stream_of[mask]))].tolist())
        hot = [labels for number, labels in query.streams.items() if number in found]
        return list(dict.fromkeys([*hot, *cold]))

    def _cold_streams(self, query: _Query, waiting: _WaitingCold, known: Mapping[Labels, None]) -> Iterable[Labels]:
        """The streams of a row group that have a line in the range."""
        labels = waiting.cold.labels
        within = waiting.row.t0_ns >= query.start_ns and waiting.row.t1_ns < query.end_ns
        if within or all(stream in known for stream in labels):
            return labels
        block = self._fetched(query, waiting)
        if block is None:
            return []
        return [block.streams[at] for at in np.flatnonzero(np.bincount(block.stream_of[block.chosen])).tolist()]

    def _query(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        containing: Sequence[str] = (),
        *,
        newest_first: bool = False,
        scan: Scan | None = None,
    ) -> _Query:
        needles = tuple(sorted((encoded(text) for text in containing if text), key=len, reverse=True))
        within = max(start_ns, 0), min(end_ns, _LATEST_NS)
        scan = scan or Scan()
        budget = Budget(self._limits, self._clock, scan.progress)
        streams = self._streams.matching(matchers)
        return _Query(tuple(matchers), streams, *within, needles, newest_first, scan, budget)

    def _blocks(self, query: _Query) -> Iterator[tuple[int, TextBlock]]:
        """Blocks with a line that is looked for, and their ranks (see log_blocks.in_order)."""
        labels = self._streams.labels()
        for waiting, loaded in worked_ahead(partial(self._loaded, query), self._paid_for(query)):
            if isinstance(loaded, TextBlock):
                yield waiting.rank, loaded
            elif isinstance(waiting, _Waiting) and (opened := self._open(query, waiting, loaded)) is not None:
                block, mask = opened
                yield waiting.rank, block.labelled(labels, mask)

    def _loaded(self, query: _Query, waiting: _Waiting | _WaitingCold) -> TextBlock | RecordBlock | _Frames | None:
        """What of a block can be made ahead: its text, or all of it if it is cold. In any thread.

        Arrays are left to the thread that takes the blocks: numpy gives the interpreter away with each small step, and
        threads that ask for it back all the time took as long together as one alone.
        """
        return self._fetched(query, waiting) if isinstance(waiting, _WaitingCold) else self._frames(query, waiting)

    def _fetched(self, query: _Query, waiting: _WaitingCold) -> TextBlock | None:
        return self._cold.block(waiting.cold, query.start_ns, query.end_ns, query.needles, query.scan.worth)

    def _paid_for(self, query: _Query) -> Iterator[_Waiting | _WaitingCold]:
        """The blocks that may hold what is looked for, as far as the limits let."""
        for waiting in self._waiting(query):
            query.budget.spend(waiting.row.raw_bytes)
            yield waiting

    def _counted(self, query: _Query) -> Iterator[MinuteCounts]:
        rows = np.concatenate([np.zeros(0, COUNTS), *(self._counts_of_day(day, query) for day in self._days(query))])
        first, last = (query.start_ns - 1) // MINUTE_NS, (query.end_ns - 1) // MINUTE_NS
        rows = rows[(rows["minute"] >= first) & (rows["minute"] < last)]
        rows = rows[np.argsort(rows["stream"], kind="stable")]
        edges = np.flatnonzero(np.diff(rows["stream"], prepend=-1, append=-1)).tolist()
        for start, end in pairwise(edges):
            own = rows[start:end]
            labels = query.streams.get(int(own["stream"][0]))
            if labels is not None:
                yield labels, *by_minute(own["minute"].astype(np.int64), own["lines"], own["bytes"])

    def _counts_of_day(self, day: int, query: _Query) -> NDArray[np.void]:
        """The counts of a day's blocks and head rows that overlap the range."""
        head = self._head(day, query)
        file = self._files.get(day)
        sealed, counts = self._reported(file, lambda: file.counts(query.start_ns, query.end_ns)) or (0, b"")
        blocks = [self._block(query, one, self._frames(query, one)) for one in head if one.row.id > sealed]
        return np.concatenate(
            [np.frombuffer(counts, COUNTS), *(counts_of(block) for block in blocks if block is not None)]
        )

    def _waiting(self, query: _Query) -> Iterator[_Waiting | _WaitingCold]:
        """The blocks that may hold what is looked for, in the order in which they are to be opened."""
        if query.empty:
            return
        wanted = [ids for needle in query.needles for ids in wanted_ids(needle)]
        every = len(query.streams) == len(self._streams.labels())
        for day in self._days(query):
            hot, cold = self._of_day(day, query)
            if not every:
                here = [not query.streams.keys().isdisjoint(streams_in(one.row.streams)) for one in hot]
                hot = _kept(hot, here, query)
            found: list[_Waiting | _WaitingCold] = [*hot, *cold]
            if query.newest_first:
                found.sort(key=lambda one: (-one.row.t1_ns, -one.rank))
            else:
                found.sort(key=lambda one: (one.row.t0_ns, one.rank))
            if not wanted and not cold:
                yield from found
                continue
            # Of cold blocks the next ones are on their way while one is looked at.
            step = AHEAD if cold else _AT_ONCE
            for at in range(0, len(found), step):
                self._cold.ahead([one.cold for one in found[at : at + 2 * step] if isinstance(one, _WaitingCold)])
                some = found[at : at + step]
                yield from _kept(some, self._possible(day, some, wanted), query) if wanted else some

    def _bytes_of_day(self, day: int, query: _Query) -> int:
        """Bytes of the blocks, head rows and cold parts that overlap the range."""
        file = self._files.get(day)
        ((head,),) = self._database.read(
            "SELECT total(raw_bytes) FROM log_head WHERE day = ? AND t1_ns >= ? AND t0_ns < ?",
            (day, query.start_ns, query.end_ns),
        )
        is_hot, parts = self._cold.instead_of(day, self._reported(file, file.sealed) or 0)
        sealed = self._reported(file, lambda: file.raw_bytes(query.start_ns, query.end_ns)) or 0 if is_hot else 0
        return int(head) + sealed + sum(part.raw_bytes for part in parts if _overlaps(part, query))

    def _days(self, query: _Query) -> list[int]:
        first, last = day_of(query.start_ns), day_of(query.end_ns - 1)
        rows = self._database.read("SELECT DISTINCT day FROM log_head WHERE day BETWEEN ? AND ?", (first, last))
        days = {day for (day,) in rows} | {day for day in self._files.days() if first <= day <= last}
        return sorted(days | self._cold.days(first, last), reverse=query.newest_first)

    def _of_day(self, day: int, query: _Query) -> tuple[list[_Waiting], list[_WaitingCold]]:
        """What a day has in the range: in the head, in its file, and in cold storage (looked at in this order)."""
        head = self._head(day, query)
        file = self._files.get(day)
        sealed, rows, opened = self._reported(file, lambda: file.listing(query.start_ns, query.end_ns)) or (0, [], {})
        is_hot, parts = self._cold.instead_of(day, sealed)
        found = [_Waiting((day, row.id), row.id, row, opened.get(row.id)) for row in rows if is_hot]
        found += [waiting for waiting in head if waiting.row.id > sealed]
        overlapping = [part for part in parts if _overlaps(part, query)]
        groups = self._cold.groups(overlapping, query.matchers, query.start_ns, query.end_ns)
        cold = [_WaitingCold(one, one.rank, one.group) for one in groups]
        left_out = sum(part.raw_bytes for part in overlapping) - sum(one.row.raw_bytes for one in cold)
        query.scan.progress.bytes_read += max(left_out, 0)
        return found, cold

    def _needs_cold(self, query: _Query) -> bool:
        """Whether some of the lines are in cold storage alone, where they are not counted by minute."""
        for day in self._cold.days(day_of(query.start_ns), day_of(query.end_ns - 1)):
            file = self._files.get(day)
            _, parts = self._cold.instead_of(day, self._reported(file, file.sealed) or 0)
            if any(_overlaps(part, query) for part in parts):
                return True
        return False

    def _head(self, day: int, query: _Query) -> list[_Waiting]:
        rows = self._database.read(
            "SELECT id, t0_ns, t1_ns, raw_bytes, streams, columns, text FROM log_head"
            " WHERE day = ? AND t1_ns >= ? AND t0_ns < ?",
            (day, query.start_ns, query.end_ns),
        )
        found = []
        for number, t0_ns, t1_ns, raw_bytes, *packed in rows:
            row = BlockRow(number, t0_ns, t1_ns, raw_bytes, open=True, streams=packed[0])
            found.append(_Waiting(number, _HEAD_RANK + number, row, Packed(*packed)))
        return found

    def _reported(self, file: DayFile, read: Callable[[], T]) -> T | None:
        """What is read from a file; None when it is not there, or cannot be read."""
        try:
            return read() if file.path.exists() else None
        except Unmade:
            return None
        except sqlite3.DatabaseError as error:
            if file.path.exists():  # else retention was faster
                self._files.report(file.path.name, error)
            return None

    def _possible(self, day: int, found: Sequence[_Waiting | _WaitingCold], wanted: list[Alternatives]) -> list[bool]:
        """Which of them may have the ids: those of which no filter says that they are not there. Cold ones have none."""
        file = self._files.get(day)
        closed = [one.row for one in found if isinstance(one, _Waiting) and one.packed is None]
        filters = self._reported(file, lambda: file.filters(closed)) if closed else []
        possible = may_hold(filters, wanted).tolist() if filters else [False] * len(closed)
        left_out = {row.id for row, here in zip(closed, possible, strict=True) if not here}
        return [isinstance(one, _WaitingCold) or one.packed is not None or one.row.id not in left_out for one in found]

    def _open(
        self, query: _Query, waiting: _Waiting, loaded: RecordBlock | _Frames | None
    ) -> tuple[RecordBlock, NDArray[np.bool_]] | None:
        """A block and which of its lines are looked for; None when there are none."""
        block = self._block(query, waiting, loaded)
        if block is None:
            return None
        mask = _chosen(block, query)
        return (block, mask) if mask.any() else None

    def _frames(self, query: _Query, waiting: _Waiting) -> RecordBlock | _Frames | None:
        """A block's text and columns; None when it does not hold what is looked for, or cannot be read. In any thread."""
        known = self._recent.get(waiting.key)
        if known is not None:
            return known
        packed = waiting.packed or self._packed(waiting.row)
        if packed is None:
            return None  # retention was faster
        try:
            text = decompress(packed.text)
            if any(searching(needle)(text, 0) is None for needle in query.needles):
                return None
            if query.scan.worth is not None and not query.scan.worth(text):
                return None
            return _Frames(packed.streams, decompress(packed.columns), text)
        except ValueError as error:
            self._files.report(waiting.key, error)
            return None

    def _block(self, query: _Query, waiting: _Waiting, loaded: RecordBlock | _Frames | None) -> RecordBlock | None:
        """A block; None when it does not hold what is looked for, or cannot be read."""
        if not isinstance(loaded, _Frames):
            return loaded
        if query.scan.holds is not None and not query.scan.holds(loaded.text):
            return None
        try:
            block = RecordBlock.of_frames(*loaded)
        except ValueError as error:
            self._files.report(waiting.key, error)
            return None
        if query.end_ns - query.start_ns <= _RECENT_NS:
            self._recent.keep(waiting.key, block)
        return block

    def _packed(self, row: BlockRow) -> Packed | None:
        file = self._files.get(day_of(row.t0_ns))
        found = self._reported(file, lambda: file.bodies([row.id]))
        return found[0][1] if found else None


def _overlaps(part: Part, query: _Query) -> bool:
    return part.t1_ns >= query.start_ns and part.t0_ns < query.end_ns


def _kept(found: Sequence[W], here: list[bool], query: _Query) -> list[W]:
    """Some of them; the others count as read."""
    pairs = list(zip(found, here, strict=True))
    query.scan.progress.bytes_read += sum(one.row.raw_bytes for one, stays in pairs if not stays)
    return [one for one, stays in pairs if stays]


def _chosen(block: RecordBlock, query: _Query) -> NDArray[np.bool_]:
    """Which lines of a block are looked for."""
    mask = (block.times_ns >= query.start_ns) & (block.times_ns < query.end_ns)
    wanted = np.array([number in query.streams for number in block.ids.tolist()])
    if not wanted.all():
        mask &= wanted[block.stream_of]
    for needle in query.needles:
        mask = lines_holding(block, mask, needle)
    return mask
