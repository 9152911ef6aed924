"""The series in memory: the slot and the id of each, by metric, and which of them a selector means.

A series is known from the moment somebody writes to it, and selected once it is `publish`ed. Matchers are tried on the
distinct values of a label; what was found is kept, and only series that came since are looked at again. Used by head.py
under its lock.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp, exact_name
from obskit.store.lanes import LANE
from obskit.store.matching import LabelColumn, Match
from obskit.store.pressure import target_of
from obskit.store.rings import Slots

_KEPT: Final = 16_384
_UNSAVED_ID: Final = 1 << 31
"""A series that has no id on disk yet counts as this plus its slot: after all that have one."""


class Metric:
    """The series of one name, in the order of their ids."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.slots = np.zeros(0, np.int64)
        self.arrangement = 0
        """Another one when the order or the members changed otherwise than by additions at the end."""
        self.columns: dict[str, LabelColumn] = {}


class SeriesIndex:
    """Labels, slots, ids and metrics. Slots come in rooms: the neighbours of a slot keep samples about as long."""

    def __init__(self) -> None:
        self.epoch = 0
        """Another one when slots that were given out may stand for other series, or none."""
        self.ids = np.zeros(0, np.int32)
        """Per slot: its id on disk, or 0."""
        self.metric_of = np.zeros(0, np.int32)
        """Per slot: the number of its metric, or -1 where the slot is free."""
        self.metrics: dict[str, Metric] = {}
        self.of_target: Counter[str] = Counter()
        """How many series there are of each target."""
        self._slot_of: dict[Labels, int] = {}
        self._labels: list[Any] = []
        """Per slot: its Labels, or None where the slot is free."""
        self._free: dict[int, list[int]] = {}
        self._room_of_group: list[int] = []
        self._fresh: list[int] = []
        self._names: dict[int, str] = {}
        self._numbers = itertools.count()
        self._arrangements = itertools.count(1)
        self._generation = 0
        self._found: dict[tuple[Matcher, ...], Match] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def size(self) -> int:
        """Slots, whether used or not."""
        return len(self._labels)

    def lookup(self, labels: Sequence[Labels]) -> Slots:
        """Their slots; -1 where a series is not known."""
        return np.fromiter(map(self._slot_of.get, labels, itertools.repeat(-1)), np.int64, len(labels))

    def slots_of_ids(self, ids: NDArray[np.int64]) -> Slots:
        """Slots of series by their ids on disk; -1 where a series is not known."""
        used = np.flatnonzero(self.ids)
        slot_of = np.full(int(max(self.ids.max(initial=0), ids.max(initial=0))) + 1, -1, np.int32)
        slot_of[self.ids.take(used)] = used
        return slot_of.take(ids).astype(np.int64)

    def knows(self, labels: Labels) -> bool:
        """Whether the series has a slot."""
        return labels in self._slot_of

    def slot(self, labels: Labels, room: int = 0) -> int:
        """The slot of a series, which is given one in this room if it has none."""
        slot = self._slot_of.get(labels)
        if slot is not None:
            return slot
        free = self._free.get(room) or self._more(room)
        slot = free.pop()
        metric = self.metrics.get(labels.name)
        if metric is None:
            metric = self.metrics[labels.name] = Metric(labels.name, next(self._numbers))
            self._names[metric.number] = labels.name
        self._slot_of[labels] = slot
        self._labels[slot] = labels
        self.of_target[target_of(labels)] += 1
        self.metric_of[slot] = metric.number
        self._fresh.append(slot)
        return slot

    def labels_of(self, slot: int) -> Labels:
        """The labels of a slot in use."""
        labels: Labels = self._labels[slot]
        return labels

    def labels_by_id(self, name: str | None) -> dict[int, Labels]:
        """The labels of series that have an id on disk, of one metric or (None) of all."""
        if name is None:
            slots = np.flatnonzero(self.ids)
        else:
            metric = self.metrics.get(name)
            slots = np.zeros(0, np.int64) if metric is None else metric.slots[self.ids.take(metric.slots) != 0]
        return dict(zip(self.ids.take(slots).tolist(), map(self.labels_of, slots.tolist()), strict=True))

    def name_of(self, slot: int) -> str:
        """The metric of a slot in use."""
        return self._names[int(self.metric_of[slot])]

    def names_of(self, slots: Slots) -> frozenset[str]:
        """The metrics of these slots."""
        numbers = np.flatnonzero(np.bincount(self.metric_of.take(slots)))
        return frozenset(self._names[number] for number in numbers.tolist())

    def register(self, ids: Mapping[int, int]) -> None:
        """Ids on disk of slots."""
        if not ids:
            return
        fresh = set(self._fresh)
        for slot, series_id in ids.items():
            if slot not in fresh and self.ids[slot] != series_id:
                self._rearranged(self.metrics[self.labels_of(slot).name], {slot: series_id})
            self.ids[slot] = series_id

    def publish(self) -> None:
        """From now on selectors find the series that were added since the last time."""
        if not self._fresh:
            return
        fresh = np.array(self._fresh, np.int64)
        self._fresh = []
        self._generation += 1
        numbers = self.metric_of.take(fresh)
        order = np.lexsort((self.order_of(fresh), numbers))
        fresh, numbers = fresh[order], numbers[order]
        for part in np.split(fresh, np.flatnonzero(np.diff(numbers)) + 1):
            metric = self.metrics[self._names[int(self.metric_of[part[0]])]]
            keys = self.order_of(part)
            last = self.order_of(metric.slots[-1:])
            metric.slots = np.concatenate([metric.slots, part])
            if len(last) and keys[0] < last[0]:
                self._rearranged(metric, {})

    def forget(self, slots: Slots) -> None:
        """These series, all published, are no longer in memory."""
        self.epoch += 1
        self._generation += 1
        names = self.names_of(slots)
        for slot in slots.tolist():
            labels = self.labels_of(slot)
            del self._slot_of[labels]
            self._labels[slot] = None
            self._leave(target_of(labels))
        self._release(slots)
        for name in names:
            metric = self.metrics[name]
            metric.slots = metric.slots[self.metric_of.take(metric.slots) >= 0]
            self._arrange(metric)
            if not len(metric.slots):
                del self.metrics[name], self._names[metric.number]

    def _leave(self, target: str) -> None:
        self.of_target[target] -= 1
        if not self.of_target[target]:
            del self.of_target[target]

    def move(self, metric: Metric, room: int) -> tuple[Slots, Slots]:
        """Give the metric's series other slots, in this room: the old ones, which are free afterwards, and the new."""
        old = metric.slots[[self._room_of_group[slot // LANE] != room for slot in metric.slots.tolist()]]
        if not len(old):
            return old, old
        self.epoch += 1
        moved = {slot: (self._free.get(room) or self._more(room)).pop() for slot in old.tolist()}
        for slot, place in moved.items():
            labels = self.labels_of(slot)
            self._slot_of[labels], self._labels[slot], self._labels[place] = place, None, labels
        new = np.fromiter(moved.values(), np.int64, len(moved))
        self.ids[new], self.metric_of[new] = self.ids[old], metric.number
        self._release(old)
        metric.slots = np.fromiter((moved.get(slot, slot) for slot in metric.slots.tolist()), np.int64)
        self._arrange(metric)
        self._generation += 1
        return old, new

    def match(self, matchers: tuple[Matcher, ...]) -> Match:
        """The published series that satisfy all matchers: the same object while they are the same."""
        found = self._found.pop(matchers, None)
        name = exact_name(matchers)
        if name is None:
            if found is None or found.arrangement != self._generation:
                found = self._match_any(matchers)
        else:
            found = self._match_metric(self.metrics.get(name), matchers, found)
        if len(self._found) >= _KEPT:
            del self._found[next(iter(self._found))]
        self._found[matchers] = found  # at the end: the first is the one that was not asked for longest
        return found

    def _match_metric(self, metric: Metric | None, matchers: Sequence[Matcher], before: Match | None) -> Match:
        if metric is None:
            return before if before is not None and not len(before.slots) else Match(np.zeros(0, np.int64), (), 0, 0)
        if before is None or before.arrangement != metric.arrangement or before.metric is not metric:
            before = Match(np.zeros(0, np.int64), (), metric.arrangement, 0, metric)
        if before.examined == len(metric.slots):
            return before
        more = self._matching(metric, matchers, before.examined)
        if not len(more):
            before.examined = len(metric.slots)
            return before
        slots = np.concatenate([before.slots, more]) if len(before.slots) else more
        labels = before.labels + tuple(map(self._labels.__getitem__, more.tolist()))
        return Match(slots, labels, metric.arrangement, len(metric.slots), metric)

    def _match_any(self, matchers: Sequence[Matcher]) -> Match:
        by_name = [matcher for matcher in matchers if matcher.name == NAME]
        rest = [matcher for matcher in matchers if matcher.name != NAME]
        metrics = [m for name, m in self.metrics.items() if all(matcher.matches(name) for matcher in by_name)]
        slots = np.concatenate([np.zeros(0, np.int64), *(self._matching(metric, rest, 0) for metric in metrics)])
        slots = slots[np.argsort(self.order_of(slots))]
        labels = tuple(map(self._labels.__getitem__, slots.tolist()))
        return Match(slots, labels, self._generation, 0)

    def _matching(self, metric: Metric, matchers: Sequence[Matcher], since: int) -> Slots:
        """Those of the metric's series from `since` on that satisfy all matchers."""
        slots = metric.slots[since:]
        kept: NDArray[np.bool_] | None = None
        for matcher in matchers:
            if matcher.name == NAME and matcher.op is MatchOp.EQUAL and matcher.value == metric.name:
                continue
            column = metric.columns.setdefault(matcher.name, LabelColumn(matcher.name))
            column.extend(self._labels, metric.slots)
            verdict = column.satisfying(matcher, since)
            kept = verdict if kept is None else kept & verdict
        return slots if kept is None else slots[kept]

    def order_of(self, slots: Slots) -> NDArray[np.int64]:
        """Numbers in whose order these series are given: ids on disk, if they have one."""
        ids = self.ids.take(slots).astype(np.int64)
        return np.where(ids == 0, _UNSAVED_ID + slots, ids)

    def _rearranged(self, metric: Metric, ids: Mapping[int, int]) -> None:
        """The metric's series have another order."""
        for slot, series_id in ids.items():
            self.ids[slot] = series_id
        metric.slots = metric.slots[np.argsort(self.order_of(metric.slots))]
        self._arrange(metric)
        self._generation += 1

    def _arrange(self, metric: Metric) -> None:
        metric.arrangement = next(self._arrangements)
        metric.columns.clear()

    def _more(self, room: int) -> list[int]:
        """A room's free slots, after it got a group of new ones."""
        begin = len(self._labels)
        self._room_of_group.append(room)
        self._labels.extend([None] * LANE)
        have = len(self.ids)
        if begin + LANE > have:
            more = max(begin + LANE, have + have // 4) - have
            self.ids = np.pad(self.ids, (0, more))
            self.metric_of = np.pad(self.metric_of, (0, more), constant_values=-1)
        free = self._free.setdefault(room, [])
        free.extend(range(begin + LANE - 1, begin - 1, -1))
        return free

    def _release(self, slots: Slots) -> None:
        self.ids[slots] = 0
        self.metric_of[slots] = -1
        for slot in sorted(slots.tolist(), reverse=True):
            self._free[self._room_of_group[slot // LANE]].append(slot)
