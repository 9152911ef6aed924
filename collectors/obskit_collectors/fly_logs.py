"""Logs over HTTP, as `fly logs` reads them: a cursor of time, pages of 100 lines, whatever comes late read again.

The cursor is a time, not a sequence: lines show up late, with equal times, and twice. So every half `late` the reading
begins anew some time before the newest line, and an Overlap tells what of it is known. Polling as flyctl does it (logs/
polling.go): at once after lines, slower and slower after none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zlib import crc32

from obskit.clock import NS_PER_MS
from obskit.collect import Ask, Feed, Overlap
from obskit.errors import CollectorError
from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch, Cursor, Samples
from obskit_collectors.fly_access import FlyApi, items, part, text_at
from obskit_collectors.fly_lines import Line, LineMaker
from obskit_collectors.fly_settings import FlySettings

log = logging.getLogger(__name__)

PAGE: Final = 100
PAGES_A_TURN: Final = 20
"""Stored together: a cursor for each page would be most of what is written."""
AT_ONCE: Final = 4
"""Apps that are read at the same time."""
QUIET_A_SECOND: Final = 5
"""Requests that quiet logs may cost together: with many apps each is asked less often than `every`."""
AGE: Final = "obskit_fly_last_line_age_seconds"
_META: Final = {AGE: MetricMeta(MetricType.GAUGE, "Age of the newest log line of an app, when its log was last read.")}
_SOON_S: Final = 0.25
_LONGEST_BACKOFF_S: Final = 30.0
_MISSING_WAIT_S: Final = 300.0
APPS_EVERY_S: Final = 60.0


class Apps:
    """The names of the apps to read: those of the settings, or all there are."""

    def __init__(self, settings: FlySettings, machines_api: FlyApi) -> None:
        self._settings = settings
        self._api = machines_api
        self._known: tuple[str, ...] = tuple(settings.apps)
        self._asked_ms: int | None = None

    async def names(self, now_ms: int) -> tuple[str, ...]:
        """Asked for at most once a minute. Raises CollectorError when they cannot be read."""
        if self._settings.apps or (self._asked_ms is not None and now_ms - self._asked_ms < APPS_EVERY_S * 900):
            return self._known
        answer = await self._api.json(Ask("/v1/apps", params={"org_slug": self._settings.organization}))
        self._known = tuple(sorted(filter(None, (text_at(app, "name") for app in items(answer, "apps")))))
        self._asked_ms = now_ms
        return self._known


@dataclass(slots=True)
class _Found:
    """What one turn read: also when it ended with an error."""

    lines: list[Line] = field(default_factory=list)
    skipped: int = 0
    token: str = ""
    ended: bool = False
    """Nothing more is there now."""


class AppLog:
    """The log of one app: where it was read to, and what of it is known."""

    def __init__(self, app: str, settings: FlySettings, api: FlyApi, maker: LineMaker) -> None:
        self.target = f"logs/{app}"
        self._app = app
        self._settings = settings
        self._api = api
        self._maker = maker
        self._owner = f"{settings.own_name} {self.target}"
        self._overlap = Overlap(settings.late * 3 // 2 * NS_PER_MS)
        self._token = ""
        self._swept_ns: int | None = None
        self._ended = False
        self._age = Labels({NAME: AGE, "app": app})

    async def resume(self, feed: Feed) -> None:
        """Go on where the store says."""
        self._overlap = Overlap.read(await feed.cursor(self._owner), self._overlap.settle_ns)

    async def turn(self, feed: Feed, *, pages: int = PAGES_A_TURN) -> tuple[bool, CollectorError | None]:
        """Read until nothing more comes, or so many pages; store what is new. Whether more may be there at once, and the
        error that ended it.

        What came before an error is stored too: where but a few requests in a row are answered, it still gets on. For
        the same reason nothing is read again before the end was reached.
        """
        now_ns = feed.clock.now_ns()
        sweep = self._swept_ns is None or (
            self._ended and now_ns - self._swept_ns >= self._settings.late * NS_PER_MS // 2
        )
        begin = self._beginning(now_ns) if sweep else self._token
        found = _Found(token=begin)
        problem: CollectorError | None = None
        try:
            with feed.book(self.target).call():
                await self._drain(found, pages)
        except CollectorError as error:
            problem = error
        came = await self._store(feed, found, sweep=sweep)
        self._token, self._ended = found.token, found.ended
        if sweep and (problem is None or found.token != begin):
            self._swept_ns = now_ns
        return came or (problem is None and not found.ended), problem

    async def newest(self, feed: Feed) -> None:
        """The newest page, whatever was read before."""
        found = _Found()
        with feed.book(self.target).call():
            await self._drain(found, 1)
        await self._store(feed, found, sweep=True)

    def _beginning(self, now_ns: int) -> str:
        since_ns = self._overlap.since_ns
        oldest_ns = now_ns - self._settings.retention * NS_PER_MS
        if since_ns is None:
            return str(max(oldest_ns, now_ns - self._settings.backfill * NS_PER_MS))
        if since_ns < oldest_ns and self._swept_ns is None:
            log.warning(
                "log lines are lost, they are kept for %d h: app=%s", self._settings.retention // 3_600_000, self._app
            )
        return str(max(oldest_ns, since_ns))

    async def _drain(self, found: _Found, pages: int) -> None:
        for _ in range(pages):
            ask = Ask(f"/api/v1/apps/{self._app}/logs", params={"next_token": found.token})
            answer = await self._api.json(ask)
            entries = items(answer, "data")
            lines = [line for entry in entries if (line := self._maker.of_api(self._app, entry)) is not None]
            found.skipped += len(entries) - len(lines)
            found.lines += lines
            following = _following(answer, found.token, entries, lines)
            if not entries or following == found.token:
                found.ended = True
                return
            found.token = following

    async def _store(self, feed: Feed, found: _Found, *, sweep: bool) -> bool:
        keys = [(line.record.t_ns, line.id) for line in found.lines]
        now_ns = feed.clock.now_ns()
        overlap, new = self._overlap.take(keys, now_ns)
        samples = Samples()
        if sweep and overlap.newest_ns is not None:
            samples.add(self._age, now_ns // NS_PER_MS, max(0.0, (now_ns - overlap.newest_ns) / 1e9))
        if found.skipped:
            feed.book(self.target).dropped(found.skipped, "bad_data")
        if new or samples:
            records = [found.lines[position].record for position in new]
            cursor = Cursor(self._owner, overlap.text()) if new else None
            await feed.append(Batch(samples, records, _META if samples else {}, cursor), self.target)
        self._overlap = overlap
        return bool(new)


class FlyLogs:
    """Follows the logs of all apps at once."""

    def __init__(self, settings: FlySettings, api: FlyApi, apps: Apps) -> None:
        self.name = settings.own_name
        self._settings = settings
        self._api = api
        self._apps = apps
        self._maker = LineMaker(settings.max_line)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._followed = 0

    async def run(self, feed: Feed) -> None:
        """Until cancelled: a task for each app, and a look at which there are."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._follow_all(await self._names(feed, tuple(tasks)), tasks, feed)
                look = asyncio.create_task(feed.clock.sleep(APPS_EVERY_S))
                try:
                    done, _ = await asyncio.wait({look, *tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    look.cancel()
                for task in done:
                    task.result()
        finally:
            await _end(list(tasks.values()))
            await self._api.close()

    async def once(self, feed: Feed) -> None:
        """The newest lines of each app; the first error is raised when all were read."""
        first: CollectorError | None = None
        try:
            for app in await self._apps.names(feed.clock.now_ms()):
                try:
                    await AppLog(app, self._settings, self._api, self._maker).newest(feed)
                except CollectorError as error:
                    first = first or error
        finally:
            await self._api.close()
        if first is not None:
            raise first

    async def _names(self, feed: Feed, before: tuple[str, ...]) -> tuple[str, ...]:
        if self._settings.apps:
            return tuple(self._settings.apps)
        try:
            with feed.book("apps").call():
                return await self._apps.names(feed.clock.now_ms())
        except CollectorError:
            return before

    def _follow_all(self, names: Sequence[str], tasks: dict[str, asyncio.Task[None]], feed: Feed) -> None:
        for app in names:
            if app not in tasks:
                tasks[app] = asyncio.create_task(self._follow(app, feed), name=f"{self.name} log {app}")
        for app in [app for app in tasks if app not in names]:
            tasks.pop(app).cancel()
            feed.close_book(f"logs/{app}")
        self._followed = len(tasks)

    async def _follow(self, app: str, feed: Feed) -> None:
        reader = AppLog(app, self._settings, self._api, self._maker)
        await reader.resume(feed)
        every_s = self._settings.every / 1000
        # Not all apps at the same moment: each has a pace of its own, 20 % around the one that is set.
        pace = 0.8 + 0.4 * (crc32(app.encode()) % 1000) / 1000
        quiet, failures = 0, 0
        while True:
            async with self._turns:
                came, problem = await reader.turn(feed)
            if problem is not None:
                failures = 1 if came else failures + 1
                await feed.clock.sleep(_away_s(problem, failures, every_s) * pace)
                continue
            quiet, failures = 0 if came else quiet + 1, 0
            longest_s = max(every_s, self._followed / QUIET_A_SECOND)
            await feed.clock.sleep(min(longest_s, _SOON_S * 2.0 ** min(quiet, 16)) * pace)


def _following(answer: Any, token: str, entries: Sequence[Any], lines: Sequence[Line]) -> str:
    """Where the next page begins; `token` when nothing leads on.

    Lines of one time may be parted by the end of a full page, and the server only gives what is later than the cursor:
    so the next page begins a little before the end of this one, unless that would not lead on.
    """
    said = part(answer, "meta", "next_token")
    # Decoded as text by flyctl; the number exceeds what JavaScript keeps exactly, so some proxies may send a number.
    told = str(said) if said and isinstance(said, str | int) else token
    if len(entries) < PAGE or not lines:
        return told
    millisecond = lines[-1].record.t_ns // NS_PER_MS * NS_PER_MS
    # With more lines in a millisecond than a page holds: those of its last nanosecond once more.
    for before in (millisecond - 1, int(told) - 1 if told.isdigit() else 0):
        if not token.isdigit() or before > int(token):
            return str(before)
    return told


def _away_s(error: CollectorError, failures: int, every_s: float) -> float:
    if error.reason == "missing":
        return _MISSING_WAIT_S
    return max(error.retry_after or 0.0, min(_LONGEST_BACKOFF_S, every_s * 2.0 ** min(failures, 16)))


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
