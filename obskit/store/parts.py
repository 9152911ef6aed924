"""Samples of a selector as they come from memory or from disk, and how two such parts become one SeriesWindow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.store.interface import SeriesWindow
from obskit.store.packing import Times, Values


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
    # With an index, which nobody needs: without one numpy loads its masked arrays (1.3 MB), only to ask about them.
    ids, _ = np.unique(np.concatenate([older.ids, newer.ids]), return_index=True)
    labels = {**dict(zip(older.ids.tolist(), older.labels, strict=True)),
              **dict(zip(newer.ids.tolist(), newer.labels, strict=True))}  # fmt: skip
    places = np.concatenate([np.searchsorted(ids, older.ids), np.searchsorted(ids, newer.ids)])
    per_series = np.concatenate([older.counts, newer.counts])
    owner = np.repeat(places, per_series)
    order = np.argsort(owner, kind="stable")
    return Part(
        ids,
        tuple(labels[series_id] for series_id in ids.tolist()),
        np.bincount(owner, minlength=len(ids)),
        np.concatenate([older.times_ms, newer.times_ms])[order],
        np.concatenate([older.values, newer.values])[order],
    )
