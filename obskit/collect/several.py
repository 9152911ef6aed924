"""Several: one collector made of several, each with its own rhythm and targets; a read of one never holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from obskit.collect.contract import Collector
from obskit.collect.feed import Feed
from obskit.errors import CollectorError


class Several:
    """Runs its parts side by side. A defect in one ends them all: the supervisor starts them again."""

    def __init__(self, name: str, parts: Sequence[Collector]) -> None:
        self.name = name
        self.parts = parts

    async def run(self, feed: Feed) -> None:
        """Until cancelled, or until a part crashes; then it is that part's error that leaves."""
        await first_of(part.run(feed) for part in self.parts)

    async def once(self, feed: Feed) -> None:
        """Each of them once; the first error is raised when all were read."""
        first: CollectorError | None = None
        for part in self.parts:
            try:
                await part.once(feed)
            except CollectorError as error:
                first = first or error
        if first is not None:
            raise first


async def first_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run these side by side until one of them ends; the others are cancelled, and its error leaves."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
