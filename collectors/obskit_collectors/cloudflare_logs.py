"""Logs of Workers, read by the telemetry query of Workers Observability: window by window, newest rows first in each.

A window is stored whole, oldest line first, or not at all: within it the query goes backwards, and a cursor cannot.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field

from obskit.clock import NS_PER_MS, Clock
from obskit.collect import Ask, Book, Check, Collector, Feed, failed, ok, within
from obskit.collect.polling import Schedule, backoff_s
from obskit.errors import CollectorError
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch, Samples
from obskit_collectors.cloudflare_account import SAMPLED_META, Account, AccountApi
from obskit_collectors.cloudflare_events import Line, LineMaker, mapping
from obskit_collectors.cloudflare_ledger import Ledger
from obskit_collectors.cloudflare_live import LiveTail, check
from obskit_collectors.cloudflare_windows import SHORTEST_MS, Windows

log = logging.getLogger(__name__)

PERMISSION: Final = "Workers Observability: Edit"
SILENT: Final = "Account Analytics: Read"
"""Without it the query of some tokens succeeds and shows no row (field report)."""
_OR: Final = f' (or "Workers Observability: Read" together with "{SILENT}")'
TARGET: Final = "logs"
QUERY: Final = "/workers/observability/telemetry/query"
PAGES: Final = 4
"""Of one window. So many rows are held at a time."""
FEWEST_ROWS: Final = 100
"""Rows a page is cut down to when its answer cannot be read: 100 of the largest (128 KB) fit into one."""
REQUESTS_A_SECOND: Final = 2.0
"""While behind: half of the 1200 in 5 minutes that a user has."""
REQUESTS_AT_ONCE: Final = 100.0
_DEADLINE_S: Final = 60.0
_STARTED_S: Final = 0.5
_STARTED_TIMES: Final = 8
_FINE_MS: Final = 300_000
"""Windows as short as this are not cut because they are sampled: shorter ones would be, too."""


class LogsSettings(Settings):
    """`logs:` of the account's Workers."""

    every: Duration = Field(15_000, gt=0, description="how often to ask")
    workers: list[str] = Field([], description="names of Workers; default: all")
    live: list[str] = Field([], description="names of Workers to follow live, too: seconds instead of a minute")
    invocations: bool = Field(True, description="also a line for each invocation: outcome, status, CPU and wall time")
    spans: bool = Field(False, description="also a line for each span of traces")
    backfill: Duration = Field(3_600_000, ge=0, description="how far back the first read goes")
    retention: Duration = Field(
        259_200_000,
        gt=0,
        description="how long Cloudflare keeps lines: 3d on the Free plan, 7d on Paid",
    )
    rows: int = Field(1000, ge=FEWEST_ROWS, le=2000, description="rows of a page; more than 2000 are refused")


@dataclass(slots=True)
class _Window:
    """What one window held."""

    lines: list[Line] = field(default_factory=list)
    sampled: float = 0.0
    """One in how many rows was given, 0 when nothing said so."""
    unreadable: int = 0
    complete: bool = False
    oldest_ms: int = 0


class Pace:
    """How long to wait so that requests stay within REQUESTS_A_SECOND, of which REQUESTS_AT_ONCE may be saved up."""

    def __init__(self) -> None:
        self._saved = REQUESTS_AT_ONCE
        self._at_s = 0.0

    def wait_s(self, requests: int, now_s: float) -> float:
        """After so many requests."""
        gained = (now_s - self._at_s) * REQUESTS_A_SECOND
        self._saved = min(self._saved + gained, REQUESTS_AT_ONCE) - requests
        self._at_s = now_s
        return max(0.0, -self._saved / REQUESTS_A_SECOND)


class WorkerLogs:
    """Follows the logs of one account."""

    def __init__(self, account: Account, settings: LogsSettings, ledger: Ledger) -> None:
        self.name = account.collector
        self._settings = settings
        self._ledger = ledger
        self._api = account.api(PERMISSION, hint=_OR)
        self._maker = LineMaker()
        self._kinds = kinds_of(settings)
        self._sampled = account.sampled("logs")
        self._windows = Windows()
        self._rows = settings.rows
        self._asked = 0
        self._pace = Pace()

    async def run(self, feed: Feed) -> None:
        """Until cancelled."""
        await self._ledger.resume(feed)
        schedule = Schedule(self._settings.every, f"{self.name} {TARGET}")
        failures = 0
        try:
            while True:
                wait_s = 0.0
                try:
                    await self.turn(feed)
                    failures = 0
                except CollectorError as error:
                    failures += 1
                    wait_s = backoff_s(failures, self._settings.every / 1000, error.retry_after)
                if self._windows.behind and not failures:
                    await feed.clock.sleep(self._pace.wait_s(self._asked, feed.clock.monotonic()))
                else:
                    await schedule.wait(feed.clock, wait_s)
        finally:
            await self._api.close()

    async def once(self, feed: Feed) -> None:
        """The newest page of what the first read would begin with."""
        try:
            book, now_ms = feed.book(TARGET), feed.clock.now_ms()
            with book.call():
                begin = now_ms - max(self._settings.backfill, SHORTEST_MS)
                found = await self._window(feed, (begin, now_ms), pages=1)
            await feed.append(self._batch(found, now_ms), TARGET)
        finally:
            await self._api.close()

    async def turn(self, feed: Feed) -> None:
        """One window, read and stored. CollectorError when it could not be read."""
        book, now_ms = feed.book(TARGET), feed.clock.now_ms()
        self._asked = 0
        with book.call():
            found = await within(feed.clock, _DEADLINE_S, self._read(feed, now_ms))
        if found.unreadable:
            book.dropped(found.unreadable, "bad_data")
        async with self._ledger.turn:
            batch = self._batch(found, now_ms)
            if batch.cursor is not None:
                await feed.append(batch, TARGET)
        if not self._windows.behind:
            self._ledger.passed(now_ms)

    async def _read(self, feed: Feed, now_ms: int) -> _Window:
        """The next window; of one that holds too much, as much as can be read at a time."""
        while True:
            begin, end = self._windows.next(self._since_ms(now_ms), now_ms - self._settings.retention, now_ms)
            shortest = end - begin <= SHORTEST_MS
            found = await self._window(feed, (begin, end), pages=PAGES * 10 if shortest else PAGES)
            if (not found.complete and not shortest) or (found.sampled > 1 and end - begin > _FINE_MS):
                self._windows = self._windows.cut(begin, end)
            else:
                full = len(found.lines) > self._rows * PAGES // 2 or found.sampled > 1
                self._windows = self._windows.read(end, now_ms, growth=1 if full else 2)
                return found

    def _since_ms(self, now_ms: int) -> int:
        since_ms = self._ledger.since_ms
        if since_ms is None:
            return now_ms - self._settings.backfill
        if since_ms < now_ms - self._settings.retention and not self._windows.scanned_ms:
            log.warning("log lines may be lost, the last read is older than retention: collector=%s", self.name)
        return since_ms

    async def _window(self, feed: Feed, span: tuple[int, int], pages: int) -> _Window:
        found, offset, rows = _Window(oldest_ms=span[1]), "", self._rows
        for _ in range(pages):
            events = await self._page(feed, found, _query(self._settings, span, rows, offset))
            lines = [line for event in events if (line := self._maker.line(event)) is not None]
            found.unreadable += len(events) - len(lines)
            found.lines += [line for line in lines if line.record.metadata["kind"] in self._kinds]
            found.oldest_ms = min([found.oldest_ms, *(line.record.t_ns // NS_PER_MS for line in lines)])
            before, offset = offset, lines[-1].id if lines else ""
            if len(events) < rows:
                found.complete = True
                break
            # What came covers too little of the window: the pages that are left would not reach its beginning.
            hopeless = (span[1] - found.oldest_ms) * pages * 2 < span[1] - span[0]
            if hopeless or not offset or offset == before:
                break
        found.lines.reverse()
        found.lines.sort(key=lambda line: line.record.t_ns)
        return found

    async def _page(self, feed: Feed, found: _Window, query: Ask) -> Sequence[Any]:
        book = feed.book(TARGET)
        self._asked += 1
        try:
            result = await _ran(self._api, query, feed.clock, book)
        except CollectorError as error:
            if error.reason == "bad_data":  # perhaps because it is too large
                self._rows = max(FEWEST_ROWS, self._rows // 2)
            raise
        self._rows = min(self._settings.rows, self._rows * 2)
        level = mapping(result.get("statistics")).get("abr_level")
        if isinstance(level, int | float):
            found.sampled = max(found.sampled, float(level))
        events = mapping(result.get("events")).get("events")
        return events if isinstance(events, list) else []

    def _batch(self, found: _Window, now_ms: int) -> Batch:
        batch = self._ledger.polled(found.lines, now_ms * NS_PER_MS)
        if not found.sampled or not batch.records:
            return batch
        # At the time of the newest line: a sample of now would make data that stopped look young.
        samples = Samples([self._sampled], [self._ledger.newest_ms], [found.sampled])
        return Batch(samples, batch.records, SAMPLED_META, batch.cursor)


def build_parts(account: Account, settings: LogsSettings) -> Sequence[Collector]:
    """The query, and a tail for each Worker that is followed live; they share what is known."""
    ledger, kinds = Ledger(account), kinds_of(settings)
    tails = [LiveTail(account, worker, ledger, kinds) for worker in settings.live]
    return [WorkerLogs(account, settings, ledger), *tails]


async def checks(account: Account, settings: LogsSettings, clock: Clock) -> Sequence[Check]:
    """Of the query, and of each tail."""
    return [await _check(account, settings, clock), *[await check(account, worker) for worker in settings.live]]


async def _check(account: Account, settings: LogsSettings, clock: Clock) -> Check:
    """Whether the token may ask, and whether it is shown anything: a permission that is missing can look like silence."""
    api = account.api(PERMISSION, hint=_OR)
    now_ms = clock.now_ms()
    try:
        result = await _ran(api, _query(settings, (now_ms - 3_600_000, now_ms), FEWEST_ROWS, ""), clock)
    except CollectorError as error:
        return failed(f"logs: {error}", api.fix if error.reason == "auth" else "see the message")
    finally:
        await api.close()
    if not mapping(result.get("events")).get("events"):
        fix = (
            f'if Workers did log: give the API token also "{SILENT}", and each Worker observability.enabled = true '
            "in its wrangler file"
        )
        return failed("logs: no line within the last hour", fix)
    return ok("logs: can be read")


def kinds_of(settings: LogsSettings) -> frozenset[str]:
    """The kinds of events that are kept."""
    wanted = {"log": True, "invocation": settings.invocations, "span": settings.spans}
    return frozenset(kind for kind, kept in wanted.items() if kept)


def _query(settings: LogsSettings, span: tuple[int, int], rows: int, offset: str) -> Ask:
    parameters: dict[str, Any] = {"datasets": ["cloudflare-workers"], "filterCombination": "and", "filters": []}
    if settings.workers:
        # Not the operation `in`: with two services it was seen to give no row, without an error (field report).
        names = [
            {"key": "$metadata.service", "operation": "eq", "type": "string", "value": name}
            for name in settings.workers
        ]
        parameters["filters"] = [{"kind": "group", "filterCombination": "or", "filters": names}]
    body: dict[str, Any] = {
        "queryId": "obskit",
        "view": "events",
        "dry": True,
        "limit": rows,
        "timeframe": {"from": span[0], "to": span[1]},
        "parameters": parameters,
    }
    if offset:
        body |= {"offset": offset, "offsetDirection": "next"}
    return Ask(QUERY, "POST", body=body)


async def _ran(api: AccountApi, query: Ask, clock: Clock, book: Book | None = None) -> Any:
    """The result of a query that may not have ended at the first time: then the same is asked again."""
    for _ in range(_STARTED_TIMES):
        result = mapping(await api.result(query, book))
        if mapping(result.get("run")).get("status") != "STARTED":
            return result
        await clock.sleep(_STARTED_S)
    raise CollectorError(f"the query has not ended after {_STARTED_TIMES * _STARTED_S:g} s", reason="timeout")
