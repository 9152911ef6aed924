"""The live tail: the events of one Worker within a second or two, over a WebSocket. It comes beside the query, which stays
the source of truth: whatever is lost here, or left out under load, comes a little later from there.

Protocol: a request gives the socket's URL; right after opening and every 30 s a heartbeat must be posted, without which
the socket stays open and delivers nothing. After three that failed it is opened anew (as wrangler does it).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from obskit.collect import Ask, Book, Check, Feed, failed, ok
from obskit.collect.several import first_of
from obskit.errors import CollectorError
from obskit.outbound import trust
from obskit_collectors.cloudflare_account import Account, AccountApi
from obskit_collectors.cloudflare_events import Line, LineMaker, mapping
from obskit_collectors.cloudflare_ledger import Ledger

PERMISSION: Final = "Workers Observability: Read"
OPEN: Final = "/workers/observability/telemetry/live-tail"
HEARTBEAT: Final = "/workers/observability/telemetry/live-tail/heartbeat"
HEARTBEAT_S: Final = 30.0
HEARTBEATS_FAILED: Final = 3
FLUSH_S: Final = 2.0
"""Each flush stores the cursor, too: so often it may grow."""
MOST_WAITING: Final = 2_000
"""Lines between two flushes; more are left to the query."""
_WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
_LARGEST: Final = 1 << 20
"""Bytes of a message; an event has 128 KB at most."""
_SOCKET_S: Final = 10.0


class LiveTail:
    """Follows one Worker."""

    def __init__(self, account: Account, worker: str, ledger: Ledger, kinds: frozenset[str]) -> None:
        self.name = account.collector
        self._target = f"tail/{worker}"
        self._body = {"scriptId": worker}
        self._ledger = ledger
        self._kinds = kinds
        self._api = account.api(PERMISSION)
        self._maker = LineMaker()
        self._waiting: list[Line] = []
        self._came = asyncio.Event()
        self._failures = 0

    async def run(self, feed: Feed) -> None:
        """Open, follow, and open again, for ever."""
        book = feed.book(self._target)
        try:
            while True:
                wait_s = 0.0
                try:
                    await self._session(feed, book)
                except CollectorError as error:
                    book.failure(error, 0.0)
                    wait_s = error.retry_after or 0.0
                await feed.clock.sleep(max(wait_s, _WAITS_S[min(self._failures, len(_WAITS_S) - 1)]))
                self._failures += 1
        finally:
            await self._api.close()

    async def once(self, feed: Feed) -> None:
        """Nothing: a look at the query shows the same lines."""

    async def _session(self, feed: Feed, book: Book) -> None:
        """One socket, until it ends. CollectorError when it did not end as it should."""
        # Imported when a tail is configured: 4 MB that nobody else needs.
        from websockets.asyncio.client import connect  # noqa: PLC0415
        from websockets.exceptions import WebSocketException  # noqa: PLC0415

        url = await socket_url(self._api, self._body, book)
        try:
            tls = trust() if url.startswith("wss:") else None
            async with connect(url, ssl=tls, max_size=_LARGEST, open_timeout=_SOCKET_S, close_timeout=1) as socket:
                await first_of((self._receive(socket, book), self._beat(feed, book), self._flush(feed)))
        except (WebSocketException, OSError, TimeoutError) as error:
            # Without the error's own text: it may repeat the URL, which holds a token.
            raise CollectorError(
                f"{self._target}: the socket failed: {type(error).__name__}", reason="network"
            ) from None

    async def _receive(self, socket: Any, book: Book) -> None:
        async for message in socket:
            try:
                line = self._maker.line(json.loads(message))
            except (ValueError, RecursionError):
                line = None
            if line is None:
                book.dropped(1, "bad_data")
            elif line.record.metadata["kind"] in self._kinds and len(self._waiting) < MOST_WAITING:
                self._waiting.append(line)
                self._came.set()

    async def _beat(self, feed: Feed, book: Book) -> None:
        missed = 0
        while True:
            try:
                await self._api.result(Ask(HEARTBEAT, "POST", body=self._body), book)
                book.success(0.0)
                missed = self._failures = 0
            except CollectorError as error:
                missed += 1
                if missed >= HEARTBEATS_FAILED or error.reason == "auth":
                    raise
            await feed.clock.sleep(HEARTBEAT_S)

    async def _flush(self, feed: Feed) -> None:
        while True:
            await self._came.wait()
            await feed.clock.sleep(FLUSH_S)
            self._came.clear()
            lines, self._waiting = self._waiting, []
            lines.sort(key=lambda line: line.record.t_ns)
            async with self._ledger.turn:
                batch = self._ledger.tailed(lines, feed.clock.now_ms())
                if batch.cursor is not None:
                    await feed.append(batch, self._target)


async def check(account: Account, worker: str) -> Check:
    """Whether a tail of this Worker can be opened."""
    api = account.api(PERMISSION)
    try:
        await socket_url(api, {"scriptId": worker})
    except CollectorError as error:
        return failed(f"tail/{worker}: {error}", api.fix if error.reason == "auth" else "see the message")
    finally:
        await api.close()
    return ok(f"tail/{worker}: can be opened")


async def socket_url(api: AccountApi, body: Any, book: Book | None = None) -> str:
    """Where the tail is; the URL holds a token."""
    wanted = {**body, "filterCombination": "and", "filters": []}
    url = mapping(await api.result(Ask(OPEN, "POST", body=wanted), book)).get("wsUrl")
    if not isinstance(url, str) or not url.startswith(("wss://", "ws://")):
        raise CollectorError("live tail: the answer has no wsUrl", reason="bad_data")
    return url
