"""Receives fly-log-shipper's HTTP sink (Vector): a JSON array or lines of JSON, stored before they are acknowledged.

Vector sends again for ever after 408, 429 and 5xx, and drops a batch for good after any other 4xx (vector, sinks/http).
So one bad element never refuses the others, and pressure is 429. What it sends twice is known by time, machine and text.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from typing import Final

from obskit.clock import NS_PER_S
from obskit.collect import Call, Feed, Overlap, Said
from obskit.model.settings import Secret
from obskit.store.interface import Batch, Cursor
from obskit_collectors.fly_lines import Line, LineMaker, decoded
from obskit_collectors.fly_settings import FlySettings

TARGET: Final = "shipper"
SETTLE_NS: Final = 120 * NS_PER_S
"""Vector gives a request up after 60 s and tries again within 30: so late may a batch come twice."""
AT_ONCE: Final = 4
"""Batches in hand; each may be 10 MB."""
_BUSY: Final = Said(429, "busy\n", {"Retry-After": "2"})


class ShipperReceiver:
    """A part of the collector that only listens."""

    def __init__(self, settings: FlySettings, secret: Secret) -> None:
        self.name = settings.own_name
        self._secret = secret
        self._apps = frozenset(settings.apps)
        self._maker = LineMaker(settings.max_line)
        self._owner = f"{settings.own_name} {TARGET}"
        self._overlap = Overlap(SETTLE_NS)
        self._feed: Feed | None = None
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def run(self, feed: Feed) -> None:
        """Nothing to poll: keep the feed, and wait for ever."""
        self._overlap = Overlap.read(await feed.cursor(self._owner), SETTLE_NS)
        self._feed = feed
        try:
            await asyncio.Event().wait()
        finally:
            self._feed = None

    async def once(self, feed: Feed) -> None:
        """Nothing can be read when asked."""

    async def receive(self, call: Call) -> Said:
        """A health check, or a batch."""
        if not self._known(call):
            return Said(401, "the secret is wrong\n")
        if call.method in ("HEAD", "GET"):
            return Said()
        if self._feed is None:
            return Said.later()
        if self._waiting >= AT_ONCE:
            return _BUSY
        try:
            payloads, bad = decoded(call.body)
        except ValueError as error:
            self._feed.book(TARGET).dropped(1, "bad_data")
            return Said(400, f"{error}\n")
        lines = [line for payload in payloads if (line := self._maker.of_shipper(payload)) is not None]
        if bad := bad + len(payloads) - len(lines):
            self._feed.book(TARGET).dropped(bad, "bad_data")
        self._waiting += 1
        try:
            # One after the other: what is known must hold the batch before when it comes again.
            async with self._turn:
                await self._store(self._feed, lines)
        finally:
            self._waiting -= 1
        return Said()

    async def _store(self, feed: Feed, lines: Sequence[Line]) -> None:
        wanted = [line for line in lines if not self._apps or line.app in self._apps]
        since_ns = self._overlap.since_ns or 0
        # Whatever waited in the shipper while nobody took it is not known, however old it is.
        old = [line.record for line in wanted if line.record.t_ns < since_ns]
        fresh = [line for line in wanted if line.record.t_ns >= since_ns]
        overlap, new = self._overlap.take([(line.record.t_ns, line.id) for line in fresh], feed.clock.now_ns())
        records = [*old, *(fresh[position].record for position in new)]
        if records:
            cursor = Cursor(self._owner, overlap.text()) if new else None
            await feed.offer(Batch(records=records, cursor=cursor), TARGET)
        self._overlap = overlap

    def _known(self, call: Call) -> bool:
        """Vector's health check brings the secret too; one without any is answered, as nothing is taken."""
        given = call.headers.get("authorization", "")
        if call.method == "HEAD" and not given:
            return True
        return hmac.compare_digest(given.encode(), f"Bearer {self._secret.reveal()}".encode())
