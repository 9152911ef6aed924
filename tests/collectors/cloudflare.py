"""What the tests of the Cloudflare collector share: settings for a fake, and a store in memory that remembers cursors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from obskit.collect import Collector, Feed, find_kind
from obskit.errors import StoreFull
from obskit.model.records import Record
from obskit.store.interface import Batch, Refused
from obskit.testing.clock import FakeClock
from obskit.testing.cloudflare import FakeCloudflare

START_MS = 1_790_929_000_000
HOUR_MS = 3_600_000
DEADLINE_S = 50
"""Whoever sleeps longer sets a limit to something."""


class Patient(FakeClock):
    """Pauses between reads take no time but move the clock; deadlines are never reached. So nothing races with a server."""

    async def sleep(self, seconds: float) -> None:
        if seconds < DEADLINE_S:
            self.advance(max(seconds, 0))
            seconds = 0
        await super().sleep(seconds)


@dataclass
class Kept:
    """An Intake that keeps everything. With `full` it takes nothing."""

    batches: list[Batch] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    full: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def append(self, batch: Batch) -> Refused:
        if self.full:
            raise StoreFull("the disk is full")
        self.batches.append(batch)
        if batch.cursor is not None:
            self.cursors[batch.cursor.owner] = batch.cursor.value
        self._news.set()
        return Refused()

    async def until(self, count: int) -> None:
        """Wait until so many records are kept."""
        while len(self.records) < count:
            self._news.clear()
            await self._news.wait()

    async def cursor(self, owner: str) -> str | None:
        return self.cursors.get(owner)

    @property
    def records(self) -> list[Record]:
        return [record for batch in self.batches for record in batch.records]

    @property
    def lines(self) -> list[str]:
        return [record.line for record in self.records]


def settings_for(fake: FakeCloudflare, **sections: Any) -> Any:
    """The settings of a collector that asks the fake."""
    kind = find_kind("cloudflare")
    return kind.settings(account_id=fake.account, token=fake.token, url=fake.url, **sections)


def collector_for(fake: FakeCloudflare, **sections: Any) -> Collector:
    return find_kind("cloudflare").build(settings_for(fake, **sections))


async def while_running(collector: Collector, feed: Feed, work: Awaitable[None]) -> None:
    """Run the collector until `work` is done."""
    running = asyncio.create_task(collector.run(feed))
    working = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({running, working}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    working.cancel()
    await asyncio.gather(running, working, return_exceptions=True)
    for task in done:
        task.result()
