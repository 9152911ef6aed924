"""Start timestamps of the store's series: what one sample says of when its counter began holds for those after it.

So a counter has one entry per restart of what it counts, in memory and on disk, however many samples it has.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.store.database import Database, Transaction
from obskit.store.disk import from_text, to_text
from obskit.store.interface import Samples, SeriesWindow


@dataclass(frozen=True, slots=True)
class Start:
    """From `since_ms` on a series' samples have this start timestamp (0: none)."""

    labels: Labels
    since_ms: int
    start_ms: int


@dataclass(slots=True)
class _Entries:
    since_ms: list[int]
    starts_ms: list[int]

    def add(self, since_ms: int, start_ms: int) -> None:
        """Add what came after the others; what did not says nothing about samples that are kept."""
        if not self.since_ms or since_ms > self.since_ms[-1]:
            self.since_ms.append(since_ms)
            self.starts_ms.append(start_ms)

    def of(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The start timestamps of samples at these times."""
        place = np.searchsorted(self.since_ms, times_ms, side="right") - 1
        return np.where(place >= 0, np.array(self.starts_ms, np.int64)[np.maximum(place, 0)], 0)


class Starts:
    """Changed by the writer thread alone, read by any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._series: dict[Labels, _Entries] = {}
        self._names: set[str] = set()

    def news(self, samples: Samples) -> list[Start]:
        """What these samples say that was not known, in order of time."""
        found: dict[Labels, int] = {}
        news = []
        for at, start_ms in sorted(samples.starts_ms.items(), key=lambda item: samples.times_ms[item[0]]):
            labels = samples.labels[at]
            if found.get(labels, self._newest(labels)) != start_ms:
                news.append(Start(labels, samples.times_ms[at], start_ms))
                found[labels] = start_ms
        return news

    def insert(self, tx: Transaction, news: Sequence[Start]) -> None:
        """Write them in the transaction of their samples, whose series have ids by now."""
        tx.executemany(
            "INSERT OR REPLACE INTO series_start (series_id, since_ms, start_ms)"
            " SELECT id, ?, ? FROM series WHERE labels = ?",
            [(one.since_ms, one.start_ms, to_text(one.labels)) for one in news],
        )

    def remember(self, news: Sequence[Start]) -> None:
        """They are committed (or cannot be): readers see them."""
        for one in news:
            self._series.setdefault(one.labels, _Entries([], [])).add(one.since_ms, one.start_ms)
            self._names.add(one.labels.name)

    def load(self) -> None:
        """Bring back what is on disk."""
        self._series, self._names = {}, set()
        rows = self._database.read(
            "SELECT labels, since_ms, start_ms FROM series_start JOIN series ON id = series_id ORDER BY since_ms"
        )
        shared: dict[str, str] = {}
        known: dict[str, Labels] = {}
        for text, since_ms, start_ms in rows:
            labels = known.get(text) or known.setdefault(text, from_text(text, shared))
            self.remember([Start(labels, since_ms, start_ms)])

    def told(self, window: SeriesWindow) -> SeriesWindow:
        """What a reader is given: with a column of start timestamps if any series has some."""
        if not self._names or not any(labels in self._series for labels in window.labels):
            return window
        column = np.zeros(len(window.times_ms), np.int64)
        for row, labels in enumerate(window.labels):
            if (entries := self._series.get(labels)) is not None:
                span = slice(int(window.starts[row]), int(window.starts[row + 1]))
                column[span] = entries.of(window.times_ms[span])
        return replace(window, start_ms=column)

    def holds(self, name: str | None) -> bool:
        """Whether series of a metric (None: any) have start timestamps."""
        return bool(self._names) if name is None else name in self._names

    def forget(self, before_ms: int, known: Callable[[Labels], bool]) -> None:
        """Let go of what says nothing of samples from this time on, and of series that are not known any more."""
        self._series = {labels: entries for labels, entries in self._series.items() if known(labels)}
        for entries in self._series.values():
            useless = bisect_left(entries.since_ms, before_ms) - 1
            if useless > 0:
                del entries.since_ms[:useless], entries.starts_ms[:useless]

    def _newest(self, labels: Labels) -> int:
        entries = self._series.get(labels)
        return entries.starts_ms[-1] if entries is not None else 0
