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

    def read(self, end_ms: int, now_ms: int, *, growth: int) -> Windows:
        """After a window that was read to `end_ms`; the next one may be `growth` times as long."""
        length_ms = min(self.length_ms * growth, LONGEST_MS)
        return Windows(length_ms, end_ms if end_ms < now_ms else None, end_ms)

    def cut(self, begin_ms: int, end_ms: int) -> Windows:
        """After one that held too much: its first half."""
        return replace(self, length_ms=max(SHORTEST_MS, (end_ms - begin_ms) // 2), at_ms=begin_ms)

    @property
    def behind(self) -> bool:
        """Whether the pass goes on."""
        return self.at_ms is not None
