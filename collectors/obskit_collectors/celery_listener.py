"""Listens to Celery's events in a Redis (pub/sub, as kombu's fanout sends them) and stores what they add up to."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from obskit.clock import Clock, bounded
from obskit.collect import Feed, Snapshots, poll, within
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.store.interface import Batch, Cursor, Samples
from obskit_collectors.celery_events import METADATA, Events, Worker
from obskit_collectors.redis_connection import Subscription

_SILENCE_S: Final = 30.0
"""After so long without a message the server is asked whether it is still there."""
_AGAIN_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
_ONCE_S: Final = 2.5
"""Workers send heartbeats every 2 s."""
_COUNTS: Final = ("_total", "_bucket", "_count", "_sum")


@dataclass(frozen=True, slots=True)
class Listening:
    """To which channels, how often it is stored what they said, and the `instance` label."""

    pattern: str
    every_ms: int
    instance: str


class CeleryListener:
    """One subscription. Its samples are those of the whole time since it began to listen."""

    def __init__(self, name: str, subscription: Subscription, listen: Listening, events: Events) -> None:
        self.name = name
        self._subscription = subscription
        self._pattern = listen.pattern
        self._every_ms = listen.every_ms
        self._target = f"{subscription.shown} events"
        self._owner = f"{name} events {listen.instance}"
        self._events = events
        self._snapshots = Snapshots({"job": "celery", "instance": listen.instance})
        self._told: set[Labels] = set()
        self._dropped = 0
        self._connected_ms: int | None = None
        self._before_ms = 0
        self._error: CollectorError | None = None

    async def run(self, feed: Feed) -> None:
        """Until cancelled. Workers that were there before a restart are known after it, so that their end is noticed."""
        saved = json.loads(await feed.cursor(self._owner) or "{}")
        self._events.workers = {host: Worker(heard_ms) for host, heard_ms in saved.items()}
        first = asyncio.Event()
        listening = asyncio.create_task(self._listen(feed.clock, first), name=f"listener {self.name}")
        try:
            await first.wait()

            async def read(now_ms: int) -> Batch:
                if listening.done():
                    listening.result()  # a defect: the supervisor starts all of it again
                return self._snapshot(now_ms, feed)

            await poll(read, name=self.name, target=self._target, every_ms=self._every_ms).run(feed)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await listening
            await self._subscription.close()

    async def once(self, feed: Feed) -> None:
        """What is heard within one interval of heartbeats."""
        try:
            with feed.book(self._target).call():
                await self._connect(feed.clock)
                await self._hear_for(feed.clock, _ONCE_S)
                batch = self._snapshot(feed.clock.now_ms(), feed)
        finally:
            await self._subscription.close()
        await feed.append(batch, self._target)

    async def _listen(self, clock: Clock, first: asyncio.Event) -> None:
        """Connect, hear, and after an error again. `first` is set when the first attempt has an outcome."""
        attempt = 0
        while True:
            try:
                await self._connect(clock)
                first.set()
                attempt = 0
                await self._hear(clock)
            except CollectorError as error:
                self._error, self._connected_ms = error, None
                first.set()
                await self._subscription.close()
                await clock.sleep(_AGAIN_S[min(attempt, len(_AGAIN_S) - 1)])
                attempt += 1

    async def _connect(self, clock: Clock) -> None:
        await within(clock, 10.0, self._subscription.open(self._pattern))
        self._connected_ms = self._before_ms = clock.now_ms()
        self._error = None

    async def _hear(self, clock: Clock) -> None:
        """For ever. A server that says nothing is asked; one that does not answer then is gone."""
        asked = False
        while True:
            try:
                self._take(await bounded(clock, _SILENCE_S, self._subscription.heard()), clock)
                asked = False
            except TimeoutError:
                if asked:
                    message = f"{self._subscription.shown}: no sign of life"
                    raise CollectorError(message, reason="timeout") from None
                await self._subscription.ping()
                asked = True

    async def _hear_for(self, clock: Clock, seconds: float) -> None:
        """What comes within this time."""
        end_s = clock.monotonic() + seconds
        with suppress(TimeoutError):
            while (left_s := end_s - clock.monotonic()) > 0:
                self._take(await bounded(clock, left_s, self._subscription.heard()), clock)

    def _take(self, messages: list[str], clock: Clock) -> None:
        for message in messages:
            self._events.take(message, clock.now_ms())

    def _snapshot(self, now_ms: int, feed: Feed) -> Batch:
        """Everything heard so far. While nothing can be heard, nothing is known: no worker is told as down then."""
        if self._connected_ms is None:
            raise self._error or CollectorError(f"{self._target}: not connected", reason="network")
        if self._events.dropped > self._dropped:
            feed.book(self._target).dropped(self._events.dropped - self._dropped, "unreadable")
            self._dropped = self._events.dropped
        samples = self._snapshots.take(self._events.readings(now_ms, self._connected_ms), now_ms)
        self._tell_starts(samples)
        self._before_ms = now_ms
        heard = {host: worker.heard_ms for host, worker in self._events.workers.items()}
        return Batch(samples, metadata=METADATA, cursor=Cursor(self._owner, json.dumps(heard, separators=(",", ":"))))

    def _tell_starts(self, samples: Samples) -> None:
        """A counter that is new was 0 at the snapshot before: its first task counts in rates."""
        for place, labels in enumerate(samples.labels):
            if labels not in self._told and labels["__name__"].endswith(_COUNTS):
                self._told.add(labels)
                samples.starts_ms[place] = self._before_ms
