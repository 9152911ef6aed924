"""What a process that has started gives back: garbage, free heap, and pages of code that only the start ran.

How is decided here, when by whoever owns the process. Each effect is measured in docs/decisions/0003-footprint.md.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from obskit.clock import Clock
from obskit.model.reused import COLUMNS

FIRST_S: Final = 20.0
"""By then every part has run once at the usual intervals, and what it needs again stays in use."""
EVERY_S: Final = 3600.0

_MADV_DONTNEED: Final = 4  # linux/mman.h

# glibc's malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_REUSED_BYTES: Final = 8 << 20

log = logging.getLogger(__name__)


def keep_heap_together() -> None:
    """One heap for all threads, which reuses what it has freed. Call it before threads start.

    A heap for each thread holds on to what that thread needed at its busiest: 24 of 136 MB during a bulk append of log
    lines. And its arrays of half a megabyte come and go: pages that are fetched anew each time are 8 % of its CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _REUSED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _REUSED_BYTES)


@dataclass(frozen=True, slots=True)
class Pages:
    """Read-only pages of program files: (address, length) of each mapping.

    The kernel maps 64 KB around each instruction that a start runs once, and never takes them back from the resident
    set while memory is plenty. Letting go of them loses nothing: what runs again is mapped again from the file.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_this_process(cls) -> Self:
        """Those of now; none where there is no Linux.

        Call it before threads start: a library that another thread is loading just then has read-only pages that are
        about to be changed. Those of libraries that are loaded are never changed or moved again.
        """
        if sys.platform != "linux":
            return cls()
        try:
            return cls(tuple(_unchanged(Path("/proc/self/smaps").read_text(encoding="utf-8"))))
        except OSError:
            return cls()

    def release(self) -> None:
        """Let go of them."""
        for address, length in self.ranges:
            _let_go(address, length)


def _let_go(address: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), _MADV_DONTNEED):
        log.debug("pages stay: reason=%s", os.strerror(ctypes.get_errno()))


def _unchanged(smaps: str) -> Iterator[tuple[int, int]]:
    """The private, read-only mappings of files of which no page was written (proc(5), smaps).

    A page that was written, such as one that the loader relocated, is the process' own: its file does not have it.
    """
    candidate: tuple[int, int] | None = None
    for line in smaps.splitlines():
        field, *values = line.split()
        if not field.endswith(":"):
            permissions, inode = values[0], values[3]
            begin, _, end = field.partition("-")
            readable_file = permissions in ("r--p", "r-xp") and inode != "0"
            candidate = (int(begin, 16), int(end, 16) - int(begin, 16)) if readable_file else None
        elif field == "Anonymous:" and candidate is not None and values[0] == "0":
            yield candidate


async def stay_small(pages: Pages, clock: Clock) -> None:
    """Give back what the start left over, and each hour what a large query or reload did. Runs until cancelled."""
    await clock.sleep(FIRST_S)
    gc.collect()
    # What is alive now stays alive: no later collection has to look at it (67,000 objects, 42 ms each time).
    gc.freeze()
    while True:
        give_back(pages)
        await clock.sleep(EVERY_S)


def give_back(pages: Pages) -> None:
    """Give back what can be given back now."""
    COLUMNS.release()
    # glibc keeps freed memory between what is in use; 10 MB where Python has to compile all modules at its start.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages.release()
