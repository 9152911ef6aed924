"""The metrics half of the embedded store: an append to memory and disk, a read that joins both.

Recent samples are read from memory alone; what lies before its floor comes from disk. Which samples are taken is
decided in head.py, what the files look like in disk.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from obskit.clock import Clock
from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp, exact_name
from obskit.model.samples import MetricMeta, MetricType
from obskit.store import disk, telemetry
from obskit.store.boxes import Boxes, holders
from obskit.store.database import Database, Transaction
from obskit.store.head import Admitted, MetricHead
from obskit.store.interface import Edges, Samples, SeriesWindow
from obskit.store.packing import Packed, Times, Values
from obskit.store.parts import Part, merged, window_of
from obskit.store.rounds import split
from obskit.store.settings import StoreSettings
from obskit.store.starts import Starts
from obskit.store.windows import Windows

_SKEW_MS: Final = 10_000
"""Replayed samples may be this far ahead of the clock; more means that it went back, and they would block the series."""
_ID_OF: Final = "SELECT id FROM series WHERE labels = ?"
_FORGET_EVERY_MS: Final = 60_000
_SHARED: Final = 200_000
"""Texts of labels that are looked for while memory is filled."""
_ALL_ON_DISK: Final = int(np.iinfo(np.int64).max)


class MetricStore:
    """Samples. The reading half is a MetricReader; the writing half is called by embedded.py in the writer thread.

    Until `replay` everything is read from disk: so does a reader beside a running daemon.
    """

    def __init__(self, database: Database, clock: Clock, limits: StoreSettings) -> None:
        self._database = database
        self._clock = clock
        self._known_metadata: dict[str, MetricMeta] = {}
        self._forgot_ms = 0
        self._boxes = Boxes(database)
        self._starts = Starts(database)
        if database.readonly:
            self._starts.load()
        self.head = MetricHead(limits, Windows(limits.memory_window, complete_after_ms=_ALL_ON_DISK))

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> SeriesWindow:
        """Samples with `start_ms < t <= end_ms` of every series that satisfies all matchers."""
        head = self.head
        self._fill(head, exact_name(matchers), start_ms)
        part, floor = head.select(matchers, start_ms, end_ms)
        if start_ms < floor:
            part = merged(self._read(matchers, start_ms, min(end_ms, floor)), part)
        return self._starts.told(self._boxes.opened(window_of(part)))

    def edges(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Edges | None:
        """What is at the edges of `start_ms < t <= end_ms`; None when that reaches behind memory (see EdgeReader)."""
        return None if self._has_more(exact_name(matchers)) else self.head.edges(matchers, start_ms, end_ms)

    def newest(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int
    ) -> tuple[Sequence[Labels], Times, Values] | None:
        """The newest samples in `start_ms < t <= end_ms`; None when that reaches behind memory (see EdgeReader)."""
        name = exact_name(matchers)
        return None if self._boxes.holds(name) else self.head.newest(matchers, start_ms, end_ms)

    def _has_more(self, name: str | None) -> bool:
        """Whether there is more to a metric (None: any) than floats: histograms, or start timestamps."""
        return self._boxes.holds(name) or self._starts.holds(name)

    def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The series that `select` would return, without their samples."""
        return list(self.select(matchers, start_ms, end_ms).labels)

    def names(self) -> list[str]:
        """The metric names of all series on disk."""
        return [name for (name,) in self._database.read("SELECT DISTINCT name FROM series WHERE name <> ''")]

    def metadata(self) -> Mapping[str, MetricMeta]:
        """What is known of each metric family, by name."""
        rows = self._database.read("SELECT name, type, help, unit FROM metric_meta ORDER BY name")
        return {name: MetricMeta(MetricType(kind), text, unit) for name, kind, text, unit in rows}

    def reserve_window(self, name: str | None, window_ms: int) -> None:
        """Rules look this far back, into one metric or (None) into any: keep that much in memory, from now on or,
        for a named metric, at once (its past is read from disk at its next `select`)."""
        self.head.reserve_window(name, window_ms)

    def admit(self, samples: Samples, now_ms: int) -> Admitted:
        """What of these samples may be stored at `now_ms`."""
        admitted = self.head.admit(self._boxes.put(samples), now_ms)
        if samples.starts_ms:
            admitted.starts = self._starts.news(samples)
        whole = admitted.whole
        if (values := self._boxes.checked(whole.values)) is not whole.values:
            admitted.whole = whole._replace(values=values)
            admitted.rounds = split(admitted.whole.ordered())
        return admitted

    def insert(self, tx: Transaction, admitted: Admitted, now_ms: int) -> None:
        """Write admitted samples in the append's transaction; new series get their ids."""
        whole = admitted.whole
        if not len(whole.slots):
            return
        ids = self.head.ids_of(whole.slots)
        for slot in sorted(set(whole.slots[ids == 0].tolist())):
            admitted.ids[slot] = disk.series_id(tx, self.head.labels_of(slot), now_ms)
        if admitted.ids:
            given = (admitted.ids.get(slot, 0) for slot in whole.slots.tolist())
            ids = np.where(ids == 0, np.fromiter(given, np.int32, len(ids)), ids)
        disk.insert(tx, Packed(ids, whole.times_ms, whole.values))
        self._boxes.insert(tx, whole.times_ms, whole.values)
        self._starts.insert(tx, admitted.starts)

    def insert_metadata(self, tx: Transaction, metadata: Mapping[str, MetricMeta]) -> dict[str, MetricMeta]:
        """Write what is new or changed, and return it for `remember_metadata` after the commit."""
        changed = {name: meta for name, meta in metadata.items() if self._known_metadata.get(name) != meta}
        tx.executemany(
            "INSERT INTO metric_meta (name, type, help, unit) VALUES (?, ?, ?, ?) ON CONFLICT (name)"
            " DO UPDATE SET type = excluded.type, help = excluded.help, unit = excluded.unit",
            [(name, meta.type.value, meta.help, meta.unit) for name, meta in changed.items()],
        )
        return changed

    def remember_metadata(self, changed: Mapping[str, MetricMeta]) -> None:
        """It is committed: do not write it again."""
        self._known_metadata.update(changed)

    def apply(self, admitted: Admitted, now_ms: int) -> None:
        """Admitted samples are committed (or cannot be): readers see them."""
        self.head.apply(admitted, now_ms)
        self._starts.remember(admitted.starts)
        self._forget(now_ms)
        telemetry.SAMPLES.inc(len(admitted.whole.slots))
        for reason, count in admitted.refused.counts.items():
            telemetry.DROPPED.labels(reason).inc(count)

    def _forget(self, now_ms: int) -> None:
        """Now and then let go of what only the disk needs to know."""
        if 0 <= now_ms - self._forgot_ms < _FORGET_EVERY_MS:
            return
        self._forgot_ms = now_ms
        before_ms = now_ms - self.head.longest_window_ms
        self._boxes.forget(before_ms)
        self._starts.forget(before_ms, self.head.knows)

    def admit_unsaved(self, samples: Samples, now_ms: int) -> Admitted:
        """Admit samples that cannot be written; series that the disk knows keep their id."""
        admitted = self.admit(samples, now_ms)
        slots = admitted.whole.slots
        for slot in sorted(set(slots[self.head.ids_of(slots) == 0].tolist())):
            text = disk.to_text(self.head.labels_of(slot))
            admitted.ids.update((slot, row[0]) for row in self._database.read(_ID_OF, (text,)))
        return admitted

    def replay(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """Fill memory from the head rows. Readers go on with the old memory until the new one is complete."""
        head = self.head.successor(now_ms, disk.folded_until(connection, now_ms))
        shared: dict[str, str] = {}
        missing: set[int] = set()
        for samples in disk.head_rows(connection, now_ms - head.longest_window_ms, now_ms + _SKEW_MS):
            fresh = head.unknown(samples.slots) - missing
            labels = disk.labels_of(connection, sorted(fresh), shared)
            missing |= fresh - labels.keys()
            head.restore(labels, samples)
            if len(shared) > _SHARED:
                shared.clear()
            if owners := holders(samples.slots, samples.values):
                self._boxes.note(one.name for one in disk.labels_of(connection, owners, shared).values())
        self.head = head
        self._starts.load()

    def live_ids(self) -> set[int]:
        """Ids on disk of every series in memory."""
        return self.head.live_ids()

    def _fill(self, head: MetricHead, name: str | None, start_ms: int) -> None:
        gap = head.gap(name, self._clock.now_ms()) if name is not None else None
        if name is None or gap is None or start_ms >= gap[1]:
            return
        since_ms, floor_ms = gap
        older = self._read([Matcher(NAME, MatchOp.EQUAL, name)], since_ms, floor_ms)
        if holders(older.ids.repeat(older.counts), older.values):
            self._boxes.note([name])
        head.fill(name, since_ms, older)

    def _read(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Part:
        known = self.head.labels_by_id(exact_name(matchers))
        with self._database.snapshot() as connection:
            return disk.read(connection, disk.find(connection, matchers, known), start_ms, end_ms)
