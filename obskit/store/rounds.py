"""A batch's samples in the order in which they can be written: a few rounds, each with one sample per series at most.

Pure arithmetic on columns; what may be stored at all is decided in head.py.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.store.packing import Times, Values, blank

NEVER: Final = int(np.iinfo(np.int64).min)
"""The time of a sample that does not exist: before every range."""
_COUNTABLE: Final = 1 << 16


class Round(NamedTuple):
    """Samples as columns. `slots` says whose each one is: a slot in memory, or an id on disk."""

    slots: NDArray[np.int64]
    times_ms: Times
    values: Values

    def take(self, which: NDArray[Any]) -> Round:
        """The samples of a mask or of an order."""
        return Round(self.slots[which], self.times_ms[which], self.values[which])

    def bits(self) -> tuple[NDArray[np.int64], Times, NDArray[np.int64]]:
        """The columns, values as their bits."""
        return self.slots, self.times_ms, bits_of(self.values)

    def ordered(self) -> Round:
        """By slot, then time; equals stay in the order in which they came."""
        order = np.argsort(_short(self.slots), kind="stable")
        slots, times_ms, bits = blank(3, len(order))
        for column, sorted_column in zip(self.bits(), (slots, times_ms, bits), strict=True):
            column.take(order, out=sorted_column, mode="clip")
        by_slot = Round(slots, times_ms, bits.view(np.float64))
        # Samples mostly come in order of time: to sort by two keys takes several times as long.
        if ((times_ms[1:] >= times_ms[:-1]) | (slots[1:] != slots[:-1])).all():
            return by_slot
        return self.take(np.lexsort((self.times_ms, self.slots)))


def _short(slots: NDArray[np.int64]) -> NDArray[Any]:
    """Numbers of the same order, of 16 bits if possible: numpy sorts these by counting."""
    if not len(slots):
        return slots
    low = slots.min()
    if slots.max() - low >= _COUNTABLE:
        return slots
    short = np.empty(len(slots), np.uint16)
    np.subtract(slots, low, out=short, casting="unsafe")
    return short


def joined(rounds: list[Round]) -> Round:
    """One after the other."""
    if not rounds:
        return Round(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))
    if len(rounds) == 1:
        return rounds[0]
    slots, times, values = zip(*rounds, strict=True)
    return Round(np.concatenate(slots), np.concatenate(times), np.concatenate(values))


def repeats(ordered: Round) -> NDArray[np.bool_]:
    """Which of ordered samples repeat a time of their series."""
    slots, times, _ = ordered
    again = np.zeros(len(slots), np.bool_)
    again[1:] = (slots[1:] == slots[:-1]) & (times[1:] == times[:-1])
    return again


def contradictions(ordered: Round, again: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the samples that repeat a time have another value than the one before."""
    bits, differs = bits_of(ordered.values), again.copy()
    differs[1:] &= bits[1:] != bits[:-1]
    return differs


def without_repeats(ordered: Round) -> Round:
    """Ordered samples less those that repeat a time of their series."""
    again = repeats(ordered)
    return ordered.take(~again) if again.any() else ordered


class BySlot(NamedTuple):
    """Samples slot after slot, in order of time and each time once: whose they are (ascending), and how many of each."""

    slots: NDArray[np.int64]
    counts: NDArray[np.int64]
    times_ms: Times
    values: Values


def by_slot(samples: Round) -> BySlot:
    """Samples in any order, put in order; of those that repeat a time of their series the first stays.

    What mostly comes, a few series in order of time, is not looked at twice: a quarter of the time of a read from disk.
    """
    short = _short(samples.slots)
    if len(short) and short.dtype == np.uint16:
        order = np.argsort(short, kind="stable")
        times_ms, bits = blank(2, len(order))
        samples.times_ms.take(order, out=times_ms, mode="clip")
        bits_of(samples.values).take(order, out=bits, mode="clip")
        counts = np.bincount(short)
        used = counts.nonzero()[0]
        counts = counts[used]
        later = times_ms[1:] > times_ms[:-1]
        later[np.cumsum(counts)[:-1] - 1] = True  # another slot begins
        if later.all():
            return BySlot(used + samples.slots.min(), counts, times_ms, bits.view(np.float64))
    slots, times_ms, values = without_repeats(samples.ordered())
    begins = np.flatnonzero(np.diff(slots, prepend=NEVER))
    return BySlot(slots[begins], np.diff(begins, append=len(slots)), times_ms, values)


def split(ordered: Round) -> list[Round]:
    """The first sample of every slot, the second of every slot, and so on."""
    slots = ordered.slots
    if not len(slots):
        return []
    count = np.arange(len(slots))
    begins = np.zeros(len(slots), np.int64)
    begins[1:] = np.where(slots[1:] != slots[:-1], count[1:], 0)
    rank = count - np.maximum.accumulate(begins)
    edges = np.cumsum(np.bincount(rank))
    by_rank = ordered.take(np.argsort(rank, kind="stable"))
    return [by_rank.take(np.arange(low, high)) for low, high in zip([0, *edges[:-1]], edges, strict=True)]


def distinct(numbers: NDArray[Any]) -> NDArray[Any]:
    """Each of them once, ascending. (Without options np.unique loads numpy's masked arrays, 1.3 MB, only to ask.)"""
    ordered = np.sort(numbers)
    first: NDArray[np.bool_] = np.diff(ordered, prepend=-1) != 0
    return ordered[first]


def bits_of(values: Values) -> NDArray[np.int64]:
    """The values' bits: stale markers are equal to themselves there."""
    return values.view(np.int64)
