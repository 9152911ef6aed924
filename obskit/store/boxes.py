"""Histograms among floats: a column of values holds a NaN that names one, and the histogram itself lies beside.

So everything that moves samples (memory, head rows, chunks, folding) moves histograms without knowing of them. A
histogram gets its number when it is admitted, and numbers are never given again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.histograms import NativeHistogram
from obskit.model.samples import STALE_NAN
from obskit.store.database import Database, Transaction
from obskit.store.histogram_codec import pack_histogram, unpack_histogram
from obskit.store.interface import Samples, SeriesWindow
from obskit.store.packing import Times, Values

_TAG: Final = 0x7FFD
"""The upper 16 bits of a box: a NaN that no arithmetic makes. The other 48 are the histogram's number."""
_NUMBER: Final = (1 << 48) - 1
_AT_ONCE: Final = 500
_unpacked: Final = lru_cache(maxsize=4096)(unpack_histogram)
"""Rules read the same samples again and again."""


class Boxes:
    """The histograms of the samples in memory, and the way to those on disk. Written by the writer thread alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._packed: dict[int, tuple[int, bytes]] = {}
        self._last: int | None = None
        self._fresh = range(0)
        self._names: set[str] = set()

    def put(self, samples: Samples) -> Samples:
        """The samples with boxes where histograms were. Nobody sees those before their samples are admitted."""
        self._fresh = range(0)
        if not samples.histograms:
            return samples
        first, values = self._first(), list(samples.values)
        for number, (at, histogram) in enumerate(samples.histograms.items(), first):
            self._packed[number] = (samples.times_ms[at], pack_histogram(histogram))
            self._names.add(samples.labels[at].name)
            values[at] = _box(number)
        self._last = first + len(samples.histograms) - 1
        self._fresh = range(first, self._last + 1)
        return replace(samples, values=values, histograms={})

    def checked(self, values: Values) -> Values:
        """Admitted values, less what a client made look like a box: it must not name histograms of others."""
        boxed = boxed_in(values)
        if not boxed.any():
            return values
        fresh = [number in self._fresh for number in _numbers(values[boxed])]
        if all(fresh):
            return values
        cleaned = values.copy()
        cleaned[np.flatnonzero(boxed)[~np.array(fresh)]] = np.nan
        return cleaned

    def insert(self, tx: Transaction, times_ms: Times, values: Values) -> None:
        """Write the histograms of admitted samples in their transaction."""
        boxed = boxed_in(values)
        if not boxed.any():
            return
        numbers = _numbers(values[boxed])
        rows = zip(numbers, times_ms[boxed].tolist(), strict=True)
        tx.executemany(
            "INSERT INTO histogram (id, t_ms, data) VALUES (?, ?, ?)",
            [(number, t_ms, self._packed[number][1]) for number, t_ms in rows],
        )

    def opened(self, window: SeriesWindow) -> SeriesWindow:
        """What a reader is given: a column of histograms, if there are any."""
        if not np.isnan(window.values.max(initial=0.0)):
            return window
        boxed = boxed_in(window.values)
        if not boxed.any():
            return window
        numbers = _numbers(window.values[boxed])
        known = self._find(numbers)
        histograms = np.full(len(window.values), None, object)
        histograms[boxed] = [known.get(number) for number in numbers]
        values = window.values.copy()
        # In the place of one that is gone (deleted a moment before its sample) the series has no value.
        values[boxed] = [np.nan if number in known else STALE_NAN for number in numbers]
        return replace(window, values=values, histograms=histograms)

    def holds(self, name: str | None) -> bool:
        """Whether a metric in memory (None: any) has histograms."""
        return bool(self._names) if name is None else name in self._names

    def note(self, names: Iterable[str]) -> None:
        """Histograms of these metrics came into memory from disk."""
        self._names.update(names)

    def forget(self, before_ms: int) -> None:
        """Samples from before this time are read from disk."""
        if any(t_ms < before_ms for t_ms, _ in self._packed.values()):
            self._packed = {number: kept for number, kept in self._packed.items() if kept[0] >= before_ms}

    def _first(self) -> int:
        """The first number of a batch."""
        if self._last is None:
            rows = self._database.read("SELECT seq FROM sqlite_sequence WHERE name = 'histogram'")
            self._last = rows[0][0] if rows else 0
        return self._last + 1

    def _find(self, numbers: list[int]) -> dict[int, NativeHistogram]:
        packed = {number: kept[1] for number in numbers if (kept := self._packed.get(number)) is not None}
        missing = [number for number in numbers if number not in packed]
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            packed.update(self._database.read(f"SELECT id, data FROM histogram WHERE id IN ({marks})", part))  # noqa: S608 - marks only
        return {number: _unpacked(data) for number, data in packed.items()}


def holders(owners: NDArray[np.int64], values: Values) -> list[int]:
    """The owners of the values that are histograms, each once."""
    boxed = boxed_in(values)
    return sorted(set(owners[boxed].tolist())) if boxed.any() else []


def _box(number: int) -> float:
    return float(np.array([_TAG << 48 | number], np.int64).view(np.float64)[0])


def boxed_in(values: Values) -> NDArray[np.bool_]:
    """Which of the values are histograms."""
    found: NDArray[np.bool_] = (values.view(np.int64) >> 48) == _TAG
    return found


def _numbers(values: Values) -> list[int]:
    numbers: list[int] = (values.view(np.int64) & _NUMBER).tolist()
    return numbers
