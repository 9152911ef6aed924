"""How much a query over log lines may still read, and whether it goes on."""

from __future__ import annotations

from obskit.clock import Clock
from obskit.errors import QueryError
from obskit.model.durations import format_duration
from obskit.store.log_interface import Progress
from obskit.store.settings import QuerySettings


class Budget:
    """What is left of a query's limits."""

    def __init__(self, limits: QuerySettings, clock: Clock, progress: Progress) -> None:
        self.progress = progress
        self._limits = limits
        self._clock = clock
        self._until = clock.monotonic() + limits.max_time / 1000
        self._bytes = 0

    def spend(self, size: int) -> None:
        """A block with this much text is about to be read."""
        self.progress.check()
        self.progress.bytes_read += size
        self._bytes += size
        if self._bytes > self._limits.max_bytes:
            raise QueryError(
                f"the query reads more than {self._limits.max_bytes / 1e9:g} GB of log lines (store.query.max_bytes):"
                " choose a shorter time range or fewer streams"
            )
        if self._clock.monotonic() > self._until:
            raise QueryError(
                f"the query took more than {format_duration(self._limits.max_time)} (store.query.max_time):"
                " choose a shorter time range, fewer streams, or a text that the lines contain"
            )
