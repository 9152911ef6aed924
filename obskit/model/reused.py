"""Memory for large columns that are soon let go of, used again: fresh pages cost more than what is done with them.

Of a range query of 1,000 series and 1,000 steps a fifth was spent by the system on handing out 25 MB of them.
"""

from __future__ import annotations

import mmap
import sys
import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PAGE: Final = 1 << 21
"""A large page: from the system's view one of these costs little more than one of 4 KB."""
_NOBODY: Final = 2
"""References to a mapping that only the list holds, while it is asked."""


class Reused:
    """Mappings that were given out and are kept, up to `limit` bytes of them. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []

    @property
    def kept_bytes(self) -> int:
        """How much is kept, in use or not; what was never written to takes no memory."""
        return sum(map(len, self._kept))

    def take(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, whatever is in them. They are free again once no array looks at them."""
        with self._lock:
            return np.frombuffer(self._mapping(size), np.uint8, size)

    def release(self) -> None:
        """Keep nothing. What is in use goes back to the system once it is let go of."""
        with self._lock:
            self._kept.clear()

    def _mapping(self, size: int) -> mmap.mmap:
        free = [place for place in range(len(self._kept)) if sys.getrefcount(self._kept[place]) <= _NOBODY]
        fitting = [place for place in free if len(self._kept[place]) >= size]
        if fitting:
            return self._kept[min(fitting, key=lambda place: len(self._kept[place]))]
        mapping = mmap.mmap(-1, -(-size // _PAGE) * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # glibc learns from a large piece that is let go of to keep smaller ones; without, each of more than 128 KB that
        # a calculation needs for a moment has fresh pages.
        np.empty(len(mapping), np.uint8)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            mapping.madvise(mmap.MADV_HUGEPAGE)
        # Those that were too small give way: what is asked for now is asked for again.
        while free and self.kept_bytes + len(mapping) > self._limit:
            del self._kept[free.pop()]
        if self.kept_bytes + len(mapping) <= self._limit:
            self._kept.append(mapping)
        return mapping


COLUMNS: Final = Reused(32 << 20)
"""For the columns of samples and results; let go of each hour (watch/memory.py)."""
