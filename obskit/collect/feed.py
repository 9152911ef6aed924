"""Feed: what a running collector is given. It appends to the store, waits out a full disk, and keeps the books."""

from __future__ import annotations

import logging
from typing import Final

from obskit.clock import Clock
from obskit.collect.books import Book, TargetStatus
from obskit.errors import CollectorError, StoreFull
from obskit.store.interface import Batch, Intake

log = logging.getLogger(__name__)

FULL_WAIT_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses between attempts while the store is full; the last one repeats."""


class Feed:
    """The intake, the clock and the books of one collector."""

    def __init__(self, collector: str, intake: Intake, clock: Clock) -> None:
        self.collector = collector
        self.clock = clock
        self.retired = False
        """Set before the collector is cancelled because nothing of its name is configured any more: its series end."""
        self._intake = intake
        self._books: dict[str, Book] = {}
        self._full = False

    def book(self, target: str = "") -> Book:
        """The book of a target (`redis://host:6379/0`, a file's path): made at its first use."""
        if target not in self._books:
            self._books[target] = Book(self.collector, target, self.clock)
        return self._books[target]

    def close_book(self, target: str = "") -> None:
        """The target is gone for good (no longer configured or discovered)."""
        book = self._books.pop(target, None)
        if book is not None:
            book.close()

    def close(self) -> None:
        """The collector is gone for good."""
        for target in list(self._books):
            self.close_book(target)

    async def cursor(self, owner: str) -> str | None:
        """The cursor last stored for `owner`, or None at its first start."""
        return await self._intake.cursor(owner)

    async def append(self, batch: Batch, target: str = "") -> None:
        """Store a batch and its cursor; returning is the acknowledgement.

        While the store is full this waits, with the batch in hand: the collector stops reading and nothing is lost.
        """
        attempt = 0
        while True:
            try:
                await self._intake.append(batch)
            except StoreFull as error:
                self._note_full(error)
                await self.clock.sleep(FULL_WAIT_S[min(attempt, len(FULL_WAIT_S) - 1)])
                attempt += 1
                continue
            break
        if self._full:
            self._full = False
            log.info("store takes data again: collector=%s", self.collector)
        self.book(target).stored(batch)

    async def offer(self, batch: Batch, target: str = "") -> None:
        """Store a batch that was pushed. StoreFull when there is no room: its sender keeps it, and is to come back."""
        await self._intake.append(batch)
        self.book(target).stored(batch)

    def down(self, error: CollectorError) -> None:
        """The collector itself ended: none of its targets is read until it runs again."""
        for book in list(self._books.values()) or [self.book()]:
            book.failure(error, 0.0)

    def status(self) -> list[TargetStatus]:
        """A row for each target."""
        return [book.status() for book in self._books.values()]

    def _note_full(self, error: StoreFull) -> None:
        if not self._full:
            self._full = True
            log.warning("store is full, collector waits: collector=%s error=%s", self.collector, error)
