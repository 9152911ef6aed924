"""Windows: from when to when the log is asked for next. Pure; it decides lengths and when to begin anew.

The log shows lines late, so each pass over it begins `settle` before the newest line that is known and goes on in windows
to the present. A window that holds too much, or of which a sample came, is cut: long ranges are thinned out silently.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LONGEST_MS: Final = 6 * 3_600_000
"""Longer ranges are downsampled without an error: 8 days in one query gave 7 events, in pieces of 6 h 1,293 (field report)."""
SHORTEST_MS: Final = 1_000
LATEST_MS: Final = 3_600_000
"""After a silence a pass begins so long before the end of the one before: this covers clocks that differ, and rows that
come very late, at the price of one query."""


@dataclass(frozen=True, slots=True)
class Windows:
    """`length_ms` of the next window; `at_ms`, where it begins, is None before a pass; `scanned_ms` is the end of the last
    window of a pass."""

    length_ms: int = LONGEST_MS
    at_ms: int | None = None
    scanned_ms: int = 0

    def next(self, since_ms: int, oldest_ms: int, now_ms: int) -> tuple[int, int]:
        """From and to. A pass begins at `since_ms`, never before `oldest_ms`."""
        quiet_ms = min(self.scanned_ms, now_ms) - LATEST_MS
        begin = max(since_ms, quiet_ms) if self.at_ms is None else self.at_ms
        begin = min(max(begin, oldest_ms), now_ms - SHORTEST_MS)
        return begin, min(begin + self.length_ms, now_ms)

    def read(self, end_ms: int, now_ms: int, *, full: bool) -> Windows:
        """After a window that was read to `end_ms`; it grows again, unless it was rather full."""
        length_ms = self.length_ms if full else min(self.length_ms * 2, LONGEST_MS)
        return Windows(length_ms, end_ms if end_ms < now_ms else None, end_ms)

    def cut(self, begin_ms: int, length_ms: int) -> Windows:
        """After one that held too much: the same again, so long at most, and at most half as long."""
        return replace(self, length_ms=max(SHORTEST_MS, min(length_ms, self.length_ms // 2)), at_ms=begin_ms)

    @property
    def behind(self) -> bool:
        """Whether the pass goes on."""
        return self.at_ms is not None

    @property
    def shortest(self) -> bool:
        """Whether nothing can be cut any more."""
        return self.length_ms <= SHORTEST_MS
