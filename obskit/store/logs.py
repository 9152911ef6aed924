"""The logs half of the embedded store: a batch becomes head rows in main.db.

Limits are kept here. What is secret is decided in redaction.py, which streams there are in log_streams.py, how a batch is
cut in arrival.py; sealing and reading have files of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.clock import Clock
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store import log_head, telemetry
from obskit.store.arrival import Arrival, text_of
from obskit.store.block_cutting import made_of
from obskit.store.cold.store import ColdStore
from obskit.store.database import Database, Transaction
from obskit.store.day_file import DAY_NS
from obskit.store.day_files import DayFiles, adopt
from obskit.store.log_arrivals import LogArrivals
from obskit.store.log_blocks import characters, encoded
from obskit.store.log_interface import Records
from obskit.store.log_reading import LogReading, Places
from obskit.store.log_retention import LogRetention
from obskit.store.log_streams import OVERFLOW, Admitted, Streams
from obskit.store.recent import RecentBlocks
from obskit.store.record_block import RecordBlock
from obskit.store.redaction import Redaction
from obskit.store.sampling import Sampling
from obskit.store.sealing import Sealing
from obskit.store.settings import StoreSettings
from obskit.store.text_search import TextSearch

LATEST_NS: Final = 2**62


@dataclass(slots=True)
class Written:
    """What an append wrote of a batch's records; counted and remembered after the commit."""

    records: Records = field(default_factory=Records)
    touched: frozenset[Labels] = frozenset()
    newest_ns: int = 0
    rows: int = 0
    load: int = 0
    """How much work the rows are to sealing (see log_head.waiting)."""
    unsealed: dict[int, RecordBlock] = field(default_factory=dict)
    dropped: int = 0
    cut: int = 0
    sampled_out: Counter[str] = field(default_factory=Counter)
    """By source."""


class LogStore:
    """Takes records in. Called by embedded.py in the writer thread; `reading` is the LogReader of what was taken."""

    def __init__(self, database: Database, clock: Clock, limits: StoreSettings) -> None:
        self._limits = limits
        self._redaction = Redaction(limits.redaction)
        self.search = TextSearch(self._redaction.question)
        self._sampling = Sampling(limits.sampling)
        self._streams = Streams(database, limits)
        self._recent = RecentBlocks()
        self.files = DayFiles(database.folder)
        self._adopted = False
        self.cold = ColdStore(database, self.files, limits, clock)
        places = Places(database, self.files, self._recent, self.cold.reading)
        self.reading = LogReading(places, self._streams, limits=limits.query, clock=clock)
        self.arrivals = LogArrivals(database, self.files, self._streams)
        self.sealing = Sealing(database, self.files, self._recent)
        self.retention = LogRetention(self.files, self._streams, self.sealing, limits.retention, self.cold.mover)

    def insert(self, tx: Transaction, given: Sequence[Record], now_ms: int) -> Written:
        """Write the records in the append's transaction."""
        written = Written()
        if not given:
            return written
        if not self._adopted:
            adopt(tx, self.files, now_ms)
        records, times_ns = self._in_order(Records.of(given), written)
        if not len(records):
            return written
        sizes = characters(records.lines)
        if sizes.max() * 4 > self._limits.max_line:
            records = self._cut(records, written)
            sizes = characters(records.lines)
        records, times_ns, sizes = self._sampled(records, times_ns, sizes, written)
        if not len(records):
            return written
        streams = self._streams.admit(tx, records.streams, now_ms)
        records = _as_stored(records, streams)
        written.touched, written.newest_ns = streams.distinct, int(times_ns[-1])
        for day in _days(times_ns):
            whole = day.stop - day.start == len(records)
            arrival = Arrival(records if whole else records[day], times_ns[day], streams.ids[day], sizes[day])
            self._insert_day(tx, arrival, written)
        return written

    def _sampled(
        self, records: Records, times_ns: NDArray[np.int64], sizes: NDArray[np.int64], written: Written
    ) -> tuple[Records, NDArray[np.int64], NDArray[np.int64]]:
        """What is left of a batch; what is dropped is not even looked at for secrets."""
        kept = self._sampling.apply(records, written.sampled_out)
        if kept is records:
            return records, times_ns, sizes
        return kept, np.array(kept.times_ns, np.int64), characters(kept.lines)

    def _insert_day(self, tx: Transaction, arrival: Arrival, written: Written) -> None:
        texts = []
        for piece in arrival.pieces(self._redaction, self.search):
            if piece.own:
                block = made_of(piece.block)
                log_head.insert_sealed(tx, block)
                written.load += len(block.packed.text)
            else:
                written.unsealed[log_head.insert_block(tx, piece.block)] = piece.block
                written.load += piece.block.raw_bytes
            written.rows += 1
            texts.append(text_of(piece, arrival.records))
        if len(written.records):  # of several days: not worth the trouble
            written.records.texts = ()
            written.records.extend(arrival.records)
        else:
            written.records = replace(arrival.records, texts=texts)

    def remember(self, written: Written) -> None:
        """It is committed."""
        self._streams.remember()
        self._adopted = self._adopted or bool(written.rows)
        for number, block in written.unsealed.items():
            self._recent.keep(number, block)
        telemetry.RECORDS.inc(len(written.records))
        if written.dropped:
            telemetry.DROPPED.labels("bad_time").inc(written.dropped)
        for source, count in written.sampled_out.items():
            telemetry.SAMPLED_OUT.labels(source).inc(count)
        if written.cut:
            telemetry.CUT.labels("line").inc(written.cut)

    @staticmethod
    def _in_order(records: Records, written: Written) -> tuple[Records, NDArray[np.int64]]:
        """The records whose time can be stored, in order of time, and their times."""
        if min(records.times_ns) < 0 or max(records.times_ns) >= LATEST_NS:
            kept = [i for i, t_ns in enumerate(records.times_ns) if 0 <= t_ns < LATEST_NS]
            written.dropped = len(records) - len(kept)
            records = records.take(kept)
        times_ns = np.array(records.times_ns, np.int64)
        if not (times_ns[1:] >= times_ns[:-1]).all():
            order = np.argsort(times_ns, kind="stable")
            records, times_ns = records.take(order.tolist()), times_ns[order]
        return records, times_ns

    def _cut(self, records: Records, written: Written) -> Records:
        """The records with lines that are no longer than they may be."""
        limit = self._limits.max_line
        lines = records.lines.copy()
        for index, line in enumerate(lines):
            if len(line) * 4 > limit and len(whole := encoded(line)) > limit:
                written.cut += 1
                lines[index] = whole[:limit].decode("utf-8", "ignore")
        return Records(records.streams, records.times_ns, lines, records.metadata)


def _as_stored(records: Records, admitted: Admitted) -> Records:
    """The records with the labels under which their streams are known."""
    metadata = records.metadata
    if OVERFLOW in admitted.distinct:
        metadata = [
            {**dict(given.pairs), **own} if stored is OVERFLOW else own
            for stored, given, own in zip(admitted.labels, records.streams, metadata, strict=True)
        ]
    return Records(admitted.labels, records.times_ns, records.lines, metadata)


def _days(times_ns: NDArray[np.int64]) -> Iterator[slice]:
    """The ranges of a batch by UTC day."""
    inner: list[int] = []
    if times_ns[0] // DAY_NS != times_ns[-1] // DAY_NS:
        inner = (np.flatnonzero(np.diff(times_ns // DAY_NS)) + 1).tolist()
    yield from map(slice, [0, *inner], [*inner, len(times_ns)])
