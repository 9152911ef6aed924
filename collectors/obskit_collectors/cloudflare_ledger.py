"""The ledger: which lines of one account are known, from the query and from the live tail. Whoever brings a line first
stores it.

The query is the source of truth: it takes note of every line itself. What the tail brought is remembered only until the
query has surely passed it, and in a cursor of its own, stored with its lines. So a crash at any point loses and doubles
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from obskit.clock import NS_PER_MS, NS_PER_S
from obskit.collect import Feed, Overlap
from obskit.model.records import Record
from obskit.store.interface import Batch, Cursor
from obskit_collectors.cloudflare_account import Account
from obskit_collectors.cloudflare_events import Line

SETTLE_NS: Final = 120 * NS_PER_S
"""So late may a line show up in the query."""
LAG_MS: Final = 120_000
"""When the query lies further behind than this, what the tail brings is left to it."""
TAIL_NS: Final = 300 * NS_PER_S
"""Longer than the query may lie behind and lines may be late, together: by then it has met every line of the tail."""
MOST_TAILED: Final = 8_000
"""Lines of the tail that are remembered, 88 KB in each of its cursors. Above, they are left to the query."""


class Ledger:
    """Shared by the query and the tail of one account."""

    def __init__(self, account: Account) -> None:
        self.turn = asyncio.Lock()
        """Held from the look at lines until they are stored: a line that is known is a line that is stored."""
        self._polled_owner, self._tailed_owner = account.owner("logs"), account.owner("tail")
        self._polled, self._tailed = Overlap(SETTLE_NS), Overlap(TAIL_NS)
        self._passed_ms = 0

    async def resume(self, feed: Feed) -> None:
        """Go on where the store says."""
        self._polled = Overlap.read(await feed.cursor(self._polled_owner), SETTLE_NS)
        self._tailed = Overlap.read(await feed.cursor(self._tailed_owner), TAIL_NS)

    @property
    def since_ms(self) -> int | None:
        """Where the query has to begin; None: it never saw a line."""
        since_ns = self._polled.since_ns
        return None if since_ns is None else since_ns // NS_PER_MS

    @property
    def newest_ms(self) -> int:
        """The time of the newest line of the query; it never falls."""
        return (self._polled.newest_ns or 0) // NS_PER_MS

    def polled(self, lines: Sequence[Line], now_ns: int) -> Batch:
        """What of these is new, with the cursor; empty when the query showed nothing that it did not show before."""
        self._polled, positions = self._polled.take(_keys(lines), now_ns)
        if not positions:
            return Batch()
        shown = [lines[position] for position in positions]
        return Batch(records=self._untailed(shown, now_ns), cursor=Cursor(self._polled_owner, self._polled.text()))

    def passed(self, now_ms: int) -> None:
        """The query has come to the present."""
        self._passed_ms = now_ms

    def tailed(self, lines: Sequence[Line], now_ms: int) -> Batch:
        """What of these to store, with the tail's cursor; empty when it is known, or left to the query."""
        if now_ms - self._passed_ms > LAG_MS or len(self._tailed) + len(lines) > MOST_TAILED:
            self._forget(now_ms)
            return Batch()
        now_ns = now_ms * NS_PER_MS
        _, unknown = self._polled.take(_keys(lines), now_ns)
        wanted = [lines[position] for position in unknown]
        self._tailed, positions = self._tailed.take(_keys(wanted), now_ns)
        if not positions:
            return Batch()
        records = [wanted[position].record for position in positions]
        return Batch(records=records, cursor=Cursor(self._tailed_owner, self._tailed.text()))

    def _untailed(self, lines: Sequence[Line], now_ns: int) -> list[Record]:
        """Without what the tail has stored. Older lines than it remembers were never its."""
        since_ns = self._tailed.since_ns
        if since_ns is None:
            return [line.record for line in lines]
        old = [line.record for line in lines if line.record.t_ns < since_ns]
        recent = [line for line in lines if line.record.t_ns >= since_ns]
        _, positions = self._tailed.take(_keys(recent), now_ns)
        return [*old, *(recent[position].record for position in positions)]

    def _forget(self, now_ms: int) -> None:
        """Begin anew once the query has passed everything that is remembered."""
        newest_ns = self._tailed.newest_ns
        if newest_ns is not None and newest_ns + TAIL_NS < min(now_ms, self._passed_ms) * NS_PER_MS:
            self._tailed = Overlap(TAIL_NS)


def _keys(lines: Sequence[Line]) -> list[tuple[int, str]]:
    return [(line.record.t_ns, line.id) for line in lines]
