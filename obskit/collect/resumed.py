"""Resumed: a collector that is told its stored cursor before it runs. `once` begins without one."""

from __future__ import annotations

from collections.abc import Callable

from obskit.collect.contract import Collector
from obskit.collect.feed import Feed


class Resumed:
    """Gives `resume` the cursor of `owner` (None at the first start), and runs `inner` then."""

    def __init__(self, inner: Collector, owner: str, resume: Callable[[str | None], None]) -> None:
        self.name = inner.name
        self._inner = inner
        self._owner = owner
        self._resume = resume

    async def run(self, feed: Feed) -> None:
        """As `inner` does, from the cursor on."""
        self._resume(await feed.cursor(self._owner))
        await self._inner.run(feed)

    async def once(self, feed: Feed) -> None:
        """As `inner` does."""
        await self._inner.once(feed)
