"""The logs half of the embedded store: a batch becomes one compressed row an hour, a selection merges rows by time.

Limits are kept here; which fields are secret, sealing into day files and counting by minute are left to their own
files. Rows never cross an hour of Unix time, so a selection goes hour by hour and opens a row when its time has come.
"""

from __future__ import annotations

import heapq
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Final, NamedTuple

import numpy as np

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.records import Record
from obskit.store import telemetry
from obskit.store.database import Database, Transaction
from obskit.store.disk import from_text, to_text
from obskit.store.matching import matching
from obskit.store.recent import FEW, RecentRows
from obskit.store.record_block import RecordBlock, encoded, pack_records, streams_in
from obskit.store.settings import StoreSettings

HOUR_NS: Final = 3_600_000_000_000
OVERFLOW: Final = Labels({"obskit_overflow": "true"})
_HOUR_MS: Final = 3_600_000
_LATEST_NS: Final = 2**62

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Written:
    """What an append wrote of a batch's records; counted and remembered after the commit."""

    streams: dict[Labels, _Stream] = field(default_factory=dict)
    touched: set[Labels] = field(default_factory=set)
    records: int = 0
    newest_ns: int = 0
    dropped: int = 0
    cut: int = 0


class _Stream(NamedTuple):
    """A stream as it is stored: within its limits, and its id."""

    id: int
    labels: Labels


class _Row(NamedTuple):
    """A head row that waits to be opened; `key` is its first time in the direction of reading."""

    key: int
    id: int
    t0_ns: int


class LogStore:
    """Records. The reading half is a LogReader; the writing half is called by embedded.py in the writer thread."""

    def __init__(self, database: Database, limits: StoreSettings) -> None:
        self._database = database
        self._limits = limits
        self._known: dict[Labels, _Stream] = {}
        self._known_since_ms = 0
        self._at_limit = False
        self._lock = threading.Lock()
        self._streams: dict[int, Labels] = {}
        self._recent = RecentRows()

    def insert(self, tx: Transaction, records: Sequence[Record], now_ms: int) -> Written:
        """Write the records in the append's transaction."""
        written = Written()
        if not records:
            return written
        if not 0 <= now_ms - self._known_since_ms < _HOUR_MS:
            # Every hour streams say again that they live: the limit counts those of about an hour, and retention may
            # forget the others.
            self._known, self._known_since_ms = {}, now_ms
        stored = sorted(
            (fit for record in records if (fit := self._fit(record, written))), key=lambda record: record.t_ns
        )
        for _, group in groupby(stored, key=lambda record: record.t_ns // HOUR_NS):
            self._insert_row(tx, list(group), written, now_ms)
        return written

    def remember(self, written: Written) -> None:
        """It is committed."""
        self._known.update(written.streams)
        telemetry.RECORDS.inc(written.records)
        if written.dropped:
            telemetry.DROPPED.labels("bad_time").inc(written.dropped)
        if written.cut:
            telemetry.CUT.labels("line").inc(written.cut)

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        containing: Sequence[str] = (),
        newest_first: bool = False,
    ) -> Iterator[Record]:
        """Records with `start_ns <= t < end_ns` of every stream that satisfies all matchers, in order of time.

        Lines that do not contain all of `containing` are left out. Records of one time come in the order of arrival.
        """
        streams = self._matching(matchers)
        needles = [encoded(text) for text in containing if text]
        if not streams:
            return
        for rows in self._hours(start_ns, end_ns, newest_first=newest_first):
            opened = (
                (row, self._open(row, streams, needles, (start_ns, end_ns), newest_first=newest_first)) for row in rows
            )
            yield from _merged(opened, newest_first=newest_first)

    def streams(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """The streams that have a record in the range, in the order in which the store first saw them."""
        wanted = self._matching(matchers)
        found: set[int] = set()
        for row in chain.from_iterable(self._hours(start_ns, end_ns, newest_first=True)):
            if len(found) == len(wanted):
                break
            found |= self._streams_of(row, start_ns, end_ns) & wanted.keys()
        return [labels for number, labels in wanted.items() if number in found]

    def _fit(self, record: Record, written: Written) -> Record | None:
        """The record within its limits; None when its time cannot be stored."""
        if not 0 <= record.t_ns < _LATEST_NS:
            written.dropped += 1
            return None
        limit = self._limits.max_line
        if len(record.line) * 4 > limit and len(whole := encoded(record.line)) > limit:
            written.cut += 1
            line = whole[:limit].decode("utf-8", "ignore")
            record = Record(record.stream, record.t_ns, line, record.metadata)
        return record

    def _insert_row(self, tx: Transaction, records: list[Record], written: Written, now_ms: int) -> None:
        ids = []
        for index, record in enumerate(records):
            stream = self._known.get(record.stream) or written.streams.get(record.stream)
            if stream is None:
                stream = self._admit(tx, record.stream, written, now_ms)
                if stream.labels is OVERFLOW:
                    metadata = {**dict(record.stream.pairs), **record.metadata}
                    records[index] = Record(OVERFLOW, record.t_ns, record.line, metadata)
            ids.append(stream.id)
            written.touched.add(stream.labels)
        data, raw_bytes = pack_records(records, ids)
        t0_ns, t1_ns = records[0].t_ns, records[-1].t_ns
        tx.execute(
            "INSERT INTO log_head (t0_ns, t1_ns, n, raw_bytes, data) VALUES (?, ?, ?, ?, ?)",
            (t0_ns, t1_ns, len(records), raw_bytes, data),
        )
        written.records += len(records)
        written.newest_ns = max(written.newest_ns, t1_ns)

    def _admit(self, tx: Transaction, labels: Labels, written: Written, now_ms: int) -> _Stream:
        """A stream that was not seen this hour."""
        if len(self._known) + len(written.streams) >= self._limits.max_streams:
            if not self._at_limit:
                self._at_limit = True
                log.warning("too many log streams: max_streams=%d first=%s", self._limits.max_streams, labels)
            return _Stream(_stream_id(tx, OVERFLOW, now_ms), OVERFLOW)
        self._at_limit = False
        stored = self._shortened(labels)
        written.streams[labels] = stream = _Stream(_stream_id(tx, stored, now_ms), stored)
        return stream

    def _shortened(self, stream: Labels) -> Labels:
        limits = self._limits
        pairs = [(name[: limits.max_label_name], value[: limits.max_label_value]) for name, value in stream.pairs]
        if tuple(pairs) == stream.pairs and len(pairs) <= limits.max_labels:
            return stream
        telemetry.CUT.labels("stream_label").inc()
        return Labels(pairs[: limits.max_labels])

    def _matching(self, matchers: Sequence[Matcher]) -> dict[int, Labels]:
        with self._lock:
            newest = max(self._streams, default=0)
            shared: dict[str, str] = {}
            rows = self._database.read("SELECT id, labels FROM stream WHERE id > ? ORDER BY id", (newest,))
            self._streams.update((number, from_text(text, shared)) for number, text in rows)
            return {number: self._streams[number] for number in matching(matchers, self._streams)}

    def _hours(self, start_ns: int, end_ns: int, *, newest_first: bool) -> Iterator[list[_Row]]:
        """The rows that overlap the range, an hour at a time, in the order in which they are to be opened."""
        start_ns, end_ns = max(start_ns, 0), min(end_ns, _LATEST_NS)
        low, high = start_ns, -(-end_ns // HOUR_NS) * HOUR_NS
        while low < high:
            edge = "max" if newest_first else "min"
            ((t_ns,),) = self._database.read(
                f"SELECT {edge}(t1_ns) FROM log_head WHERE t1_ns >= ? AND t1_ns < ?",  # noqa: S608 - one of two words
                (low, high),
            )
            if t_ns is None:
                return
            hour = t_ns // HOUR_NS * HOUR_NS
            rows = self._database.read(
                "SELECT t0_ns, t1_ns, id FROM log_head WHERE t1_ns >= ? AND t1_ns < ? AND t0_ns < ?",
                (max(hour, start_ns), hour + HOUR_NS, end_ns),
            )
            if newest_first:
                high = hour
                yield sorted(_Row(-t1_ns, -number, t0_ns) for t0_ns, t1_ns, number in rows)
            else:
                low = hour + HOUR_NS
                yield sorted(_Row(t0_ns, number, t0_ns) for t0_ns, _, number in rows)

    def _block(self, row: _Row) -> bytes | None:
        found = self._database.read("SELECT data FROM log_head WHERE id = ?", (abs(row.id),))
        return found[0][0] if found else None  # retention may have been faster

    def _open(
        self,
        row: _Row,
        streams: Mapping[int, Labels],
        needles: Sequence[bytes],
        within: tuple[int, int],
        *,
        newest_first: bool,
    ) -> Iterator[Record]:
        opened = self._recent.get(abs(row.id))
        if opened is None:
            data = self._block(row)
            if data is None or streams.keys().isdisjoint(streams_in(data)):
                return
            block = RecordBlock(data, row.t0_ns)
            opened = self._few(row, block)
            if opened is None:
                indices = _chosen(block, streams, needles, within)
                for index in reversed(indices) if newest_first else indices:
                    yield block.record(index, streams[int(block.stream_ids[index])])
                return
        start_ns, end_ns = within
        for number, record in reversed(opened) if newest_first else opened:
            if number in streams and start_ns <= record.t_ns < end_ns and _holds(record, needles):
                yield record

    def _few(self, row: _Row, block: RecordBlock) -> Sequence[tuple[int, Record]] | None:
        """All records of a small row, remembered; None of a large one."""
        numbers = block.stream_ids.tolist()
        if len(numbers) > FEW or not self._streams.keys() >= set(numbers):
            return None
        opened = [(number, block.record(index, self._streams[number])) for index, number in enumerate(numbers)]
        self._recent.keep(abs(row.id), opened)
        return opened

    def _streams_of(self, row: _Row, start_ns: int, end_ns: int) -> set[int]:
        data = self._block(row)
        if data is None:
            return set()
        if row.t0_ns >= start_ns and -row.key < end_ns:
            return set(streams_in(data))
        block = RecordBlock(data, row.t0_ns)
        return set(block.stream_ids[(block.times_ns >= start_ns) & (block.times_ns < end_ns)].tolist())


def _chosen(
    block: RecordBlock, streams: Mapping[int, Labels], needles: Sequence[bytes], within: tuple[int, int]
) -> list[int]:
    """Which records of a block are asked for."""
    mask = np.isin(block.stream_ids, list(streams))
    mask &= (block.times_ns >= within[0]) & (block.times_ns < within[1])
    for needle in needles:
        if not mask.any():
            return []
        mask &= block.containing(needle)
    indices: list[int] = np.flatnonzero(mask).tolist()
    return indices


def _holds(record: Record, needles: Sequence[bytes]) -> bool:
    if not needles:
        return True
    line = encoded(record.line)
    return all(needle in line for needle in needles)


def _stream_id(connection: sqlite3.Connection, labels: Labels, now_ms: int) -> int:
    row = connection.execute(
        "INSERT INTO stream (labels, seen_ms) VALUES (?, ?)"
        " ON CONFLICT (labels) DO UPDATE SET seen_ms = excluded.seen_ms RETURNING id",
        (to_text(labels), now_ms),
    ).fetchone()
    return int(row[0])


def _merged(opened: Iterable[tuple[_Row, Iterator[Record]]], *, newest_first: bool) -> Iterator[Record]:
    """One sequence out of rows that may overlap; a row is opened when all records before its first are out."""
    sign = -1 if newest_first else 1
    heap: list[tuple[int, int, Record, Iterator[Record]]] = []

    def advance(number: int, records: Iterator[Record]) -> None:
        record = next(records, None)
        if record is not None:
            heapq.heappush(heap, (sign * record.t_ns, number, record, records))

    for row, records in opened:
        while heap and heap[0][:2] < (row.key, row.id):
            _, number, record, more = heapq.heappop(heap)
            yield record
            advance(number, more)
        advance(row.id, records)
    while heap:
        _, number, record, more = heapq.heappop(heap)
        yield record
        advance(number, more)
