"""The memory window: which samples are admitted, when a series is let go, and what readers are given.

As in Prometheus a series only goes forward: a sample at or before its newest one is refused (the same sample again is
no news, another value for the same time is a `duplicate`, an earlier time is `out_of_order`), so is what is more than
two hours old (`too_old`: its place on disk is being folded) or ten minutes in the `future`. Within one batch any order
is taken. Disk is left to metrics.py, the samples themselves to rings.py, who is who to series.py.
"""

from __future__ import annotations

import itertools
import logging
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, exact_name
from obskit.store import telemetry
from obskit.store.boxes import boxed_in
from obskit.store.edges import edges_of, newest_of
from obskit.store.interface import Edges, Layout, Refused, Samples
from obskit.store.packing import Times, Values
from obskit.store.parts import EMPTY, Part
from obskit.store.pressure import excess, idle, target_of, too_many
from obskit.store.rings import Rings, Slots
from obskit.store.rounds import NEVER, Round, bits_of, contradictions, joined, repeats, split
from obskit.store.series import SeriesIndex
from obskit.store.settings import StoreSettings
from obskit.store.starts import Start
from obskit.store.windows import Windows

FUTURE_MS: Final = 600_000
LATE_MS: Final = 7_200_000
_SWEEP_MS: Final = 15_000
_FOREVER: Final = int(np.iinfo(np.int64).max)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Admitted:
    """What of a batch goes in: `whole` is written to disk, `rounds` (the same, split) to memory afterwards."""

    whole: Round
    rounds: list[Round]
    refused: Refused
    names: frozenset[str] = frozenset()
    """The metrics touched."""
    ids: dict[int, int] = field(default_factory=dict)
    """Ids on disk of slots that had none, once they have."""
    starts: list[Start] = field(default_factory=list)
    """What the batch says of when counters began."""


class _Known(NamedTuple):
    """The slots of a batch's rows, and what follows from them."""

    epoch: int
    slots: Slots
    distinct: bool
    names: frozenset[str]


class MetricHead:
    """Labels and samples in memory. Changed by the writer thread alone (and by `fill`), read by any thread."""

    def __init__(self, limits: StoreSettings, windows: Windows | None = None) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._windows = windows or Windows(limits.memory_window)
        self._rings = Rings()
        self._index = SeriesIndex()
        self._mark = np.zeros(0, np.int32)
        self._layouts: weakref.WeakKeyDictionary[Layout, _Known] = weakref.WeakKeyDictionary()
        self._misplaced: set[str] = set()
        self._swept_ms = NEVER
        self._refused: set[str] = set()
        """Targets of which new series were dropped since there was room enough; "" is for all."""

    def admit(self, samples: Samples, now_ms: int) -> Admitted:
        """What of these samples may be stored at `now_ms`. Nothing is visible to readers before `apply`."""
        refused = Refused()
        times_ms, values = _times(samples.times_ms), np.array(samples.values, np.float64)
        with self._lock:
            known = self._known(samples, refused, now_ms)
            given = Round(known.slots, times_ms, values)
            future, late = times_ms > now_ms + FUTURE_MS, times_ms <= now_ms - LATE_MS
            wrong = future | late
            if wrong.any() or not known.distinct:
                there = given.slots >= 0
                self._refuse(refused, "future", given, future & there)
                self._refuse(refused, "too_old", given, late & there)
                given = given.take(there & ~wrong)
                known = self._known_of(given.slots)
            return self._forward(given, known, refused)

    def apply(self, admitted: Admitted, now_ms: int) -> None:
        """Make admitted samples visible, and now and then let go of what is older than its window."""
        with self._lock:
            self._index.register(admitted.ids)
            self._index.publish()
            for part in admitted.rounds:
                self._rings.write(*part)
            if now_ms >= self._swept_ms + _SWEEP_MS or now_ms < self._swept_ms:
                self._sweep(now_ms)
            if self._misplaced:
                self._rehouse()
            telemetry.SERIES.set(len(self._index))

    def restore(self, labels_of_id: Mapping[int, Labels], samples: Round) -> None:
        """Replay samples whose `slots` are ids on disk. What is out of order or doubled is left out.

        `labels_of_id` has the `unknown` ones. For what memory has no room for, the disk has to be asked.
        """
        if not len(samples.slots):
            return
        with self._lock:
            if labels_of_id:
                self._take_in(labels_of_id, samples)
            slots = self._index.slots_of_ids(samples.slots)
            samples, slots = samples.take(slots >= 0), slots[slots >= 0]
            forward = self._forward(Round(slots, samples.times_ms, samples.values), self._known_of(slots), Refused())
            for part in forward.rounds:
                self._rings.write(*part)
            telemetry.SERIES.set(len(self._index))

    def unknown(self, ids: NDArray[np.int64]) -> set[int]:
        """Those of these ids on disk whose series are not in memory."""
        with self._lock:
            return set(ids[self._index.slots_of_ids(ids) < 0].tolist())

    def successor(self, now_ms: int, complete_after_ms: int) -> MetricHead:
        """An empty head with the same windows, to be filled by `restore` with what is newer than `complete_after_ms`."""
        with self._lock:
            return MetricHead(self._limits, self._windows.restarted(now_ms, complete_after_ms))

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> tuple[Part, int]:
        """Samples in memory with `start_ms < t <= end_ms`, and the floor below which only the disk knows."""
        with self._lock:
            floor = self._windows.floor(exact_name(matchers))
            match = self._index.match(tuple(matchers))
            if not len(match.slots):
                return EMPTY, floor
            span = end_ms - start_ms
            since_ms = max(start_ms, floor)
            counts, times, values = self._rings.gather(match.slots, since_ms, end_ms, match.guess(span))
            match.learn(span, counts.astype(np.int32))
            having = counts > 0
            ids = self._index.order_of(match.slots)
            labels = match.labels_having(having)
            if labels is not match.labels:
                ids, counts = ids[having], counts[having]
            return Part(ids, labels, counts, times, values), floor

    def edges(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Edges | None:
        """See interface.EdgeReader."""
        with self._lock:
            if start_ms < self._windows.floor(exact_name(matchers)):
                return None
            match = self._index.match(tuple(matchers))
            span = end_ms - start_ms
            found, guess = edges_of(self._rings, match.blocks, start_ms, end_ms, match.guess(span))
            match.learn(span, guess)
            having = found.count > 0
            labels = match.labels_having(having)
            return Edges(labels, *(found if labels is match.labels else found.having(having)).columns())

    def newest(
        self, matchers: Sequence[Matcher], start_ms: int, end_ms: int
    ) -> tuple[Sequence[Labels], Times, Values] | None:
        """See interface.EdgeReader."""
        with self._lock:
            if start_ms < self._windows.floor(exact_name(matchers)):
                return None
            match = self._index.match(tuple(matchers))
            having, times, values = newest_of(self._rings, match.blocks, start_ms, end_ms)
            labels = match.labels_having(having)
            if labels is match.labels:
                return labels, times, values
            return labels, times[having], values[having]

    def reserve_window(self, name: str | None, window_ms: int) -> None:
        """Keep at least this much in memory, of one metric or (None) of all."""
        with self._lock:
            self._windows.reserve(name, window_ms)
            self._misplaced.update(self._windows.larger() if name is None else [name])

    @property
    def longest_window_ms(self) -> int:
        """How far back any metric is wanted."""
        return self._windows.longest_ms

    def gap(self, name: str, now_ms: int) -> tuple[int, int] | None:
        """The part of a metric's window (after, up to) that is on disk and was not read yet; None when there is none."""
        with self._lock:
            if not self._windows.unfilled(name):
                return None
            return now_ms - self._windows.of(name), self._windows.floor(name)

    def fill(self, name: str, since_ms: int, older: Part) -> None:
        """Put a metric's samples from disk (all of its `gap`, nothing newer) before those in memory."""
        with self._lock:
            if not self._windows.unfilled(name):  # another reader was faster
                return
            fresh = sum(not self._index.knows(labels) for labels in older.labels)
            if fresh and excess(len(self._index) + fresh, self._limits.max_series):
                self._windows.let_go(name, self._windows.floor(name))  # there is no room: the disk is asked each time
                return
            self._prepend(older, self._windows.floor(name), since_ms)
            self._windows.filled(name, since_ms)

    def ids_of(self, slots: Slots) -> NDArray[np.int32]:
        """Ids on disk; 0 where a series has none yet."""
        return self._index.ids.take(slots)

    def labels_of(self, slot: int) -> Labels:
        """The labels of a slot in use."""
        return self._index.labels_of(slot)

    def knows(self, labels: Labels) -> bool:
        """Whether the series has samples in memory."""
        with self._lock:
            return self._index.knows(labels)

    def labels_by_id(self, name: str | None) -> dict[int, Labels]:
        """The labels of the series in memory by their ids on disk, of one metric or (None) of all."""
        with self._lock:
            return self._index.labels_by_id(name)

    def live_ids(self) -> set[int]:
        """Ids on disk of every series in memory."""
        with self._lock:
            return set(self._index.ids.tolist())

    @property
    def lanes_in_use(self) -> int:
        """Lanes of samples: what memory is used for."""
        return self._rings.lanes.in_use

    def _known(self, samples: Samples, refused: Refused, now_ms: int) -> _Known:
        """The slots of a batch, -1 for what is refused; looked up once for all batches of a layout."""
        layout = samples.layout
        known = None if layout is None else self._layouts.get(layout)
        if known is not None and known.epoch == self._index.epoch:
            return known
        known = self._known_of(self._slots(samples, refused, now_ms))
        if layout is not None and known.distinct:
            self._layouts[layout] = known
        return known

    def _known_of(self, slots: Slots) -> _Known:
        distinct = bool((slots >= 0).all()) and self._all_differ(slots)
        names = self._index.names_of(slots[slots >= 0])
        return _Known(self._index.epoch, slots, distinct, names)

    def _slots(self, samples: Samples, refused: Refused, now_ms: int) -> Slots:
        slots = self._index.lookup(samples.labels)
        fresh = np.flatnonzero(slots < 0)
        self._relieve(len(fresh), slots, now_ms)
        for row in fresh.tolist():
            given = samples.labels[row]
            reason = "" if self._index.knows(given) else self._refusal(given)
            if reason:
                refused.add(reason, 1, given)
                refused.histograms += int(boxed_in(np.array(samples.values[row : row + 1])).sum())
            else:
                slots[row] = self._slot(given)
        return slots

    def _refusal(self, labels: Labels) -> str:
        limits = self._limits
        if len(labels) > limits.max_labels or any(
            len(name) > limits.max_label_name or len(value) > limits.max_label_value for name, value in labels.pairs
        ):
            return "label_limit"
        held, target = len(self._index), target_of(labels)
        if held >= limits.max_series:
            self._complain("", labels)
            return "series_limit"
        if target and too_many(self._index.of_target[target], held, limits.max_series):
            self._complain(target, labels)
            return "target_limit"
        return ""

    def _complain(self, target: str, labels: Labels) -> None:
        if target not in self._refused:
            self._refused.add(target)
            limit, of = self._limits.max_series, target or "any"
            log.warning("new series are dropped: max_series=%d target=%s first=%s", limit, of, labels)

    def _relieve(self, wanted: int, spared: Slots, now_ms: int) -> None:
        """Before there is no room for `wanted` new series, let go of some that ended or fell silent, oldest first."""
        many = excess(len(self._index) + wanted, self._limits.max_series) if wanted else 0
        if not many:
            return
        taken = self._index.metric_of >= 0
        taken[spared[spared >= 0]] = False
        used = np.flatnonzero(taken)
        newest_ms = self._rings.newest_ms.take(used)
        useless = np.flatnonzero(idle(newest_ms, self._rings.newest.take(used), now_ms))
        useless = useless[np.argsort(newest_ms.take(useless), kind="stable")[:many]]
        if len(useless):
            gone = used[useless]
            # In order of time: of each metric the latest stays.
            until = dict(zip(map(self._index.name_of, gone.tolist()), newest_ms[useless].tolist(), strict=True))
            for name, until_ms in until.items():
                self._windows.let_go(name, until_ms)
            self._let_go(gone)
            telemetry.EVICTED.inc(len(gone))

    def _let_go(self, slots: Slots) -> None:
        self._rings.clear(slots)
        self._index.forget(slots)

    def _slot(self, labels: Labels) -> int:
        slot = self._index.slot(labels, self._windows.room(labels.name))
        if self._index.size > len(self._mark):
            self._rings.ensure(self._index.size)
            self._mark = np.zeros(self._rings.size, np.int32)
        return slot

    def _forward(self, given: Round, known: _Known, refused: Refused) -> Admitted:
        """Leave out what does not go forward, and split the rest into rounds."""
        newest = self._rings.newest_ms.take(given.slots)
        ahead = given.times_ms > newest
        if known.distinct and bool(ahead.all()):
            return Admitted(given, [given] if len(given.slots) else [], refused, known.names)
        again = given.times_ms == newest
        held = self._rings.newest.take(given.slots)
        # Each histogram that comes is a box of its own: one for a time that has one is taken for the same, sent again.
        other = again & (bits_of(held) != bits_of(given.values)) & ~(boxed_in(held) & boxed_in(given.values))
        self._refuse(refused, "duplicate", given, other)
        self._refuse(refused, "out_of_order", given, given.times_ms < newest)
        ordered = given.take(ahead).ordered()
        repeated = repeats(ordered)
        self._refuse(refused, "duplicate", ordered, contradictions(ordered, repeated))
        whole = ordered.take(~repeated) if repeated.any() else ordered
        return Admitted(whole, split(whole), refused, self._index.names_of(whole.slots))

    def _refuse(self, refused: Refused, reason: str, given: Round, which: NDArray[np.bool_]) -> None:
        if which.any():
            rows = np.flatnonzero(which)
            refused.add(reason, len(rows), self._index.labels_of(int(given.slots[rows[0]])))
            refused.histograms += int(boxed_in(given.values[rows]).sum())

    def _all_differ(self, slots: Slots) -> bool:
        # Cheaper than sorting: the last one to leave its mark finds it again.
        count = np.arange(len(slots), dtype=np.int32)
        self._mark[slots] = count
        return bool((self._mark.take(slots) == count).all())

    def _sweep(self, now_ms: int) -> None:
        """Samples older than their window may be written over; series that have no other are let go."""
        self._swept_ms = now_ms
        self._windows.advance(now_ms)
        cut = self._rings.cut_ms
        cut[:] = now_ms - self._windows.default_ms
        for name in self._windows.larger():
            if name in self._index.metrics:
                cut[self._index.metrics[name].slots] = now_ms - self._windows.of(name)
        used = np.flatnonzero(self._index.metric_of >= 0)
        gone = used[self._rings.newest_ms.take(used) <= cut.take(used)]
        if len(gone):
            self._let_go(gone)
        if not excess(len(self._index), self._limits.max_series):
            self._refused.clear()

    def _rehouse(self) -> None:
        """Move the series of metrics whose window grew to neighbours that keep samples as long."""
        for name in self._misplaced & self._index.metrics.keys():
            old, new = self._index.move(self._index.metrics[name], self._windows.room(name))
            if len(old):
                self._rings.ensure(self._index.size)
                self._mark = np.zeros(self._rings.size, np.int32)
                counts, times, values = self._rings.gather(old, NEVER, _FOREVER)
                self._rings.cut_ms[new] = self._rings.cut_ms[old]
                self._rings.clear(old)
                self._rewrite(Round(np.repeat(new, counts), times, values))
        self._misplaced.clear()

    def _take_in(self, labels_of_id: Mapping[int, Labels], samples: Round) -> None:
        """As many of these series as there is room for, now that `samples` are replayed."""
        latest_ms = int(samples.times_ms.max())
        self._relieve(len(labels_of_id), self._index.slots_of_ids(samples.slots), latest_ms)
        room = max(0, self._limits.max_series - len(self._index))
        for labels in itertools.islice(labels_of_id.values(), room, None):
            self._windows.let_go(labels.name, latest_ms)
        taken = itertools.islice(labels_of_id.items(), room)
        self._index.register({self._slot(labels): series_id for series_id, labels in taken})
        self._index.publish()

    def _prepend(self, older: Part, floor_ms: int, since_ms: int) -> None:
        added = {
            series_id: self._slot(labels) for series_id, labels in zip(older.ids.tolist(), older.labels, strict=True)
        }
        self._index.register({slot: series_id for series_id, slot in added.items()})
        self._index.publish()
        owners = np.fromiter(added.values(), np.int64, len(added))
        before = Round(np.repeat(owners, older.counts), older.times_ms, older.values)
        counts, times, values = self._rings.gather(owners, floor_ms, _FOREVER)
        self._rings.clear(owners)
        self._rings.cut_ms[owners] = since_ms
        self._rewrite(joined([before, Round(np.repeat(owners, counts), times, values)]).ordered())

    def _rewrite(self, ordered: Round) -> None:
        for part in split(ordered):
            self._rings.write(*part)


def _times(times_ms: Sequence[int]) -> Times:
    try:
        if times_ms and times_ms.count(times_ms[0]) == len(times_ms):  # a scrape; five times as fast as to look at each
            return np.full(len(times_ms), times_ms[0], np.int64)
        return np.array(times_ms, np.int64)
    except OverflowError:
        # A page may carry any digits as a timestamp: what no clock can show is refused like any other wrong time.
        return np.array([min(max(t_ms, -_FOREVER), _FOREVER) for t_ms in times_ms], np.int64)
