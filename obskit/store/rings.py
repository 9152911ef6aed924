"""Samples in memory: a ring per series, 64 neighbours side by side, so that numpy runs along series and not along time.

Series are slots; the slots of one group of 64 write to common lanes, each at its own row. A slot goes through its rows
and begins again where the oldest sample is older than its `cut_ms`; a ring that is full of wanted samples grows. What a
rule asks for most, the newest two samples, is kept beside the rings as well. Labels and locks are left to head.py:
nothing here is thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.samples import STALE_NAN_BITS
from obskit.store.lanes import LANE, Lanes
from obskit.store.packing import Times, Values, blank
from obskit.store.rounds import NEVER, bits_of, distinct

LONGEST_MS: Final = 20 * 86_400_000
"""No ring goes back further: times are 32-bit offsets, and 31 bits of milliseconds are 24.8 days."""
_REACH_MS: Final = (1 << 31) - 1
_STEP: Final = 8
_AT_ONCE: Final = 1 << 14
"""Samples copied at a time: what a large read needs beside its result stays small."""
_BLOCK: Final = 1 << 13

Slots = NDArray[np.int64]
Which = NDArray[np.int64] | slice
"""Slots, or neighbours from one to another."""
Counts = NDArray[np.int32]


class Gathered(NamedTuple):
    """Samples of some slots: `counts[i]` rows for the i-th, one after the other, ascending in time."""

    counts: NDArray[np.int64]
    times_ms: Times
    values: Values


class Block(NamedTuple):
    """Some of a selector's slots: which of its rows, and the slots themselves, in two forms."""

    rows: slice
    slots: Slots
    which: Which


class Rings:
    """The rings. Slots are numbers given by the caller; `ensure` makes room for them."""

    def __init__(self) -> None:
        self.lanes = Lanes()
        self.origin_ms = 0
        self._table = np.zeros(1, np.int64)
        """Where lanes begin, by group and row; 0 where a group has no lane for a row yet."""
        self._table_used = 1
        self._rows = np.zeros(0, np.int32)
        """Per group: the rows it has in the table, from `begin` of its slots on."""
        self.begin = np.zeros(0, np.int32)
        self.next_row = np.zeros(0, np.int32)
        self.length = np.zeros(0, np.int32)
        self.held = np.zeros(0, np.int32)
        self.lane_place = np.zeros(0, np.int64)
        self.newest_ms = np.zeros(0, np.int64)
        """Per slot: the time of its last sample, or NEVER."""
        self.newest = np.zeros(0, np.float64)
        self.previous_ms = np.zeros(0, np.int64)
        self.previous = np.zeros(0, np.float64)
        self.uneven_ms = np.zeros(0, np.int64)
        """Per slot: the time of its last sample that was a stale marker or less than the one before, or NEVER."""
        self.cut_ms = np.zeros(0, np.int64)
        """Per slot: samples up to here may be written over. Set by the owner."""

    @property
    def size(self) -> int:
        """How many slots there is room for."""
        return len(self.next_row)

    def ensure(self, slots: int) -> None:
        """Make room for this many slots."""
        have = len(self.next_row)
        if slots <= have:
            return
        more = -(-max(slots, have + have // 4) // LANE) * LANE - have
        self._rows = np.pad(self._rows, (0, more // LANE))
        self.lane_place = np.arange(have + more) & (LANE - 1)
        for name in ("begin", "next_row", "length", "held"):
            setattr(self, name, np.pad(getattr(self, name), (0, more)))
        for name in ("newest_ms", "previous_ms", "uneven_ms", "cut_ms"):
            setattr(self, name, np.pad(getattr(self, name), (0, more), constant_values=NEVER))
        for name in ("newest", "previous"):
            setattr(self, name, np.pad(getattr(self, name), (0, more), constant_values=np.nan))

    def write(self, slots: Slots, times_ms: Times, values: Values) -> None:
        """One sample to each of these slots, which are distinct; each newer than what its slot holds."""
        offsets = self._offsets(times_ms)
        full = self.held.take(slots) == self.length.take(slots)
        if full.any():
            self._make_room(slots if full.all() else slots[full])
        rows = self.next_row.take(slots)
        rows[rows == self.length.take(slots)] = 0
        places = self._places(slots, rows)
        self.lanes.times[places] = offsets
        self.lanes.values[places] = values
        self.next_row[slots] = rows + 1
        self.held[slots] += 1
        self._note(slots, times_ms, values)

    def clear(self, slots: Slots) -> None:
        """Forget everything these slots hold; the lanes of groups that hold nothing any more are given back."""
        for column in (self.next_row, self.length, self.held):
            column[slots] = 0
        for times in (self.newest_ms, self.previous_ms, self.uneven_ms):
            times[slots] = NEVER
        self.newest[slots] = self.previous[slots] = np.nan
        groups = distinct(slots // LANE)
        for group in groups[~self.length.reshape(-1, LANE)[groups].any(axis=1)].tolist():
            begin = self.begin[group * LANE]
            lanes = self._table[begin : begin + self._rows[group]]
            self.lanes.give_back(lanes[lanes != 0])
            lanes[:] = 0

    def ages(self, which: Which) -> Ages:
        """For reading these slots' samples by age."""
        return Ages(self, which)

    def gather(self, slots: Slots, start_ms: int, end_ms: int, guess: Counts | None = None) -> Gathered:
        """Samples with `start_ms < t <= end_ms`, copied; `guess` is how many of each slot there may be."""
        ages = self.ages(slots)
        after = ages.count_after(start_ms, guess)
        counts = after.astype(np.int64)
        if (self.newest_ms.take(slots) > end_ms).any():
            counts -= np.minimum(ages.count_after(end_ms, np.zeros(len(slots), np.int32)), after)
        return self._read(ages, slots, after, counts)

    def places(self, rows: NDArray[np.int32], lane_places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where samples lie in the lanes, by row of the table and place in the lane."""
        places = self._table.take(rows.astype(np.int64))
        places += lane_places
        return places

    def times_at(self, places: NDArray[np.int64]) -> Times:
        """Times of samples."""
        return np.add(self.lanes.times.take(places), self.origin_ms, dtype=np.int64)

    def limit(self, t_ms: int) -> int:
        """A time as an offset, for comparisons."""
        return min(max(t_ms - self.origin_ms, -_REACH_MS - 1), _REACH_MS)

    def _read(self, ages: Ages, slots: Slots, after: Counts, counts: NDArray[np.int64]) -> Gathered:
        """`counts` samples of each slot in order of time, from the one of age `after - 1` on."""
        times, bits = blank(2, int(counts.sum()))
        values: Values = bits.view(np.float64)
        done = 0
        for low, high in _slices(counts):
            part = ages if high - low == len(slots) else self.ages(slots[low:high])
            places = part.run(after[low:high], counts[low:high])
            filled = slice(done, done := done + len(places))
            times[filled] = self.lanes.times.take(places)
            values[filled] = self.lanes.values.take(places)
        times += self.origin_ms
        return Gathered(counts, times, values)

    def _offsets(self, times_ms: Times) -> NDArray[np.int32]:
        earliest, latest = int(times_ms.min()), int(times_ms.max())
        if not self.lanes.in_use:
            self.origin_ms = latest
        elif latest - self.origin_ms > _REACH_MS:
            self.lanes.shift(self.origin_ms - latest)
            self.origin_ms = latest
        offsets = times_ms - self.origin_ms
        if earliest - self.origin_ms < -_REACH_MS:
            offsets = np.maximum(offsets, -_REACH_MS)
        return offsets.astype(np.int32)

    def _note(self, slots: Slots, times_ms: Times, values: Values) -> None:
        newest = self.newest.take(slots)
        uneven = (values < newest) | (bits_of(values) == STALE_NAN_BITS)
        if uneven.any():
            self.uneven_ms[slots[uneven]] = times_ms[uneven]
        self.previous[slots] = newest
        self.previous_ms[slots] = self.newest_ms.take(slots)
        self.newest[slots] = values
        self.newest_ms[slots] = times_ms

    def _make_room(self, slots: Slots) -> None:
        """Full rings let go of their oldest sample when nobody wants it, or grow."""
        length = self.length.take(slots)
        oldest = self.times_at(self.ages(slots).places(np.maximum(length - 1, 0)))
        unwanted = (length > 0) & (oldest <= self.cut_ms.take(slots))
        self.held[slots[unwanted]] -= 1
        growing = slots[~unwanted]
        if not len(growing):
            return
        turned = self.next_row.take(growing) != self.length.take(growing)
        if turned.any():
            self._straighten(growing[turned])
        length = self.length.take(growing)
        length += np.where(turned, np.maximum(_STEP, length // 4), _STEP).astype(np.int32)
        self.length[growing] = length
        self._ensure_rows(growing, length)

    def _straighten(self, slots: Slots) -> None:
        """Put full rings in the order of time, so that they can grow at their end. Rare: a series came more often."""
        length = self.length.take(slots).astype(np.int64)
        for low, high in _slices(length):
            part, counts = slots[low:high], length[low:high]
            ages = self.ages(part)
            places = ages.run(ages.held, counts)
            times, values = self.lanes.times.take(places), self.lanes.values.take(places)
            self.next_row[part] = 0
            places = self.ages(part).run(np.zeros(len(part), np.int32), counts)
            self.lanes.times[places], self.lanes.values[places] = times, values
            self.next_row[part] = counts

    def _ensure_rows(self, slots: Slots, length: Counts) -> None:
        """Room in the table for rings of this length: a group that has too little moves to the table's end."""
        groups = slots // LANE
        short = length > self._rows.take(groups)
        if not short.any():
            return
        needed = np.zeros(len(self._rows), np.int64)
        np.maximum.at(needed, groups[short], length[short].astype(np.int64))
        for group in np.flatnonzero(needed).tolist():
            rows = max(int(needed[group]), 2 * int(self._rows[group]))
            begin, had = int(self.begin[group * LANE]), int(self._rows[group])
            end = self._table_used + rows
            if end > len(self._table):
                self._table = np.pad(self._table, (0, max(end, 2 * len(self._table)) - len(self._table)))
            self._table[self._table_used : self._table_used + had] = self._table[begin : begin + had]
            self.begin[group * LANE : (group + 1) * LANE] = self._table_used
            self._rows[group] = rows
            self._table_used = end

    def _places(self, slots: Slots, rows: Counts) -> NDArray[np.int64]:
        at = np.add(self.begin.take(slots), rows, dtype=np.int64)
        lanes = self._table.take(at)
        if not lanes.all():
            missing = distinct(at[lanes == 0])
            self._table[missing] = self.lanes.take(len(missing))
            lanes = self._table.take(at)
        return lanes + self.lane_place.take(slots)


class Ages:
    """Samples of some slots by age: 0 is a slot's newest. Valid until the next write."""

    def __init__(self, rings: Rings, which: Which) -> None:
        self._rings = rings
        self._which = which
        self._begin = of(rings.begin, which)
        self._next = of(rings.next_row, which)
        self._length = of(rings.length, which)
        self._lane_place = of(rings.lane_place, which)
        self.held = of(rings.held, which)

    def part(self, rows: NDArray[np.int64]) -> Ages:
        """The same for some of the slots."""
        which = self._which
        return Ages(self._rings, rows + which.start if isinstance(which, slice) else which.take(rows))

    def places(self, ages: Counts) -> NDArray[np.int64]:
        """Where the sample of this age lies, per slot; anywhere when the slot has none so old."""
        rows = self._next - ages
        rows -= 1
        rows += (rows >> 31) & self._length
        rows += self._begin
        return self._rings.places(rows, self._lane_place)

    def run(self, after: Counts, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where `counts` samples in a row lie, per slot, the oldest being the one of age `after - 1`.

        As a table as wide as the largest count, from which the cells that are too many are taken out.
        """
        width = int(counts.max(initial=0))
        column = np.arange(width, dtype=np.int32)
        rows = (self._next - after)[:, None] + column
        length = self._length[:, None]
        rows += (rows >> 31) & length  # those before the ring's begin are at its end
        rows -= ((length - 1 - rows) >> 31) & length
        rows += self._begin[:, None]
        places = self._rings.places(rows, self._lane_place[:, None])
        return places.ravel() if (counts == width).all() else places[column < counts[:, None]]

    def count_after(self, t_ms: int, guess: Counts | None = None) -> Counts:
        """How many samples of each slot are newer than `t_ms`. A good guess (of last time, say) makes it cheap."""
        return self.first_after(t_ms, guess)[0]

    def first_after(self, t_ms: int, guess: Counts | None = None) -> tuple[Counts, NDArray[np.int64]]:
        """As `count_after`, and where the oldest of them lies."""
        limit, times, held = self._rings.limit(t_ms), self._rings.lanes.times, self.held
        count = np.minimum(self._guess(t_ms) if guess is None else guess, held)
        first = self.places(np.maximum(count - 1, 0))
        too_many = (times.take(first) <= limit) & (count > 0)
        too_few = (times.take(self.places(np.minimum(count, held - 1))) > limit) & (count < held)
        wrong = (too_many | too_few).nonzero()[0]
        if len(wrong):
            more = too_few[wrong]
            low = np.where(more, count[wrong] + 1, 0).astype(np.int32)
            high = np.where(more, held[wrong], count[wrong] - 1).astype(np.int32)
            ages = self.part(wrong)
            # Mostly it is one more, or one less: that is tried first.
            count[wrong] = better = ages.search(limit, low, high, np.where(more, low, high - 1))
            first[wrong] = ages.places(np.maximum(better - 1, 0))
        return count, first

    def _guess(self, t_ms: int) -> Counts:
        newest_ms = of(self._rings.newest_ms, self._which)
        step = np.maximum(newest_ms - of(self._rings.previous_ms, self._which), 1)
        # An empty slot's NEVER makes any number of this: it is cut down to what is held.
        guess: Counts = np.clip(np.ceil((newest_ms - np.float64(t_ms)) / step), 0, self.held).astype(np.int32)
        return guess

    def search(self, limit: int, low: Counts, high: Counts, middle: Counts) -> Counts:
        """How many samples are newer than an offset: at least `low`, at most `high`; look at `middle` first."""
        times = self._rings.lanes.times
        while (searched := low < high).any():
            newer = times.take(self.places(np.maximum(middle, 0))) > limit
            low = np.where(searched & newer, middle + 1, low)
            high = np.where(searched & ~newer, middle, high)
            middle = (low + high) >> 1
        return low


def of(column: NDArray[Any], which: Which) -> NDArray[Any]:
    """What a column holds for these slots; of neighbours it is a view."""
    return column[which] if isinstance(which, slice) else column.take(which)


def blocks_of(slots: Slots) -> list[Block]:
    """Slots in blocks that fit into a processor's cache with all that is computed of them."""
    found = []
    for low in range(0, len(slots), _BLOCK):
        part = slots[low : low + _BLOCK]
        neighbours = bool((np.diff(part) == 1).all())
        which = slice(int(part[0]), int(part[-1]) + 1) if neighbours else part
        found.append(Block(slice(low, low + len(part)), part, which))
    return found


def _slices(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of slots of about `_AT_ONCE` cells in a table as wide as the largest count among them."""
    low = len(counts) if len(counts) * int(counts.max(initial=0)) <= _AT_ONCE else 0
    if low:
        yield 0, low
    while low < len(counts):
        some = counts[low : low + _BLOCK]
        cells = np.maximum.accumulate(some) * np.arange(1, len(some) + 1)
        high = low + max(1, int(np.searchsorted(cells, _AT_ONCE, side="right")))
        yield low, high
        low = high
