"""The memory that samples lie in: lanes of 64 samples, one of each series of a group, given out and taken back.

The pools grow in place where the system can move mapped pages (Linux), and by a copy elsewhere.
"""

from __future__ import annotations

import mmap
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LANE: Final = 64
_FIRST_LANES: Final = 64


class Lanes:
    """Times (32-bit offsets) and values, both flat: lane `n` is `[n * LANE:(n + 1) * LANE]`. Lane 0 is never given out."""

    def __init__(self) -> None:
        self._times = _Pool(_FIRST_LANES * LANE, np.int32)
        self._values = _Pool(_FIRST_LANES * LANE, np.float64)
        self._size = _FIRST_LANES
        self._used = 1
        self._free: list[int] = []
        self._bind()

    @property
    def in_use(self) -> int:
        """Lanes that are given out."""
        return self._used - 1 - len(self._free)

    def take(self, count: int) -> NDArray[np.int64]:
        """Where some lanes begin that nobody has."""
        kept = max(0, len(self._free) - count)
        reused, self._free = self._free[kept:], self._free[:kept]
        fresh = count - len(reused)
        if self._used + fresh > self._size:
            self._grow(self._used + fresh)
        lanes = np.array([*reused, *range(self._used, self._used + fresh)], np.int64)
        self._used += fresh
        return lanes * LANE

    def give_back(self, begins: NDArray[np.int64]) -> None:
        """These lanes are wanted no more."""
        self._free.extend((begins // LANE).tolist())

    def shift(self, by_ms: int) -> None:
        """Add this to every time; what cannot be said with 32 bits becomes the least or the greatest that can."""
        info = np.iinfo(np.int32)
        for start in range(0, self._used * LANE, 1 << 20):
            part = self.times[start : start + (1 << 20)]
            np.clip(part + np.int64(by_ms), info.min, info.max, out=part, casting="unsafe")

    def _grow(self, lanes: int) -> None:
        self._size = max(lanes, self._size + self._size // 2)
        del self.times, self.values  # a mapping that somebody looks at cannot be moved
        self._times.resize(self._size * LANE, self._used * LANE)
        self._values.resize(self._size * LANE, self._used * LANE)
        self._bind()

    def _bind(self) -> None:
        self.times: NDArray[np.int32] = self._times.column()
        self.values: NDArray[np.float64] = self._values.column()


class _Pool:
    """A mapping of its own: pages that were never written take no memory, and what is replaced goes back at once."""

    def __init__(self, length: int, dtype: Any) -> None:
        self._dtype = np.dtype(dtype)
        self._memory = self._mapped(length)

    def column(self) -> NDArray[Any]:
        return np.frombuffer(self._memory, self._dtype)

    def resize(self, length: int, used: int) -> None:
        try:
            self._memory.resize(length * self._dtype.itemsize)
        except (BufferError, OSError, SystemError, ValueError):  # no mremap here
            larger = self._mapped(length)
            larger[: used * self._dtype.itemsize] = self._memory[: used * self._dtype.itemsize]
            self._memory = larger

    def _mapped(self, length: int) -> mmap.mmap:
        return mmap.mmap(-1, length * self._dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
