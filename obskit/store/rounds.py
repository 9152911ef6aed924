"""A batch's samples in the order in which they can be written: a few rounds, each with one sample per series at most.

Pure arithmetic on columns; what may be stored at all is decided in head.py.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.store.packing import Times, Values

NEVER: Final = int(np.iinfo(np.int64).min)
"""The time of a sample that does not exist: before every range."""


class Round(NamedTuple):
    """Samples as columns. `slots` says whose each one is: a slot in memory, or an id on disk."""

    slots: NDArray[np.int64]
    times_ms: Times
    values: Values

    def take(self, which: NDArray[Any]) -> Round:
        """The samples of a mask or of an order."""
        return Round(self.slots[which], self.times_ms[which], self.values[which])

    def ordered(self) -> Round:
        """By slot, then time; equals stay in the order in which they came."""
        return self.take(np.lexsort((self.times_ms, self.slots)))


def joined(rounds: list[Round]) -> Round:
    """One after the other."""
    if not rounds:
        return Round(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))
    slots, times, values = zip(*rounds, strict=True)
    return Round(np.concatenate(slots), np.concatenate(times), np.concatenate(values))


def without_repeats(ordered: Round) -> tuple[Round, int]:
    """Ordered samples less those that repeat a time of their series, and how many of these had another value."""
    slots, times, values = ordered
    again = np.zeros(len(slots), np.bool_)
    again[1:] = (slots[1:] == slots[:-1]) & (times[1:] == times[:-1])
    if not again.any():
        return ordered, 0
    bits = bits_of(values)
    differ = int((again[1:] & (bits[1:] != bits[:-1])).sum())
    return ordered.take(~again), differ


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
