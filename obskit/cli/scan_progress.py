"""How far a scan of log lines has come: one line on stderr, on a terminal, once it takes a moment."""

from __future__ import annotations

import sys
from typing import Final

from obskit.clock import Clock
from obskit.store.log_interface import Progress

_FIRST_S: Final = 0.5
_EVERY_S: Final = 0.1


class ShownProgress(Progress):
    """A scan's progress that shows itself. `clear` before anything else is written to the terminal."""

    def __init__(self, clock: Clock, *, shown: bool) -> None:
        super().__init__()
        self._clock = clock
        self._shown = shown
        self._next_s = clock.monotonic() + _FIRST_S
        self._drawn = False

    def check(self) -> None:
        """QueryError when the scan was stopped; else say how far it is, now and then."""
        super().check()
        now_s = self._clock.monotonic()
        if self._shown and now_s >= self._next_s and self.bytes_total:
            self._next_s = now_s + _EVERY_S
            self._drawn = True
            percent = min(100, 100 * self.bytes_read // self.bytes_total)
            of = f"{percent} % of {self.bytes_total / 1e6:,.0f} MB"
            sys.stderr.write(f"\r\x1b[K{of}, {self.lines_found:,} lines found")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._drawn = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
