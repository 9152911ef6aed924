"""The series of the memory window: which samples are admitted, who matches a selector, when a series is let go.

As in Prometheus a series only goes forward: a sample at or before its newest one is refused (the same sample again is
no news, another value for the same time is a `duplicate`, an earlier time is `out_of_order`), so is what is more than
two hours old (`too_old`: its place on disk is being folded) or ten minutes in the `future`. Within one batch any order
is taken. Disk is left to metrics.py, the samples themselves to pages.py.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, exact_name
from obskit.store import telemetry
from obskit.store.interface import Samples
from obskit.store.matching import Match, Matches, matching
from obskit.store.packing import Times
from obskit.store.pages import NEVER, SamplePages, Slots
from obskit.store.parts import EMPTY, Part
from obskit.store.rounds import Round, bits_of, joined, split, without_repeats
from obskit.store.settings import StoreSettings
from obskit.store.starts import Start
from obskit.store.windows import Windows

FUTURE_MS: Final = 600_000
LATE_MS: Final = 7_200_000
_UNSAVED_ID: Final = 1 << 31
"""A series that has no id on disk yet counts as this plus its slot: after all that have one."""
_SWEEP_MS: Final = 60_000
_FOREVER: Final = int(np.iinfo(np.int64).max)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Admitted:
    """What of a batch goes in: `whole` is written to disk, `rounds` (the same, split) to memory afterwards."""

    whole: Round
    rounds: list[Round]
    dropped: Counter[str]
    names: frozenset[str] = frozenset()
    """The metrics touched."""
    ids: dict[int, int] = field(default_factory=dict)
    """Ids on disk of slots that had none, once they have."""
    starts: list[Start] = field(default_factory=list)
    """What the batch says of when counters began."""


@dataclass(slots=True)
class _Metric:
    number: int
    generation: int = 0
    slots: list[int] = field(default_factory=list)


class MetricHead:
    """Labels and samples in memory. Changed by the writer thread alone (and by `fill`), read by any thread."""

    def __init__(self, limits: StoreSettings, windows: Windows | None = None) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._windows = windows or Windows(limits.memory_window)
        self._pages = SamplePages()
        self._slot_of: dict[Labels, int] = {}
        self._labels: list[Labels | None] = []
        self._free_slots: list[int] = []
        self._ids = np.zeros(0, np.int32)
        self._metric_of = np.zeros(0, np.int32)
        self._mark = np.zeros(0, np.int64)
        self._metrics: dict[str, _Metric] = {}
        self._names: dict[int, str] = {}
        self._numbers = itertools.count()
        self._generations = itertools.count(1)
        self._generation = 0
        self._matches = Matches()
        self._swept_ms = NEVER
        self._at_limit = False

    def admit(self, samples: Samples, now_ms: int) -> Admitted:
        """What of these samples may be stored at `now_ms`. Nothing is visible to readers before `apply`."""
        dropped: Counter[str] = Counter()
        with self._lock:
            given = Round(
                self._slots(samples.labels, dropped), _times(samples.times_ms), np.array(samples.values, np.float64)
            )
            known = given.slots >= 0
            future, late = given.times_ms > now_ms + FUTURE_MS, given.times_ms <= now_ms - LATE_MS
            dropped["future"] += int((future & known).sum())
            dropped["too_old"] += int((late & known).sum())
            keep = known & ~future & ~late
            return self._forward(given if keep.all() else given.take(keep), dropped)

    def apply(self, admitted: Admitted, now_ms: int) -> None:
        """Make admitted samples visible, and now and then let go of what is older than its window."""
        with self._lock:
            self._register(admitted.ids)
            for part in admitted.rounds:
                self._pages.write(*part)
            if now_ms >= self._swept_ms + _SWEEP_MS or now_ms < self._swept_ms:
                self._sweep(now_ms)
            telemetry.SERIES.set(len(self._slot_of))

    def restore(self, labels_of_id: Mapping[int, Labels], samples: Round) -> None:
        """Replay samples whose `slots` are ids on disk. What is out of order or doubled is left out."""
        if not len(samples.slots):
            return
        with self._lock:
            slot_of_id = {series_id: self._slot(labels) for series_id, labels in labels_of_id.items()}
            self._register({slot: series_id for series_id, slot in slot_of_id.items()})
            ids, places = np.unique(samples.slots, return_inverse=True)
            slots = np.array([slot_of_id[series_id] for series_id in ids.tolist()], np.int64)
            forward = self._forward(Round(slots[places], samples.times_ms, samples.values), Counter())
            for part in forward.rounds:
                self._pages.write(*part)
            telemetry.SERIES.set(len(self._slot_of))

    def successor(self, now_ms: int, complete_after_ms: int) -> MetricHead:
        """An empty head with the same windows, to be filled by `restore` with what is newer than `complete_after_ms`."""
        with self._lock:
            return MetricHead(self._limits, self._windows.restarted(now_ms, complete_after_ms))

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> tuple[Part, int]:
        """Samples in memory with `start_ms < t <= end_ms`, and the floor below which only the disk knows."""
        with self._lock:
            floor = self._windows.floor(exact_name(matchers))
            match = self._match(tuple(matchers))
            if not len(match.slots):
                return EMPTY, floor
            counts, times, values = self._pages.gather(match.slots, max(start_ms, floor), end_ms)
            ids, labels = match.having(counts > 0)
            return Part(ids, labels, counts if len(ids) == len(counts) else counts[counts > 0], times, values), floor

    def reserve_window(self, name: str | None, window_ms: int) -> None:
        """Keep at least this much in memory, of one metric or (None) of all."""
        with self._lock:
            self._windows.reserve(name, window_ms)

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
            if self._windows.unfilled(name):  # another reader may have been faster
                self._prepend(older, self._windows.floor(name))
                self._windows.filled(name, since_ms)

    def ids_of(self, slots: Slots) -> NDArray[np.int32]:
        """Ids on disk; 0 where a series has none yet."""
        return self._ids[slots]

    def labels_of(self, slot: int) -> Labels:
        """The labels of a slot in use."""
        labels = self._labels[slot]
        assert labels is not None
        return labels

    def knows(self, labels: Labels) -> bool:
        """Whether the series has samples in memory."""
        with self._lock:
            return labels in self._slot_of

    def live_ids(self) -> set[int]:
        """Ids on disk of every series in memory."""
        with self._lock:
            return set(self._ids.tolist())

    def _slots(self, labels: Sequence[Labels], dropped: Counter[str]) -> Slots:
        slots = np.fromiter(map(self._slot_of.get, labels, itertools.repeat(-1)), np.int64, len(labels))
        for index in np.flatnonzero(slots < 0).tolist():
            given = labels[index]
            reason = "" if given in self._slot_of else self._refusal(given)
            if reason:
                dropped[reason] += 1
            else:
                slots[index] = self._slot(given)
        return slots

    def _refusal(self, labels: Labels) -> str:
        limits = self._limits
        if len(labels) > limits.max_labels or any(
            len(name) > limits.max_label_name or len(value) > limits.max_label_value for name, value in labels.pairs
        ):
            return "label_limit"
        if len(self._slot_of) < limits.max_series:
            self._at_limit = False
            return ""
        if not self._at_limit:
            self._at_limit = True
            log.warning("new series are dropped: max_series=%d first=%s", limits.max_series, labels)
        return "series_limit"

    def _slot(self, labels: Labels) -> int:
        slot = self._slot_of.get(labels)
        if slot is not None:
            return slot
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot = len(self._labels)
            self._labels.append(None)
            self._widen(slot + 1)
        metric = self._metrics.get(labels.name)
        if metric is None:
            metric = self._metrics[labels.name] = _Metric(next(self._numbers))
            self._names[metric.number] = labels.name
        self._slot_of[labels] = slot
        self._labels[slot] = labels
        self._metric_of[slot] = metric.number
        metric.slots.append(slot)
        self._changed(metric)
        return slot

    def _widen(self, slots: int) -> None:
        have = len(self._ids)
        if slots <= have:
            return
        more = max(slots, have + have // 2, 64) - have
        self._ids, self._metric_of = np.pad(self._ids, (0, more)), np.pad(self._metric_of, (0, more))
        self._mark = np.zeros(have + more, np.int64)
        self._pages.ensure(have + more)

    def _forward(self, given: Round, dropped: Counter[str]) -> Admitted:
        """Leave out what does not go forward, and split the rest into rounds."""
        newest = self._pages.newest_ms[given.slots]
        ahead = given.times_ms > newest
        if bool(ahead.all()) and self._all_differ(given.slots):
            return Admitted(given, [given] if len(given.slots) else [], dropped, self._names_of(given.slots))
        again = given.times_ms == newest
        other = again & (bits_of(self._pages.newest_values(given.slots)) != bits_of(given.values))
        dropped["duplicate"] += int(other.sum())
        dropped["out_of_order"] += int((given.times_ms < newest).sum())
        whole, doubled = without_repeats(given.take(ahead).ordered())
        dropped["duplicate"] += doubled
        return Admitted(whole, split(whole), dropped, self._names_of(whole.slots))

    def _all_differ(self, slots: Slots) -> bool:
        # Cheaper than sorting: the last one to leave its mark finds it again.
        count = np.arange(len(slots))
        self._mark[slots] = count
        return bool((self._mark[slots] == count).all())

    def _names_of(self, slots: Slots) -> frozenset[str]:
        return frozenset(self._names[number] for number in set(self._metric_of[slots].tolist()))

    def _register(self, ids: Mapping[int, int]) -> None:
        for slot, series_id in ids.items():
            self._ids[slot] = series_id
            self._changed(self._metrics[self.labels_of(slot).name])

    def _sweep(self, now_ms: int) -> None:
        """Let go of pages and series older than their window."""
        self._swept_ms = now_ms
        self._windows.advance(now_ms)
        slots = np.fromiter(self._slot_of.values(), np.int64, len(self._slot_of))
        cut = np.full(len(slots), now_ms - self._windows.default_ms)
        for name in self._windows.larger():
            if name in self._metrics:
                cut[self._metric_of[slots] == self._metrics[name].number] = now_ms - self._windows.of(name)
        gone = self._pages.newest_ms[slots] <= cut
        self._pages.expire(slots[~gone], cut[~gone])
        if gone.any():
            self._pages.clear(slots[gone])
            self._forget(slots[gone].tolist())

    def _forget(self, slots: list[int]) -> None:
        touched = {self.labels_of(slot).name for slot in slots}
        for slot in slots:
            del self._slot_of[self.labels_of(slot)]
            self._labels[slot] = None
            self._ids[slot] = 0
        self._free_slots.extend(slots)
        for name in touched:
            metric = self._metrics[name]
            metric.slots = [slot for slot in metric.slots if self._labels[slot] is not None]
            self._changed(metric)
            if not metric.slots:
                del self._metrics[name], self._names[metric.number]

    def _prepend(self, older: Part, floor_ms: int) -> None:
        added = {
            series_id: self._slot(labels) for series_id, labels in zip(older.ids.tolist(), older.labels, strict=True)
        }
        self._register({slot: series_id for series_id, slot in added.items()})
        owners = np.fromiter(added.values(), np.int64, len(added))
        before = Round(np.repeat(owners, older.counts), older.times_ms, older.values)
        counts, times, values = self._pages.gather(owners, floor_ms, _FOREVER)
        whole = joined([before, Round(np.repeat(owners, counts), times, values)]).ordered()
        self._pages.clear(owners)
        for part in split(whole):
            self._pages.write(*part)

    def _changed(self, metric: _Metric) -> None:
        metric.generation = self._generation = next(self._generations)

    def _match(self, matchers: tuple[Matcher, ...]) -> Match:
        name = exact_name(matchers)
        if name is None:
            return self._matches.get(matchers, self._generation, lambda: self._find(matchers, self._slot_of.values()))
        metric = self._metrics.get(name, _Metric(-1))
        return self._matches.get(matchers, metric.generation, lambda: self._find(matchers, metric.slots))

    def _find(self, matchers: Sequence[Matcher], candidates: Iterable[int]) -> Match:
        slots = np.array(matching(matchers, {slot: self.labels_of(slot) for slot in candidates}), np.int64)
        ids = self._ids[slots].astype(np.int64)
        ids = np.where(ids == 0, _UNSAVED_ID + slots, ids)
        order = np.argsort(ids)
        return Match(slots[order], ids[order], tuple(self.labels_of(slot) for slot in slots[order].tolist()))


def _times(times_ms: Sequence[int]) -> Times:
    try:
        return np.array(times_ms, np.int64)
    except OverflowError:
        # A page may carry any digits as a timestamp: what no clock can show is refused like any other wrong time.
        return np.array([min(max(t_ms, -_FOREVER), _FOREVER) for t_ms in times_ms], np.int64)
