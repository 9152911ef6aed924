"""Samples of a selector as they come from memory or from disk, and how two such parts become one SeriesWindow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.store.interface import SeriesWindow
from obskit.store.packing import Times, Values, blank
from obskit.store.rounds import distinct

_AT_ONCE: Final = 1 << 14


class Part(NamedTuple):
    """Samples of some series: ids ascend, `counts[i]` (at least one) rows belong to the i-th."""

    ids: NDArray[np.int64]
    labels: Sequence[Labels]
    counts: NDArray[np.int64]
    times_ms: Times
    values: Values


EMPTY: Final = Part(np.zeros(0, np.int64), (), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))


def window_of(part: Part) -> SeriesWindow:
    """The form that readers get."""
    starts = np.zeros(len(part.counts) + 1, np.int64)
    np.cumsum(part.counts, out=starts[1:])
    return SeriesWindow(part.labels, starts, part.times_ms, part.values)


def merged(older: Part, newer: Part) -> Part:
    """Both, where every time of `older` lies before every time of `newer`."""
    if not len(older.ids):
        return newer
    if not len(newer.ids):
        return older
    ids = distinct(np.concatenate([older.ids, newer.ids]))
    at_older, at_newer = np.searchsorted(ids, older.ids), np.searchsorted(ids, newer.ids)
    counts = np.zeros(len(ids), np.int64)
    counts[at_older] = older.counts
    counts[at_newer] += newer.counts
    ends = np.cumsum(counts)
    times_ms, bits = blank(2, int(ends[-1]))
    values: Values = bits.view(np.float64)
    for part, begins in ((older, (ends - counts)[at_older]), (newer, ends[at_newer] - newer.counts)):
        for taken, places in _moves(part.counts, begins):
            times_ms[places], values[places] = part.times_ms[taken], part.values[taken]
    return Part(ids, _labels(ids, older, newer), counts, times_ms, values)


def _moves(counts: NDArray[np.int64], begins: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Runs of `counts` rows that go to where `begins` says: some thousand rows at a time, and their places."""
    ends = np.cumsum(counts)
    edges = np.flatnonzero(np.diff(ends // _AT_ONCE, prepend=-1, append=-1)).tolist()
    for low, high in pairwise(edges):
        first = int(ends[low] - counts[low])
        taken = slice(first, int(ends[high - 1]))
        places = np.repeat(begins[low:high] - ends[low:high] + counts[low:high], counts[low:high])
        places += np.arange(taken.start, taken.stop)
        yield taken, places


def _labels(ids: NDArray[np.int64], older: Part, newer: Part) -> Sequence[Labels]:
    """The labels of both; mostly the newer has all of them, and then it is the same object."""
    if len(ids) == len(newer.ids):
        return newer.labels
    labels = {**dict(zip(older.ids.tolist(), older.labels, strict=True)),
              **dict(zip(newer.ids.tolist(), newer.labels, strict=True))}  # fmt: skip
    return tuple(labels[series_id] for series_id in ids.tolist())
