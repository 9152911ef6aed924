"""Polled: a part that asks at an interval, goes on from its cursor and books its requests. What it asks is its reader's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from obskit.collect import Book, Feed, Poll, poll
from obskit.store.interface import Batch
from obskit_collectors.cloudflare_account import Account

TIMEOUT_MS: Final = 60_000
"""For a whole read of many requests, each of which has a limit of its own."""

Read = Callable[[int, Book | None], Awaitable[Batch]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part goes on: the owner of its cursor, and what takes the cursor's value."""

    owner: str
    resume: Callable[[str | None], None]


class Polled:
    """Calls `read(now_ms, book)`; the book is that of its target."""

    def __init__(
        self,
        account: Account,
        target: str,
        every_ms: int,
        *,
        read: Read,
        close: Callable[[], Awaitable[None]],
        place: Place | None = None,
    ) -> None:
        self.name = account.collector
        self._target = target
        self._read = read
        self._place = place
        self._book: Book | None = None
        self._poll: Poll = poll(
            self._now, name=self.name, target=target, every_ms=every_ms, timeout_ms=TIMEOUT_MS, close=close
        )

    async def run(self, feed: Feed) -> None:
        """Go on where the last run ended."""
        if self._place is not None:
            self._place.resume(await feed.cursor(self._place.owner))
        self._book = feed.book(self._target)
        await self._poll.run(feed)

    async def once(self, feed: Feed) -> None:
        """One read, as at the first start."""
        self._book = feed.book(self._target)
        await self._poll.once(feed)

    async def _now(self, now_ms: int) -> Batch:
        return await self._read(now_ms, self._book)
