"""Samples in memory: one pool of small pages shared by all series, written and read by whole numpy columns.

Each series ("slot") owns a chain of pages of 16 samples, oldest to newest. One scrape of 2,000 series is one write, one
selector is one gather, whatever the mix of intervals, and a sample costs 16 bytes plus about a page in fifteen.
Who may write what, labels and locks are left to head.py: nothing here is thread-safe.
"""

from __future__ import annotations

import mmap
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.store.packing import Times, Values

PAGE: Final = 16
NEVER: Final = int(np.iinfo(np.int64).min)
"""The time of a place that holds no sample: before every range."""
_FIRST_PAGES: Final = 1 << 12
_NONE: Final = 0
"""Page 0 is never given out: it holds no sample and ends every chain."""

Slots = NDArray[np.int64]


class Gathered(NamedTuple):
    """Samples of some slots: `counts[i]` rows for the i-th, one after the other, ascending in time."""

    counts: NDArray[np.int64]
    times_ms: Times
    values: Values


class SamplePages:
    """The pool. Slots are numbers given by the caller; `ensure` makes room for them."""

    def __init__(self) -> None:
        self._times = _columns(_FIRST_PAGES, PAGE, np.int64)
        self._values = _columns(_FIRST_PAGES, PAGE, np.float64)
        self._older = _columns(_FIRST_PAGES, 1, np.int32).ravel()
        self._newer = _columns(_FIRST_PAGES, 1, np.int32).ravel()
        self._times[_NONE] = NEVER
        self._used = 1
        self._free: list[int] = []
        self._first = np.zeros(0, np.int32)
        self._last = np.zeros(0, np.int32)
        self._fill = np.zeros(0, np.int32)
        self.newest_ms = np.zeros(0, np.int64)
        """Per slot: the time of its last sample, or NEVER."""

    def ensure(self, slots: int) -> None:
        """Make room for this many slots."""
        have = len(self._last)
        if slots <= have:
            return
        more = max(slots, have + have // 2, 64) - have
        self._first = np.pad(self._first, (0, more))
        self._last = np.pad(self._last, (0, more))
        self._fill = np.pad(self._fill, (0, more), constant_values=PAGE)
        self.newest_ms = np.pad(self.newest_ms, (0, more), constant_values=NEVER)

    def write(self, slots: Slots, times_ms: Times, values: Values) -> None:
        """One sample to each of these slots, which are distinct; each newer than what its slot holds."""
        full = slots[self._fill[slots] == PAGE]
        if len(full):
            self._add_pages(full)
        pages, places = self._last[slots], self._fill[slots]
        self._times[pages, places] = times_ms
        self._values[pages, places] = values
        self._fill[slots] = places + 1
        self.newest_ms[slots] = times_ms

    def newest_values(self, slots: Slots) -> Values:
        """The last value of each slot; meaningless for an empty one."""
        return self._values[self._last[slots], self._fill[slots] - 1]

    def gather(self, slots: Slots, start_ms: int, end_ms: int) -> Gathered:
        """Samples with `start_ms < t <= end_ms`, copied."""
        chain = self._chain(slots, start_ms)
        flat = chain.ravel()
        real = flat != _NONE
        pages = flat if real.all() else flat[real]
        times = self._times[pages]
        inside = (times > start_ms) & (times <= end_ms)
        per_page = np.zeros(len(flat), np.int64)
        per_page[real] = inside.sum(axis=1)
        return Gathered(per_page.reshape(chain.shape).sum(axis=1), times[inside], self._values[pages][inside])

    def any_in(self, slots: Slots, start_ms: int, end_ms: int) -> NDArray[np.bool_]:
        """Which of the slots have a sample in the range."""
        counts: NDArray[np.bool_] = self.gather(slots, start_ms, end_ms).counts > 0
        return counts

    def clear(self, slots: Slots) -> None:
        """Give back everything these slots hold."""
        page = self._first[slots]
        while (page := page[page != _NONE]).size:
            self._free.extend(page.tolist())
            page = self._newer[page]
        self._first[slots] = self._last[slots] = _NONE
        self._fill[slots] = PAGE
        self.newest_ms[slots] = NEVER

    def expire(self, slots: Slots, cut_ms: Times) -> None:
        """Give back the pages that hold nothing newer than `cut_ms` (one per slot); the last page of a slot stays."""
        while slots.size:
            page = self._first[slots]
            old = (page != self._last[slots]) & (self._times[page, PAGE - 1] <= cut_ms)
            slots, cut_ms, page = slots[old], cut_ms[old], page[old]
            after = self._newer[page]
            self._first[slots] = after
            self._older[after] = _NONE
            self._free.extend(page.tolist())

    @property
    def pages_in_use(self) -> int:
        """Pages that hold samples."""
        return self._used - 1 - len(self._free)

    def _chain(self, slots: Slots, start_ms: int) -> NDArray[np.int32]:
        """Page numbers, a row per slot and oldest first, going back until a page begins at or before `start_ms`."""
        steps = [self._last[slots]]
        while True:
            page = steps[-1]
            wanted = self._times[page, 0] > start_ms
            if not wanted.any():
                break
            steps.append(np.where(wanted, self._older[page], _NONE).astype(np.int32, copy=False))
        return np.array(steps[::-1]).T

    def _add_pages(self, slots: Slots) -> None:
        pages = self._take(len(slots))
        self._times[pages] = NEVER
        before = self._last[slots]
        self._older[pages] = before
        self._newer[pages] = _NONE
        self._newer[before] = pages
        self._newer[_NONE] = _NONE
        self._first[slots] = np.where(before == _NONE, pages, self._first[slots])
        self._last[slots] = pages
        self._fill[slots] = 0

    def _take(self, count: int) -> NDArray[np.int32]:
        reused = self._free[len(self._free) - min(count, len(self._free)) :]
        del self._free[len(self._free) - len(reused) :]
        fresh = count - len(reused)
        if self._used + fresh > len(self._older):
            self._grow(self._used + fresh)
        pages = np.array([*reused, *range(self._used, self._used + fresh)], np.int32)
        self._used += fresh
        return pages

    def _grow(self, pages: int) -> None:
        size = max(pages, 2 * len(self._older))
        self._times = _grown(self._times, size, self._used)
        self._values = _grown(self._values, size, self._used)
        self._older = _grown(self._older, size, self._used)
        self._newer = _grown(self._newer, size, self._used)


def _columns(rows: int, width: int, dtype: Any) -> NDArray[Any]:
    # Mapped by hand: pages that were never written take no memory, and a replaced column goes back to the system at
    # once, where malloc would keep it in its heap.
    size = rows * width * np.dtype(dtype).itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype).reshape(rows, width)


def _grown(column: NDArray[Any], rows: int, used: int) -> NDArray[Any]:
    larger = _columns(rows, column.shape[1] if column.ndim == 2 else 1, column.dtype)
    larger = larger if column.ndim == 2 else larger.ravel()
    larger[:used] = column[:used]
    return larger
